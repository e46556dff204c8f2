"""kill -9 of the API between writing a job's row and answering: there is one job, and it runs."""

from __future__ import annotations

import corpora
import httpx
import pytest
from collection import Cacm
from trial import Trial

pytestmark = pytest.mark.matrix("api")


@pytest.mark.parametrize("stage", ["requested", "announced"])
def test_a_job_whose_request_got_no_answer_runs_once(stage: str, trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 40))
    request_in_vain(trial, stage)
    (job,) = trial.jobs()
    trial.end_right(f"/jobs/{job.id}")
    assert len(trial.jobs()) == 1


def test_a_request_that_is_repeated_joins_the_job_of_the_first(trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 40))
    with trial.failpoints.holding("recovering"):
        request_in_vain(trial, "requested")
        trial.end_right(trial.request())
    assert len(trial.jobs()) == 1


def request_in_vain(trial: Trial, stage: str) -> None:
    """Request a reindex of an API that is killed before it answers; its master starts another."""
    trial.failpoints.kill(stage)
    with pytest.raises(httpx.TransportError):
        trial.request()
    trial.injected()
    trial.assert_back()
