"""The buttons. Each does what an endpoint of the API does, and leads to the job it is about."""

from __future__ import annotations

from flask import g, redirect, request
from flask.typing import ResponseReturnValue

from api.authorization import requires
from api.console.blueprint import blueprint
from api.console.pages import summary_of
from api.jobs import find_job
from api.reindex import schedule
from api.schedules import find_schedule, schedules
from api.services import services
from api.sessions import check_form
from celeriac.jobs import JobRunner
from celeriac.model import Selection
from celeriac.retrying import request_retry
from celeriac.security.principal import Scope
from celeriac.steering import Steering

__all__ = ["blueprint"]


@blueprint.post("/console/indexes/<index_id>/reindex")
@requires(Scope.AGENT_MANAGE)
def reindex(index_id: str) -> ResponseReturnValue:
    check_form()
    index = summary_of(index_id)
    return _to_job(schedule(index.tenant, index.name))


@blueprint.post("/console/jobs/<job_id>/cancel")
@requires(Scope.AGENT_MANAGE)
def cancel(job_id: str) -> ResponseReturnValue:
    check_form()
    return _to_job(
        JobRunner(services().runtime, services().dispatcher).cancel(find_job(job_id).id).id
    )


@blueprint.post("/console/jobs/<job_id>/pause")
@requires(Scope.AGENT_MANAGE)
def pause(job_id: str) -> ResponseReturnValue:
    check_form()
    return _to_job(_steering().pause(find_job(job_id).id, g.principal.subject).id)


@blueprint.post("/console/jobs/<job_id>/resume")
@requires(Scope.AGENT_MANAGE)
def resume(job_id: str) -> ResponseReturnValue:
    check_form()
    return _to_job(_steering().resume(find_job(job_id).id).id)


@blueprint.post("/console/jobs/<job_id>/retry")
@requires(Scope.AGENT_MANAGE)
def retry(job_id: str) -> ResponseReturnValue:
    """Of one class of errors, or of all."""
    check_form()
    selection = Selection(find_job(job_id).id, error_class=request.form.get("class") or None)
    services().store_check.require()
    accepted = request_retry(services().runtime, services().dispatcher, selection)
    return _to_job(accepted.job.id)


@blueprint.post("/console/jobs/<job_id>/confirm-removal")
@requires(Scope.AGENT_MANAGE)
def confirm_removal(job_id: str) -> ResponseReturnValue:
    check_form()
    job = find_job(job_id)
    return _to_job(schedule(job.tenant, job.entity_type, removal_limit=1.0))


@blueprint.post("/console/schedules/<schedule_id>/pause")
@requires(Scope.AGENT_MANAGE)
def pause_schedule(schedule_id: str) -> ResponseReturnValue:
    check_form()
    schedules().pause(find_schedule(schedule_id))
    return redirect("/console/schedules", 303)


@blueprint.post("/console/schedules/<schedule_id>/resume")
@requires(Scope.AGENT_MANAGE)
def resume_schedule(schedule_id: str) -> ResponseReturnValue:
    check_form()
    schedules().resume(find_schedule(schedule_id))
    return redirect("/console/schedules", 303)


def _steering() -> Steering:
    return Steering(services().runtime, services().dispatcher)


def _to_job(job_id: str) -> ResponseReturnValue:
    return redirect(f"/console/jobs/{job_id}", 303)
