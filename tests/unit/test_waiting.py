"""What a job in line is told, and that nothing of other tenants is told to it."""

from __future__ import annotations

from typing import Any

from celeriac.catalog.jobs import Job, JobMode, JobState
from celeriac.catalog.standings import Standing
from celeriac.model import Counters, Priority
from celeriac.picture import Cause, Waiting
from celeriac.waiting import Facts, explain


def job(**values: Any) -> Job:
    return Job(
        **{
            "id": "mine",
            "index_id": "index",
            "tenant": "acme",
            "entity_type": "product",
            "state": JobState.RUNNING,
            "epoch": 1,
            "generation": 1,
            "mode": JobMode.REINDEX,
            "retries": (),
            "message": "",
            "error_class": None,
            "expected": None,
            "removal_limit": None,
            "priority": Priority.NORMAL,
            "throttle": None,
            "paused_at": None,
            "paused_by": None,
            "paused_seconds": 0.0,
            "created_at": 0.0,
            "started_at": 0.0,
            "finished_at": None,
            "gate": None,
            "load_seconds": 0.0,
            "counters": Counters(),
            **values,
        }
    )


def standing(job_id: str, tenant: str = "acme", **values: Any) -> Standing:
    return Standing(
        **{
            "job_id": job_id,
            "tenant": tenant,
            "state": JobState.RUNNING,
            "priority": Priority.NORMAL,
            "paused": False,
            "throttled_for": 0.0,
            "held": 0,
            "waiting": 1,
            "waited": 0.0,
            "behind": None,
            **values,
        }
    )


def explained(*others: Standing, mine: Standing | None = None, workers: int = 1) -> Waiting | None:
    own = mine or standing("mine")
    return explain(Facts(job(), [], 0.0, None, [own, *others], workers))


def test_whose_own_job_is_ahead_is_named() -> None:
    found = explained(standing("other", priority=Priority.HIGH))
    assert found == Waiting(
        Cause.TURN, "Waits for a free thread behind job other of tenant acme.", 2
    )


def test_another_tenants_is_not() -> None:
    ahead = explained(standing("theirs", "secret", priority=Priority.HIGH))
    in_hand = explained(standing("theirs", "secret", held=4, waiting=0))
    assert ahead == Waiting(Cause.TURN, "Waits for a free thread behind another tenant's work.", 2)
    assert in_hand == Waiting(
        Cause.TURN, "Waits for a free thread behind another tenant's work.", 1
    )


def test_one_that_has_pages_in_hand_does_not_wait() -> None:
    assert explained(mine=standing("mine", held=1)) is None


def test_one_whose_finish_was_sent_waits_in_no_line() -> None:
    assert explained(standing("other"), mine=standing("mine", waiting=0)) is None


def test_where_workers_are_not_known_none_is_said_to_be_dead() -> None:
    found = explain(Facts(job(), [], 0.0, None, [standing("mine")], None))
    assert found is not None
    assert found.cause == Cause.TURN
