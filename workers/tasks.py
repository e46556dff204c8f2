"""The tasks: thin, idempotent, ids only. What they do is in `celeriac`."""

from __future__ import annotations

from celery import Task
from redis.exceptions import RedisError

from celeriac.errors import TransientError
from celeriac.finish import Finisher
from celeriac.jobs import JobRunner, request_job
from celeriac.knowledge import Knowledge
from celeriac.paging import PageRunner
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


@app.task(name="celeriac.refresh", priority=3)
def refresh() -> None:
    """Index the knowledge bases whose refresh policy asks for it."""
    if take_tick(runtime().redis, "refresh", seconds=5):
        now = runtime().catalog.database.now()
        Knowledge(runtime(), dispatcher).refresh_due(now)


@app.task(
    name="celeriac.scheduled_reindex",
    priority=3,
    bind=True,
    autoretry_for=(TransientError, RedisError),
    retry_backoff=True,
    max_retries=20,
)
def scheduled_reindex(self: Task, tenant: str, entity_type: str) -> None:
    """Reindex an entity type because its schedule says so; an outage at the tick delays it."""
    tick = f"reindex:{tenant}:{entity_type}"
    if self.request.retries or take_tick(runtime().redis, tick, seconds=50):
        request_job(runtime(), dispatcher, tenant, entity_type)
