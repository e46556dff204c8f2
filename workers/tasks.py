"""The tasks: thin, idempotent, ids only. What they do is in `celeriac`."""

from __future__ import annotations

from collections.abc import Mapping

from celeriac.endings import Ending
from celeriac.finish import Finisher
from celeriac.jobs import JobRunner
from celeriac.paging import PageRunner
from celeriac.retention import remove_expired as remove
from celeriac.schedules import Schedules
from workers.application import app
from workers.dispatch import CeleryDispatcher
from workers.endings import StepFailed, told
from workers.process import runtime
from workers.schedules import take_tick


def _about(job_id: str) -> Mapping[str, str]:
    return runtime().job_names.of(job_id)


dispatcher = CeleryDispatcher(app, _about)


def _jobs() -> JobRunner:
    return JobRunner(runtime(), dispatcher)


@app.task(name="celeriac.start_job", priority=3, throws=StepFailed)
def start_job(job_id: str) -> str:
    """Take up a queued job."""
    _jobs().start(job_id)
    return told(_jobs().ending(job_id, running=Ending.done("its pages are sent")))


@app.task(name="celeriac.index_page", throws=StepFailed)
def index_page(job_id: str, page: int) -> str:
    """Index one page of a job."""
    return told(PageRunner(runtime(), dispatcher, _jobs()).run(job_id, page))


@app.task(name="celeriac.finish_job", priority=3, throws=StepFailed)
def finish_job(job_id: str) -> str:
    """Sweep, verify and end a job whose pages are all committed."""
    return told(Finisher(runtime(), dispatcher, _jobs()).run(job_id))


@app.task(name="celeriac.recover", priority=3)
def recover() -> None:
    """Send again whatever was lost on the way."""
    if take_tick(runtime().redis, "recover", seconds=5):
        _jobs().recover()


@app.task(name="celeriac.run_schedules", priority=3)
def run_schedules() -> None:
    """Request the jobs that are due by a schedule or a refresh policy."""
    Schedules(runtime(), dispatcher).run_due()


@app.task(name="celeriac.remove_expired", priority=3)
def remove_expired() -> None:
    """Remove jobs that ended long ago."""
    if take_tick(runtime().redis, "remove_expired", seconds=30):
        remove(runtime())
