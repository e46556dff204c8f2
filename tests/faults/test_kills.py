"""kill -9 of a worker at each stage of a page and of a job's end: another worker goes on within the
lease, nothing is lost and nothing is there twice."""

from __future__ import annotations

import corpora
import pytest
from collection import Cacm
from injection.injected.stages import FINISH, PAGE, SWEEP
from trial import Trial


@pytest.mark.matrix("killed")
@pytest.mark.parametrize("stage", [*PAGE, *FINISH])
def test_a_worker_killed_at_a_stage_loses_nothing(stage: str, trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 60))
    if stage in SWEEP:  # there is nothing to remove in a first job
        trial.end_right(trial.request())
    else:
        reindex_with_a_kill(trial, stage, removed=0)
    later, removed = corpora.changed(trial.chance, cacm, trial.documents)
    trial.write(later)
    reindex_with_a_kill(trial, stage, removed=removed)


def reindex_with_a_kill(trial: Trial, stage: str, removed: int) -> None:
    trial.failpoints.kill(stage)
    location = trial.request()
    trial.failpoints.await_kill(stage)
    trial.injected()
    trial.end_right(location, removed=removed)


@pytest.mark.matrix("taken")
def test_a_message_taken_by_a_worker_that_dies_is_sent_again(trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 60))
    reindex_with_a_kill(trial, "taken", removed=0)
