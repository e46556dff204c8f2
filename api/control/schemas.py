"""Bodies and queries of the control contract."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar
from zoneinfo import available_timezones

from marshmallow import Schema, ValidationError, fields, post_dump, validates_schema
from marshmallow.validate import Length, OneOf, Range

from api.bodies import FILE, File, Number, Strict
from celeriac.catalog.data_sources import DataSourceType
from celeriac.catalog.entries import EntryState
from celeriac.catalog.knowledge_bases import DataOriginType
from celeriac.model import MIN_CHUNK_SIZE, SplittingMethod
from celeriac.refresh import DAYS

MAX_NAME = 256
MAX_DESCRIPTION = 4096
MAX_TEXT = 32_768
MAX_CHUNK_SIZE = 1_000_000
MAX_LIMIT = 1000

_NAME = Length(1, MAX_NAME)
_UUID = {"format": "uuid"}


class RefreshPolicy(Strict):
    """When a knowledge base is indexed by itself."""

    policy_type = fields.String(
        required=True,
        validate=OneOf(["MANUAL", "HOURLY", "DAILY", "WEEKLY"]),
        metadata={
            "description": "HOURLY has a minute, DAILY an hour too, WEEKLY a day_of_week as well."
        },
    )
    minute = fields.Integer(strict=True, validate=Range(0, 59))
    hour = fields.Integer(strict=True, validate=Range(0, 23))
    day_of_week = fields.String(validate=OneOf(DAYS))
    timezone = fields.String(
        metadata={"description": "A name of the IANA time zone database; UTC where not given."}
    )

    @validates_schema
    def _check(self, data: Mapping[str, Any], **_: Any) -> None:
        needed = {
            "MANUAL": (),
            "HOURLY": ("minute",),
            "DAILY": ("minute", "hour"),
            "WEEKLY": ("minute", "hour", "day_of_week"),
        }[data["policy_type"]]
        missing = {
            name: ["Missing data for required field."] for name in needed if name not in data
        }
        if missing:
            raise ValidationError(missing)
        zone = data.get("timezone")
        if zone is not None and zone not in available_timezones():
            raise ValidationError({"timezone": [f"There is no time zone {zone!r}."]})


class NewKnowledgeBase(Strict):
    """What a knowledge base is made of."""

    EXAMPLE: ClassVar = {
        "name": "Handbook",
        "description": "What everybody has to know.",
        "index_refresh_policy": {"policy_type": "DAILY", "hour": 3, "minute": 0},
        "data_origin_type": "LOCAL_FILES",
    }

    name = fields.String(required=True, validate=_NAME)
    description = fields.String(load_default="", validate=Length(max=MAX_DESCRIPTION))
    index_refresh_policy = fields.Nested(RefreshPolicy, required=True)
    data_origin_type = fields.Enum(DataOriginType, required=True)


class KnowledgeBaseChange(Strict):
    """What of a knowledge base can be changed."""

    EXAMPLE: ClassVar = {
        "name": "Handbook, second edition",
        "index_refresh_policy": {"policy_type": "MANUAL"},
    }

    name = fields.String(validate=_NAME)
    description = fields.String(validate=Length(max=MAX_DESCRIPTION))
    index_refresh_policy = fields.Nested(RefreshPolicy)


class KnowledgeBaseView(Schema):
    """A knowledge base."""

    id = fields.String(required=True, metadata=_UUID)
    name = fields.String(required=True)
    description = fields.String()
    index_refresh_policy = fields.Nested(RefreshPolicy, required=True)
    data_origin_type = fields.String(required=True)
    object = fields.String(dump_default="knowledge_base")
    created_at = fields.Integer(required=True)


class NewIndex(Strict):
    """What an index is made of. It cannot be changed: build another."""

    EXAMPLE: ClassVar = {
        "name": "small",
        "embeddings_model_endpoint": "all-minilm-l6-v2",
        "text_splitting": "SENTENCE",
        "chunk_size": 256,
        "chunk_overlap": 32,
    }

    name = fields.String(load_default="", validate=Length(max=MAX_NAME))
    description = fields.String(load_default="", validate=Length(max=MAX_DESCRIPTION))
    embeddings_model_endpoint = fields.String(required=True, validate=Length(1, MAX_NAME))
    text_splitting = fields.Enum(SplittingMethod, required=True)
    chunk_size = fields.Integer(
        strict=True, required=True, validate=Range(MIN_CHUNK_SIZE, MAX_CHUNK_SIZE)
    )
    chunk_overlap = fields.Integer(strict=True, load_default=0, validate=Range(0, MAX_CHUNK_SIZE))

    @validates_schema
    def _check(self, data: Mapping[str, Any], **_: Any) -> None:
        if data["chunk_overlap"] >= data["chunk_size"]:
            raise ValidationError({"chunk_overlap": ["Must be below chunk_size."]})


class Compact(Schema):
    """Leaves out what has no value."""

    @post_dump
    def _drop_nulls(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {key: value for key, value in data.items() if value is not None}


class IndexView(Compact):
    """An index, to the letter of the contract."""

    id = fields.String(required=True, metadata=_UUID)
    name = fields.String(metadata={"maxLength": MAX_NAME})
    description = fields.String()
    embeddings_model_endpoint = fields.String(required=True)
    text_splitting = fields.String(required=True)
    chunk_size = fields.Integer(required=True, metadata={"minimum": MIN_CHUNK_SIZE})
    chunk_overlap = fields.Integer(metadata={"minimum": 0})
    knowledge_base_id = fields.String(required=True, metadata=_UUID)
    object = fields.String(dump_default="index")
    created_at = fields.Integer(required=True)
    last_indexed_at = fields.Integer()
    last_indexed_by_id = fields.String(metadata=_UUID)
    num_documents = fields.Integer(metadata={"minimum": 0})
    status = fields.String(required=True, validate=OneOf(["AVAILABLE", "ERROR"]))
    status_errors = fields.List(fields.String())


class SearchRequest(Strict):
    """A search."""

    EXAMPLE: ClassVar = {"text": "how to ask for leave", "top_k": 2}

    text = fields.String(required=True, validate=Length(1, MAX_TEXT))
    top_k = fields.Integer(strict=True, load_default=2, validate=Range(1, MAX_LIMIT))
    similarity_cutoff = Number(load_default=None, allow_none=True)


class FoundChunk(Schema):
    """A chunk that was found."""

    origin_name = fields.String(required=True)
    origin_ref = fields.String(required=True)
    document_id = fields.String(required=True)
    score = fields.Float(required=True)
    media_type = fields.String(required=True)
    text = fields.String(required=True)


class SearchView(Schema):
    """What a search found, best first."""

    chunks = fields.List(fields.Nested(FoundChunk), required=True)


class IndexingView(Compact):
    """A job over an index."""

    id = fields.String(required=True, metadata=_UUID)
    object = fields.String(dump_default="indexing")
    state = fields.String(
        required=True, validate=OneOf(["PENDING", "RUNNING", "DONE", "FAILED", "CANCELLED"])
    )
    created_at = fields.Integer(required=True)
    completed_at = fields.Integer()
    knowledge_base_id = fields.String(required=True, metadata=_UUID)
    index_id = fields.String(required=True, metadata=_UUID)
    message = fields.String(metadata={"description": "Why it failed or was cancelled (ours)."})


class DocumentView(Compact):
    """A document in an index."""

    id = fields.String(required=True, metadata=_UUID)
    object = fields.String(dump_default="document")
    origin_name = fields.String(required=True)
    origin_ref = fields.String(required=True)
    state = fields.String(required=True)
    state_reason = fields.String(metadata={"description": "Why it is not indexed (ours)."})
    media_type = fields.String(required=True)
    knowledge_base_id = fields.String(required=True, metadata=_UUID)
    index_id = fields.String(required=True, metadata=_UUID)
    data_source_id = fields.String(metadata=_UUID)
    created_at = fields.Integer(required=True)
    last_embedded_at = fields.Integer()
    last_indexed_by_id = fields.String(metadata=_UUID)
    size_bytes = fields.Integer(required=True)
    hash_sha256 = fields.String(required=True)
    reindexing_needed = fields.Boolean(required=True)


class UploadForm(Strict):
    """A file."""

    EXAMPLE: ClassVar = {"file": "@handbook.md"}

    file = File(required=True, metadata={"description": FILE})


class Deleted(Schema):
    """What was deleted."""

    id = fields.String(required=True)
    object = fields.String(required=True)
    deleted = fields.Boolean(dump_default=True)


class NewDataSource(Strict):
    """What a data source is made of."""

    EXAMPLE: ClassVar = {
        "name": "products",
        "type": "REST",
        "origin_url": "https://api.example.com/products",
        "options": {"items": "data"},
        "credentials": {"kind": "bearer", "token": "TOKEN"},
    }

    name = fields.String(required=True, validate=_NAME)
    description = fields.String(load_default="", validate=Length(max=MAX_DESCRIPTION))
    type = fields.Enum(DataSourceType, required=True)
    origin_url = fields.String(
        required=True,
        validate=Length(1, 2048),
        metadata={"description": "The listing's URL; for ENTITY_TYPE the entity type's name."},
    )
    options = fields.Dict(keys=fields.String(), load_default=dict)
    credentials = fields.Dict(
        keys=fields.String(),
        load_default=dict,
        load_only=True,
        metadata={"description": "As `auth` of a `rest` source; never shown again."},
    )


class DataSourceView(Schema):
    """A data source; its credentials are not shown."""

    id = fields.String(required=True, metadata=_UUID)
    object = fields.String(dump_default="data_source")
    name = fields.String(required=True)
    description = fields.String()
    type = fields.String(required=True)
    origin_url = fields.String(required=True)
    options = fields.Dict(keys=fields.String())
    created_at = fields.Integer(required=True)


class LinkRequest(Strict):
    """Which data source to link."""

    EXAMPLE: ClassVar = {"data_source_id": "6f0c5d1e-7b0a-4f0e-9a53-0d5a1f6f2c06"}

    data_source_id = fields.String(required=True, validate=Length(1, 64))


class ListQuery(Schema):
    """Which part of a list."""

    after = fields.String(metadata={"description": "Id of the one before the first wanted."})
    before = fields.String(metadata={"description": "Id of the one after the last wanted."})
    limit = fields.Integer(load_default=100, validate=Range(1, MAX_LIMIT))
    offset = fields.Integer(load_default=0, validate=Range(0, 10**9))
    order = fields.String(load_default="asc", validate=OneOf(["asc", "desc"]))
    set_num_objects = fields.Boolean(load_default=False)
    name = fields.String(metadata={"description": "Only those of this name."})

    @validates_schema
    def _check(self, data: Mapping[str, Any], **_: Any) -> None:
        if "after" in data and "before" in data:
            raise ValidationError({"before": ["Give either after or before."]})


class CancelQuery(Schema):
    """Whether to wait for nothing; a job is cancelled at its next checkpoint either way."""

    force = fields.Boolean(load_default=False)


@cache
def list_of(view: type[Schema]) -> type[Schema]:
    """The schema of a list of these."""
    return type(
        f"{view.__name__.removesuffix('View')}List",
        (Compact,),
        {
            "__module__": __name__,
            "object": fields.String(dump_default="list"),
            "has_more": fields.Boolean(required=True),
            "num_objects": fields.Integer(),
            "data": fields.List(fields.Nested(view), required=True),
            "first_id": fields.String(),
            "last_id": fields.String(),
        },
    )


DOCUMENT_STATES: Mapping[EntryState, str] = {
    EntryState.QUEUED: "NEW",
    EntryState.EMBEDDING: "EMBEDDING",
    EntryState.INDEXED: "INDEXED",
    EntryState.FAILED: "EMBEDDING_FAIL",
    EntryState.CANCELLED: "CANCELLED",
    EntryState.REFUSED: "UNSUPPORTED",
    EntryState.DELETING: "DELETING",
}
