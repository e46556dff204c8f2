"""GET /ai-rag-indexer/{tenant}/{type}/rag-metadata and filter-metadata: what is declared."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from marshmallow import Schema, fields

from api.authorization import requires
from api.blueprint import Blueprint
from api.reindex import PREFIX, declared
from celeriac.errors import ConfigurationError
from celeriac.security.principal import Scope

blueprint = Blueprint("metadata", __name__, url_prefix=PREFIX, description="What is declared.")


class FilterFieldView(Schema):
    """A field that a search can filter by."""

    key = fields.String(required=True)
    type = fields.String(required=True)
    name = fields.String(required=True)
    description = fields.String(required=True)


@blueprint.get("/rag-metadata")
@requires(Scope.AGENT_READ)
@blueprint.raises(ConfigurationError)
@blueprint.response(200, {"type": "array", "items": {"type": "string"}})
def get_rag_metadata(tenant: str, entity_type: str) -> Response:
    """The dotted paths of the fields that are embedded, in the order of the text."""
    return jsonify([field.path for field in declared(tenant, entity_type).spec.text_fields])


@blueprint.get("/filter-metadata")
@requires(Scope.AGENT_READ)
@blueprint.raises(ConfigurationError)
@blueprint.response(200, FilterFieldView(many=True))
def get_filter_metadata(tenant: str, entity_type: str) -> list[dict[str, Any]]:
    """The fields that a search can filter by."""
    return [
        {
            "key": field.key,
            "type": field.type,
            "name": field.path or field.key,
            "description": field.description,
        }
        for field in declared(tenant, entity_type).spec.filter_fields
    ]
