"""Plans, audits and explanations: what a reindex would do, how source and index differ, and how
one entity stands."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from flask import url_for
from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf

from api.authorization import owned, requires
from api.blueprint import Blueprint
from api.bodies import Strict, Truth
from api.reindex import PREFIX
from api.services import services
from celeriac.errors import NotFound, RateLimited
from celeriac.explain import EntityState, explain
from celeriac.security.principal import Scope
from celeriac.sources.listing import MAX_ID_LENGTH
from workers import checking
from workers.checking import WANTED, Check, CheckKind, CheckState

blueprint = Blueprint(
    "checks", __name__, description="How an index stands to its source, without a reindex."
)

_PRINTED = {"description": "What the command `celeriac` prints with `--json`."}
_LOCATION = {"Location": {"description": "The check's path.", "schema": {"type": "string"}}}


class NewCheck(Strict):
    """What is to be found."""

    EXAMPLE: ClassVar = {"kind": "plan"}

    kind = fields.String(required=True, validate=OneOf(list(CheckKind)))
    repair = Truth(load_default=False, metadata={"description": "Have an audit mend what differs."})

    @validates_schema
    def _check(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("repair") and data.get("kind") == CheckKind.PLAN:
            raise ValidationError("A plan changes nothing.", "repair")


class CheckError(Schema):
    """Why a check failed."""

    error_class = fields.String(required=True, data_key="class", attribute="class")
    message = fields.String(required=True)


class CheckView(Schema):
    """A plan or an audit."""

    id = fields.String(required=True)
    tenant = fields.String(required=True)
    entity_type = fields.String(required=True)
    kind = fields.String(required=True, validate=OneOf(list(CheckKind)))
    repair = fields.Boolean(required=True)
    state = fields.String(required=True, validate=OneOf(list(CheckState)))
    listed = fields.Integer(
        required=True, metadata={"description": "Entities of the source, so far."}
    )
    result = fields.Dict(required=True, allow_none=True, metadata=_PRINTED)
    error = fields.Nested(CheckError, required=True, allow_none=True)


class Asked(Schema):
    """Which entity."""

    id = fields.String(
        required=True, validate=Length(1, MAX_ID_LENGTH), metadata={"description": "Its id."}
    )


class ExplainedChunkView(Schema):
    """A chunk as it is stored."""

    number = fields.Integer(required=True)
    tokens = fields.Integer(required=True)
    characters = fields.Integer(required=True)
    start = fields.String(required=True)
    fingerprint = fields.String(required=True)


class ExplanationView(Schema):
    """One entity as it stands in the index, and its last error."""

    tenant = fields.String(required=True)
    entity_type = fields.String(required=True)
    entity_id = fields.String(required=True)
    index_id = fields.String(required=True)
    generation = fields.Integer(required=True, metadata={"description": "The live one."})
    current = fields.Boolean(
        required=True, metadata={"description": "Whether jobs go on with that generation."}
    )
    state = fields.String(required=True, validate=OneOf(list(EntityState)))
    fingerprint = fields.String(required=True, allow_none=True)
    chunk_count = fields.Integer(required=True, allow_none=True)
    chunks = fields.List(fields.Nested(ExplainedChunkView), required=True)
    metadata = fields.Dict(keys=fields.String(), required=True)
    last_job = fields.Dict(required=True, allow_none=True, metadata=_PRINTED)
    last_error = fields.Dict(required=True, allow_none=True, metadata=_PRINTED)
    similar = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Ids like it that are indexed, of one that is not known."},
    )
    is_unknown = fields.Boolean(
        required=True,
        data_key="unknown",
        attribute="unknown",
        metadata={"description": "Whether neither index nor jobs know of it."},
    )


@blueprint.post(f"{PREFIX}/checks")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, RateLimited)
@blueprint.arguments(NewCheck)
@blueprint.response(202, CheckView, headers=_LOCATION)
def create_check(new: dict[str, Any], tenant: str, entity_type: str) -> tuple[Check, int, Any]:
    """Have a worker plan a reindex, or audit an index."""
    runtime = services().runtime
    declared = runtime.entity_type(tenant, entity_type)
    kind = CheckKind(new["kind"])
    check = checking.ask(runtime.redis, tenant, declared.name, kind, repair=new["repair"])
    return check, 202, {"Location": url_for("checks.get_check", check_id=check.id)}


@blueprint.get("/checks/<check_id>")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.doc(description=f"One that nobody asks about for {WANTED} seconds is ended.")
@blueprint.response(200, CheckView)
def get_check(check_id: str) -> Check:
    """A plan or an audit: how far it is, and what it found."""
    redis = services().runtime.redis
    return owned("check", check_id, lambda id: checking.find(redis, id))


@blueprint.get(f"{PREFIX}/explanation")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.arguments(Asked, location="query")
@blueprint.response(200, ExplanationView)
def get_explanation(asked: dict[str, Any], tenant: str, entity_type: str) -> dict[str, Any]:
    """One entity as it stands in the index, and its last error."""
    return asdict(explain(services().runtime, tenant, entity_type, asked["id"]))
