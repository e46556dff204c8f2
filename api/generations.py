"""/ai-rag-indexer/{tenant}/{type}/generations and .../rollback: which is live, and the way back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from marshmallow import Schema, fields
from marshmallow.validate import OneOf

from api.authorization import requires
from api.blueprint import Blueprint
from api.bodies import Strict, Truth
from api.reindex import PREFIX
from api.services import services
from celeriac.catalog.indexes import Generation, GenerationState
from celeriac.errors import Conflict, NotFound
from celeriac.generations import index_of
from celeriac.rollback import accept, roll_back
from celeriac.security.principal import Scope

blueprint = Blueprint(
    "generations", __name__, url_prefix=PREFIX, description="Which is live, and the way back."
)

_SECONDS = {"description": "Unix seconds."}


class RollbackRequest(Strict):
    """What a rollback is to do."""

    EXAMPLE: ClassVar = {"undo": False}

    undo = Truth(
        load_default=False,
        metadata={"description": "Accept again what was rolled back from."},
    )


class GenerationView(Schema):
    """A generation of an index."""

    generation = fields.Integer(required=True, metadata={"description": "Its number."})
    state = fields.String(required=True, validate=OneOf(list(GenerationState)))
    rejected = fields.Boolean(
        required=True, metadata={"description": "Whether it was rolled back from."}
    )
    partition = fields.String(
        required=True, metadata={"description": "The payload key `partition` of its points."}
    )
    collection = fields.String(required=True)
    model = fields.String(required=True)
    indexed_at = fields.Integer(required=True, allow_none=True, metadata=_SECONDS)


class GenerationList(Schema):
    """The generations of an index, newest first."""

    generations = fields.List(fields.Nested(GenerationView), required=True)


class RollbackView(Schema):
    """What is live after a rollback, or after it was undone."""

    tenant = fields.String(required=True)
    entity_type = fields.String(required=True)
    index_id = fields.String(required=True)
    generation = fields.Integer(required=True, metadata={"description": "The live one."})
    rolled_back_from = fields.Integer()
    partition = fields.String()
    collection = fields.String()
    indexed_at = fields.Integer(allow_none=True, metadata=_SECONDS)
    accepted = fields.List(
        fields.Integer(), metadata={"description": "With `undo`: those that were rejected."}
    )
    job_id = fields.String(
        required=True, allow_none=True, metadata={"description": "The reindex that follows."}
    )


@blueprint.get("/generations")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, GenerationList)
def list_generations(tenant: str, entity_type: str) -> dict[str, Any]:
    """The generations of an index, newest first."""
    runtime = services().runtime
    index = index_of(runtime, runtime.entity_type(tenant, entity_type))
    found = runtime.catalog.generations.of_index(index.id)
    return {"generations": [generation_resource(one) for one in found]}


@blueprint.post("/rollback")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.arguments(RollbackRequest)
@blueprint.response(200, RollbackView)
def rollback(asked: dict[str, Any], tenant: str, entity_type: str) -> dict[str, Any]:
    """Go back to the generation before the live one; with `undo`, accept again what was rolled
    back from."""
    services().store_check.require()
    act = accept if asked["undo"] else roll_back
    return asdict(act(services().runtime, services().dispatcher, tenant, entity_type))


def generation_resource(generation: Generation) -> dict[str, Any]:
    """A generation as clients see it; times are Unix seconds."""
    return {
        "generation": generation.number,
        "state": generation.state,
        "rejected": generation.rejected_at is not None,
        "partition": generation.partition.key,
        "collection": generation.collection,
        "model": generation.model,
        "indexed_at": None if generation.indexed_at is None else int(generation.indexed_at),
    }
