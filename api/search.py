"""POST /ai-rag-indexer/{tenant}/{type}/search."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import Schema, ValidationError, fields, validate

from api.authorization import requires
from api.services import services
from celeriac.security.principal import Scope
from workers import searching

blueprint = Blueprint("search", __name__, url_prefix="/ai-rag-indexer/<tenant>/<entity_type>")

MAX_TEXT = 32_768
MAX_HITS = 1_000


class SearchSchema(Schema):
    """A search."""

    text = fields.String(required=True, validate=validate.Length(1, MAX_TEXT))
    top_k = fields.Integer(strict=True, load_default=10, validate=validate.Range(1, MAX_HITS))
    filter = fields.Dict(keys=fields.String(), values=fields.Raw(), load_default=dict)


@blueprint.post("/search")
@requires(Scope.AGENT_READ)
def search(tenant: str, entity_type: str) -> Response:
    """The chunks nearest to a text."""
    arguments = _arguments()
    hits = searching.ask(
        services().runtime.redis,
        tenant,
        entity_type,
        arguments["text"],
        top_k=arguments["top_k"],
        filters=arguments["filter"],
    )
    return jsonify({"hits": hits})


def _arguments() -> dict[str, Any]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise ValidationError(
            "Send a JSON object with the key 'text', and Content-Type: application/json."
        )
    arguments: dict[str, Any] = SearchSchema().load(body)
    return arguments
