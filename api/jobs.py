"""/jobs/{id}: where every Location of an accepted request leads."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

from flask import Blueprint, Response, jsonify, url_for

from api.reindex import schedule
from api.services import services
from celeriac.catalog.jobs import Job, JobState
from celeriac.errors import NotFound
from celeriac.jobs import JobRunner
from celeriac.model import EntityFailure

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")

ALMOST = 99.9
"""What a running job shows at most: only a job that succeeded is done."""


@blueprint.get("/<job_id>")
def get_job(job_id: str) -> Response:
    """A job's state, counters, rate, ETA and first errors."""
    job = _find(job_id)
    runtime = services().runtime
    if job.state == JobState.RUNNING:
        job = replace(job, counters=job.counters + runtime.progress.in_hand(job.id))
    errors = runtime.catalog.jobs.errors(job.id)
    return jsonify(job_resource(job, errors, time.time()))


@blueprint.post("/<job_id>/cancel")
def cancel_job(job_id: str) -> tuple[Response, int]:
    """Cancel a job; it writes nothing more after its next checkpoint."""
    job = JobRunner(services().runtime, services().dispatcher).cancel(job_id)
    return jsonify(job_resource(job, [], time.time())), 202


@blueprint.post("/<job_id>/confirm-removal")
def confirm_removal(job_id: str) -> Response:
    """Reindex once more, with leave to remove whatever the source no longer lists."""
    job = _find(job_id)
    new = schedule(job.tenant, job.entity_type, removal_limit=1.0)
    return Response(status=202, headers={"Location": url_for("jobs.get_job", job_id=new)})


def _find(job_id: str) -> Job:
    job = services().runtime.catalog.jobs.get(job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id!r}.")
    return job


def job_resource(job: Job, errors: list[EntityFailure], now: float) -> dict[str, Any]:
    """The job as clients see it; times are Unix seconds."""
    elapsed = max((job.finished_at or now) - job.started_at, 0.001) if job.started_at else None
    return {
        "id": job.id,
        "tenant": job.tenant,
        "entity_type": job.entity_type,
        "index_id": job.index_id,
        "generation": job.generation,
        "state": job.state,
        "message": job.message,
        "created_at": int(job.created_at),
        "started_at": _seconds(job.started_at),
        "finished_at": _seconds(job.finished_at),
        "progress_percentage": progress_percentage(job),
        "eta_seconds": _eta(job, elapsed),
        "rates": _rates(job, elapsed),
        "counters": asdict(job.counters),
        "gate": job.gate,
        "errors": [
            {
                "entity_id": error.entity_id,
                "class": error.error_class,
                "message": error.message,
                "retryable": error.retryable,
            }
            for error in errors
        ],
    }


def progress_percentage(job: Job) -> float:
    """0 to 100; 100 only for a job that succeeded."""
    if job.state == JobState.SUCCEEDED:
        return 100.0
    if not job.expected:
        return 0.0
    return round(min(100.0 * job.counters.listed / job.expected, ALMOST), 1)


def _eta(job: Job, elapsed: float | None) -> int | None:
    if job.state != JobState.RUNNING or not job.expected or not job.counters.listed or not elapsed:
        return None
    left = max(job.expected - job.counters.listed, 0)
    return round(left * elapsed / job.counters.listed)


def _rates(job: Job, elapsed: float | None) -> dict[str, float]:
    """Entities, chunks embedded and tokens a second since the job started."""
    counts = {
        "entities_per_second": job.counters.listed,
        "embedded_per_second": job.counters.embedded,
        "tokens_per_second": job.counters.tokens,
    }
    return {name: round(count / elapsed, 1) if elapsed else 0.0 for name, count in counts.items()}


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
