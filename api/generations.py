"""/ai-rag-indexer/{tenant}/{type}/generations and .../rollback: which is live, and the way back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import Schema, ValidationError, fields

from api.authorization import requires
from api.services import services
from celeriac.catalog.indexes import Generation
from celeriac.generations import index_of
from celeriac.rollback import accept, roll_back
from celeriac.security.principal import Scope

blueprint = Blueprint("generations", __name__, url_prefix="/ai-rag-indexer/<tenant>/<entity_type>")


class RollbackSchema(Schema):
    """What a rollback is to do."""

    undo = fields.Boolean(load_default=False)


@blueprint.get("/generations")
@requires(Scope.AGENT_READ)
def list_generations(tenant: str, entity_type: str) -> Response:
    """The generations of an index, newest first."""
    runtime = services().runtime
    index = index_of(runtime, runtime.entity_type(tenant, entity_type))
    found = runtime.catalog.generations.of_index(index.id)
    return jsonify({"generations": [generation_resource(one) for one in found]})


@blueprint.post("/rollback")
@requires(Scope.AGENT_MANAGE)
def rollback(tenant: str, entity_type: str) -> Response:
    """Go back to the generation before the live one; with `undo`, accept again what was rolled
    back from."""
    services().store_check.require()
    act = accept if _body()["undo"] else roll_back
    done = asdict(act(services().runtime, services().dispatcher, tenant, entity_type))
    if done.get("indexed_at") is not None:
        done["indexed_at"] = int(done["indexed_at"])
    return jsonify(done)


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


def _body() -> dict[str, Any]:
    """What was sent; nothing stands for a plain rollback."""
    body = request.get_json(silent=True) if request.get_data() else {}
    if not isinstance(body, dict):
        raise ValidationError("Send nothing, or a JSON object with the key 'undo'.")
    loaded: dict[str, Any] = RollbackSchema().load(body)
    return loaded
