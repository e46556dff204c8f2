"""/indexing/{tenant}/schedules: what is reindexed by itself, and when."""

from __future__ import annotations

from typing import Any, ClassVar

from flask import Response, jsonify, url_for
from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf

from api.authorization import owned, requires
from api.blueprint import Blueprint
from api.bodies import Strict
from api.services import services
from celeriac.catalog.schedules import Origin, ScheduleRow
from celeriac.configuration.fields import CronExpression, TimeZone
from celeriac.configuration.schedule import UTC, Schedule
from celeriac.errors import Conflict, NotFound
from celeriac.schedules import Schedules
from celeriac.security.principal import Scope

blueprint = Blueprint(
    "schedules",
    __name__,
    url_prefix="/indexing/<tenant>/schedules",
    description="What is reindexed by itself, and when.",
)


class NewSchedule(Strict):
    """What is reindexed when."""

    EXAMPLE: ClassVar = {"entity_type": "product", "cron": "0 3 * * *", "timezone": "Europe/Paris"}

    entity_type = fields.String(required=True, validate=Length(1, 256))
    cron = CronExpression(required=True)
    timezone = TimeZone(load_default=UTC)


class ScheduleChange(Strict):
    """At which other times; what is not given stays."""

    EXAMPLE: ClassVar = {"cron": "30 4 * * mon-fri"}

    cron = CronExpression()
    timezone = TimeZone()

    @validates_schema
    def _check(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError("Give cron, timezone or both.")


class ScheduleView(Schema):
    """A schedule. Times are Unix seconds."""

    id = fields.String(required=True, metadata={"format": "uuid"})
    tenant = fields.String(required=True)
    entity_type = fields.String(required=True, allow_none=True)
    knowledge_base_id = fields.String(required=True, allow_none=True)
    origin = fields.String(required=True, validate=OneOf([str(origin) for origin in Origin]))
    cron = fields.String(required=True)
    timezone = fields.String(required=True)
    overridden = fields.Boolean(
        required=True, metadata={"description": "Whether it was changed from what is declared."}
    )
    paused = fields.Boolean(required=True)
    next_at = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Null while it is paused."}
    )
    last_due_at = fields.Integer(required=True, allow_none=True)
    last_run_at = fields.Integer(required=True, allow_none=True)
    last_job_id = fields.String(required=True, allow_none=True)
    message = fields.String(
        required=True, metadata={"description": "Why the last tick led to no job."}
    )


class ScheduleList(Schema):
    """The tenant's schedules, the oldest first."""

    schedules = fields.List(fields.Nested(ScheduleView), required=True)


@blueprint.get("")
@requires(Scope.AGENT_READ)
@blueprint.response(200, ScheduleList)
def list_schedules(tenant: str) -> dict[str, Any]:
    """The tenant's schedules, with when each ran last and will run next."""
    return {"schedules": [shown(row) for row in schedules().of_tenant(tenant)]}


@blueprint.post("")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.arguments(NewSchedule)
@blueprint.response(201, ScheduleView)
def create_schedule(new: dict[str, Any], tenant: str) -> Response:
    """Have an entity type reindexed at more times."""
    row = schedules().add(tenant, new["entity_type"], Schedule(new["cron"], new["timezone"]))
    response = jsonify(shown(row))
    response.status_code = 201
    response.headers["Location"] = url_for(
        "schedules.get_schedule", tenant=tenant, schedule_id=row.id
    )
    return response


@blueprint.get("/<schedule_id>")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, ScheduleView)
def get_schedule(tenant: str, schedule_id: str) -> dict[str, Any]:  # noqa: ARG001
    """One schedule."""
    return shown(find_schedule(schedule_id))


@blueprint.patch("/<schedule_id>")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.arguments(ScheduleChange)
@blueprint.response(200, ScheduleView)
def change_schedule(change: dict[str, Any], tenant: str, schedule_id: str) -> dict[str, Any]:  # noqa: ARG001
    """Have it due at other times. One that is declared stays changed until its declaration is."""
    row = find_schedule(schedule_id)
    before = row.schedule
    wanted = Schedule(change.get("cron", before.cron), change.get("timezone", before.timezone))
    return shown(schedules().change(row, wanted))


@blueprint.post("/<schedule_id>/pause")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound)
@blueprint.response(200, ScheduleView)
def pause_schedule(tenant: str, schedule_id: str) -> dict[str, Any]:  # noqa: ARG001
    """Have it not run until it is resumed."""
    return shown(schedules().pause(find_schedule(schedule_id)))


@blueprint.post("/<schedule_id>/resume")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound)
@blueprint.response(200, ScheduleView)
def resume_schedule(tenant: str, schedule_id: str) -> dict[str, Any]:  # noqa: ARG001
    """Have it run again; what was due meanwhile is not caught up."""
    return shown(schedules().resume(find_schedule(schedule_id)))


@blueprint.delete("/<schedule_id>")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.response(204)
def delete_schedule(tenant: str, schedule_id: str) -> None:  # noqa: ARG001
    """Remove one that was added; 409 for one that is declared, or a knowledge base's."""
    schedules().delete(find_schedule(schedule_id))


def schedules() -> Schedules:
    """What the handlers work with."""
    return Schedules(services().runtime, services().dispatcher)


def find_schedule(schedule_id: str) -> ScheduleRow:
    """The schedule, if it is of the tenant in the path; NotFound otherwise."""
    return owned("schedule", schedule_id, schedules().find)


def shown(row: ScheduleRow) -> dict[str, Any]:
    """A schedule as clients see it."""
    policy = row.origin == Origin.POLICY
    paused = row.paused_at is not None
    return {
        "id": row.id,
        "tenant": row.tenant,
        "entity_type": None if policy else row.target,
        "knowledge_base_id": row.target if policy else None,
        "origin": row.origin,
        "cron": row.schedule.cron,
        "timezone": row.schedule.timezone,
        "overridden": row.overridden,
        "paused": paused,
        "next_at": None if paused else int(row.next_at),
        "last_due_at": _seconds(row.last_due_at),
        "last_run_at": _seconds(row.last_run_at),
        "last_job_id": row.last_job_id,
        "message": row.message,
    }


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
