"""The tasks: thin, idempotent, ids only. What they do is in `celeriac`."""

from __future__ import annotations

from celeriac.finish import Finisher
from celeriac.jobs import JobRunner
from celeriac.paging import PageRunner
from celeriac.schedules import Schedules
from workers.application import app
from workers.dispatch import CeleryDispatcher
from workers.process import runtime
from workers.schedules import take_tick

dispatcher = CeleryDispatcher(app)


def _jobs() -> JobRunner:
    return JobRunner(runtime(), dispatcher)


@app.task(name="celeriac.start_job", priority=3)
def start_job(job_id: str) -> None:
    """Take up a queued job."""
    _jobs().start(job_id)


@app.task(name="celeriac.index_page")
def index_page(job_id: str, page: int) -> None:
    """Index one page of a job."""
    PageRunner(runtime(), dispatcher, _jobs()).run(job_id, page)


@app.task(name="celeriac.finish_job", priority=3)
def finish_job(job_id: str) -> None:
    """Sweep, verify and end a job whose pages are all committed."""
    Finisher(runtime(), dispatcher, _jobs()).run(job_id)


@app.task(name="celeriac.recover", priority=3)
def recover() -> None:
    """Send again whatever was lost on the way."""
    if take_tick(runtime().redis, "recover", seconds=5):
        _jobs().recover()


@app.task(name="celeriac.run_schedules", priority=3)
def run_schedules() -> None:
    """Request the jobs that are due by a schedule or a refresh policy."""
    Schedules(runtime(), dispatcher).run_due()
