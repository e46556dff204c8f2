"""What Celery, and so Flower, is told of how a step of a job ended."""

from __future__ import annotations

from celery.exceptions import Retry

from celeriac.endings import Ending, Kind
from celeriac.errors import CeleriacError


class StepFailed(CeleriacError):
    """The job failed at this step."""


class StepPutOff(CeleriacError):
    """This step is sent again."""


MOST = 500
"""Characters of what is told: an event is no place for more."""


def told(ending: Ending) -> str:
    """What a task returns.

    Raises:
        Retry: the step comes again, in a message of its own; nothing is sent for this here.
        StepFailed: its job failed with it.
    """
    about = ending.about[:MOST]
    if ending.kind is Kind.LATER:
        raise Retry(about, StepPutOff(about))
    if ending.kind is Kind.FAILED:
        raise StepFailed(about)
    return about
