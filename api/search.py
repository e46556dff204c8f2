"""POST /ai-rag-indexer/{tenant}/{type}/search."""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import Schema, fields, validate

from api.authorization import requires
from api.blueprint import Blueprint
from api.bodies import Strict
from api.reindex import PREFIX
from api.services import services
from celeriac.errors import ConfigurationError, NotFound, WorkerTimeout
from celeriac.security.principal import Scope
from workers import searching

blueprint = Blueprint("search", __name__, url_prefix=PREFIX, description="Search.")

MAX_TEXT = 32_768
MAX_HITS = 1_000
FILTER = (
    "What fields have to be, by key: a value, a list of which any value may match, or, of integer, "
    'float, date and datetime fields, bounds such as `{"gte": 5, "lt": 10}` (`gte`, `gt`, `lte`, '
    "`lt`)."
)


class Search(Strict):
    """A search."""

    EXAMPLE: ClassVar = {"text": "a warm coat for the winter", "top_k": 3}

    text = fields.String(required=True, validate=validate.Length(1, MAX_TEXT))
    top_k = fields.Integer(strict=True, load_default=10, validate=validate.Range(1, MAX_HITS))
    filter = fields.Dict(
        keys=fields.String(),
        values=fields.Raw(),
        load_default=dict,
        metadata={"description": FILTER},
    )


class Hit(Schema):
    """A chunk that was found."""

    entity_id = fields.String(required=True)
    chunk = fields.Integer(required=True, metadata={"description": "Its place, from 0."})
    score = fields.Float(required=True)
    text = fields.String(required=True)
    metadata = fields.Dict(keys=fields.String(), required=True)


class Hits(Schema):
    """What a search found, best first."""

    hits = fields.List(fields.Nested(Hit), required=True)


@blueprint.post("/search")
@requires(Scope.AGENT_READ)
@blueprint.raises(ConfigurationError, NotFound, WorkerTimeout)
@blueprint.arguments(Search)
@blueprint.response(200, Hits)
def search(asked: dict[str, Any], tenant: str, entity_type: str) -> dict[str, Any]:
    """The chunks nearest to a text."""
    hits = searching.ask(
        services().runtime.redis,
        tenant,
        entity_type,
        asked["text"],
        top_k=asked["top_k"],
        filters=asked["filter"],
    )
    return {"hits": hits}
