"""Whose turn it is, worked out from where every job stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celeriac.catalog.jobs import JobState
from celeriac.catalog.standings import Standing
from celeriac.model import Priority
from celeriac.turns import Turn, first_in_turn, makes_way

LONG = 30.0


def standing(
    job_id: str, tenant: str, *, held: int = 0, waiting: int = 1, waited: float = 2.0
) -> Standing:
    return Standing(
        job_id=job_id,
        tenant=tenant,
        state=JobState.RUNNING,
        priority=Priority.NORMAL,
        paused=False,
        throttled_for=0.0,
        held=held,
        waiting=waiting,
        waited=waited,
        behind=None,
    )


def chosen(*standings: Standing, without: frozenset[str] = frozenset()) -> str | None:
    found = first_in_turn(standings, without=without)
    return found.job_id if found else None


def test_nothing_waits() -> None:
    assert chosen() is None
    assert chosen(standing("a", "acme", held=2, waiting=0)) is None


def test_the_tenant_with_the_fewest_pages_in_hand_goes_first() -> None:
    many = [standing(f"a{number}", "acme", held=1, waited=LONG) for number in range(20)]
    assert chosen(*many, standing("b", "best")) == "b"
    assert chosen(*many, standing("b", "best", held=19)) == "b"
    assert chosen(*many, standing("b", "best", held=21)) == "a0"


def test_in_a_tenant_the_job_with_the_fewest_pages_in_hand_goes_first() -> None:
    assert chosen(standing("a", "acme", held=2, waited=LONG), standing("b", "acme", held=1)) == "b"


def test_what_waited_longest_goes_first_where_all_else_is_equal() -> None:
    assert chosen(standing("a", "acme"), standing("b", "best", waited=LONG)) == "b"


def test_a_higher_priority_goes_before_all_that() -> None:
    high = replace(standing("a", "acme", held=9, waited=0.0), priority=Priority.HIGH)
    low = replace(standing("c", "cool", waited=LONG), priority=Priority.LOW)
    assert chosen(low, standing("b", "best", waited=LONG), high) == "a"
    assert chosen(low, standing("b", "best")) == "b"


@pytest.mark.parametrize("change", [{"paused": True}, {"throttled_for": 0.5}, {"waiting": 0}])
def test_what_may_not_be_run_has_no_turn(change: dict[str, object]) -> None:
    held_up = replace(standing("a", "acme", waited=LONG), **change)  # type: ignore[arg-type]
    assert chosen(held_up) is None
    assert chosen(held_up, standing("b", "acme")) == "b"


def test_a_tenant_without_room_is_passed_over() -> None:
    waiting = (standing("a", "acme"), standing("b", "best", held=3))
    assert chosen(*waiting, without=frozenset({"acme"})) == "b"
    assert chosen(*waiting, without=frozenset({"acme", "best"})) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "gives"),
    [(1, 0, True), (2, 0, True), (3, 1, True), (2, 1, False), (2, 2, False), (1, 3, False)],
)
def test_a_page_makes_way_for_a_tenant_that_has_less(ours: int, theirs: int, gives: bool) -> None:
    own = standing("a", "acme", held=ours)
    assert makes_way(own, [own, standing("b", "best", held=theirs)], full=()) == gives


def test_a_page_does_not_make_way_for_its_own_tenants_other_jobs() -> None:
    own = standing("a", "acme", held=3)
    assert not makes_way(own, [own, standing("b", "acme", waited=LONG)], full=())


def test_a_page_makes_way_for_a_higher_priority_of_any_tenant_that_has_room() -> None:
    own = standing("a", "acme", held=3)
    for tenant in ("acme", "best"):
        high = replace(standing("b", tenant, held=1), priority=Priority.HIGH)
        assert makes_way(own, [own, high], full=("acme",))
        assert not makes_way(high, [own, high], full=())
    assert not makes_way(own, [own, high], full=("acme", "best"))


def test_a_page_makes_way_for_what_nobody_takes_only() -> None:
    own = standing("a", "acme", held=4)
    other = standing("b", "best")
    for change in ({"waited": 0.1}, {"paused": True}, {"throttled_for": 9.0}, {"waiting": 0}):
        assert not makes_way(own, [own, replace(other, **change)], full=())  # type: ignore[arg-type]
    assert makes_way(own, [own, other], full=())


def test_a_page_makes_way_for_a_job_that_cannot_be_taken_up() -> None:
    own = standing("a", "acme", held=4)
    queued = replace(standing("b", "best", waiting=0), state=JobState.QUEUED)
    assert makes_way(own, [own, queued], full=())
    assert not makes_way(own, [own, replace(queued, behind="c")], full=())
    assert not makes_way(own, [own, replace(queued, paused=True)], full=())


@pytest.mark.parametrize(("prepared", "lasts"), [(0.0, 5.0), (1.0, 5.0), (20.0, 40.0)])
def test_a_turn_lasts_twice_as_long_as_it_was_prepared(
    prepared: float, lasts: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("celeriac.turns.time.monotonic", lambda: now)
    turn = Turn()
    now += prepared
    assert not turn.is_over()
    now += lasts - 0.1
    assert not turn.is_over()
    now += 0.1
    assert turn.is_over()
