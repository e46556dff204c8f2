"""The keys of a configuration file; each field's metadata has the description for its page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, pre_load, validates_schema
from marshmallow.validate import Length, NoneOf, OneOf, Range, Regexp

from celeriac.configuration.declarations import (
    DEFAULT_MAX_RAG_BYTES,
    DEFAULT_REMOVAL_LIMIT,
    Canary,
)
from celeriac.configuration.fields import (
    CronExpression,
    Models,
    SourceOptions,
    TimeZone,
    WholeNumber,
    distinct,
)
from celeriac.configuration.names import TENANT_NAME
from celeriac.configuration.schedule import UTC, Schedule
from celeriac.configuration.security import Security, SecuritySchema
from celeriac.embedding.registry import DEFAULT_MODEL, ModelSchema
from celeriac.model import (
    MAX_RATE,
    MIN_CHUNK_SIZE,
    MIN_RATE,
    PRIORITIES,
    FilterField,
    FilterType,
    Priority,
    Splitting,
    SplittingMethod,
    TextField,
)

RESERVED_KEYS = frozenset({"tenant", "entity_type", "entity_id", "chunk", "chunk_count"})
"""Keys of a payload's metadata that are celeriac's own."""

ENTITY_TYPE_NAME = Regexp(
    re.compile(r"(?:[a-z][a-z0-9-]{0,255}|[A-Z][A-Z0-9_]{0,255})\Z"),
    error="an entity type's name has lower-case letters, digits and dashes (car-parts), or "
    "upper-case letters, digits and underscores (CAR_PARTS), and begins with a letter",
)
_FIELD_PATH = Regexp(
    re.compile(r"[^\s.](?:[^\n]*[^\s.])?\Z"),
    error="must be a dotted path such as mixins.care.en",
)


class TextFieldSchema(Schema):
    """One text field; a string stands for its path."""

    error_messages = {  # noqa: RUF012 - as marshmallow declares it
        "type": "must be a field's path, or a mapping with the keys key and alias"
    }

    key = fields.String(
        validate=_FIELD_PATH,
        metadata={"description": "Dotted path of the field in the entity, such as `name.en`."},
    )
    path = fields.String(
        validate=_FIELD_PATH, metadata={"description": "Another name for `key`; give one of them."}
    )
    alias = fields.String(
        validate=Length(min=1),
        metadata={"description": "What stands before the field's value in the text."},
    )
    name = fields.String(
        validate=Length(min=1),
        metadata={"description": "Another name for `alias`; give one of them at most."},
    )

    @pre_load
    def _from_string(self, data: Any, **_: Any) -> Any:
        return {"key": data} if isinstance(data, str) else data

    @validates_schema
    def _check_spellings(self, data: Mapping[str, Any], **_: Any) -> None:
        if "key" in data and "path" in data:
            raise ValidationError("is another name for key; give one of them", "path")
        if "key" not in data and "path" not in data:
            raise ValidationError("Missing data for required field.", "key")
        if "alias" in data and "name" in data:
            raise ValidationError("is another name for alias; give one of them", "name")

    @post_load
    def _build(self, data: Mapping[str, Any], **_: Any) -> TextField:
        path: str = data["key"] if "key" in data else data["path"]
        return TextField(path, data.get("alias") or data.get("name"))


class FilterFieldSchema(Schema):
    """One filter field."""

    key = fields.String(
        required=True,
        validate=[
            Length(min=1),
            NoneOf(
                RESERVED_KEYS,
                error=f"must be none of celeriac's own keys: {', '.join(sorted(RESERVED_KEYS))}",
            ),
        ],
        metadata={"description": "The key in a point's `metadata` and in a search's `filter`."},
    )
    type = fields.Enum(
        FilterType,
        by_value=True,
        load_default=FilterType.STRING,
        metadata={"description": "The type of its values."},
    )
    path = fields.String(
        load_default="",
        validate=_FIELD_PATH,
        metadata={"description": "Dotted path of the field in the entity; `key` where not given."},
    )
    description = fields.String(
        load_default="", metadata={"description": "What it holds, for those who search."}
    )

    @post_load
    def _build(self, data: Mapping[str, Any], **_: Any) -> FilterField:
        return FilterField(data["key"], data["type"], data["path"], data["description"])


class IndexSchema(Schema):
    """How an entity type is indexed."""

    model = fields.String(
        load_default=DEFAULT_MODEL,
        metadata={"description": "The embedding model: a built-in one, or one of `models`."},
    )
    text_splitting = fields.Enum(
        SplittingMethod,
        load_default=SplittingMethod.SENTENCE,
        metadata={
            "description": "`SENTENCE` cuts at the best boundary below `chunk_size`: paragraph, "
            "sentence, word. `TOKEN` cuts windows of exactly `chunk_size` tokens."
        },
    )
    chunk_size = WholeNumber(
        load_default=256,
        validate=Range(min=MIN_CHUNK_SIZE),
        metadata={"description": "Tokens of a chunk at most (tiktoken, `cl100k_base`)."},
    )
    chunk_overlap = WholeNumber(
        load_default=0,
        validate=Range(min=0),
        metadata={"description": "Tokens that a chunk shares with the one before it."},
    )
    own_collection = fields.Boolean(
        load_default=False,
        metadata={
            "description": "Whether the index has a Qdrant collection of its own; otherwise the "
            "indexes of one model share one."
        },
    )
    removal_limit = fields.Float(
        load_default=DEFAULT_REMOVAL_LIMIT,
        validate=Range(0, 1),
        metadata={
            "description": "The share of the index that a reindex may remove without "
            "confirmation, from 0 to 1."
        },
    )

    @validates_schema(skip_on_field_errors=False)
    def _check_overlap(self, data: Mapping[str, Any], **_: Any) -> None:
        size, overlap = data.get("chunk_size"), data.get("chunk_overlap")
        if size is not None and overlap is not None and overlap >= size:
            raise ValidationError(f"must be below chunk_size, {size}", "chunk_overlap")

    @post_load
    def _build(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        method, size = data.pop("text_splitting"), data.pop("chunk_size")
        return {**data, "splitting": Splitting(method, size, data.pop("chunk_overlap"))}


class CanarySchema(Schema):
    """One canary query."""

    text = fields.String(
        required=True,
        validate=Length(min=1),
        metadata={"description": "What a user would search for."},
    )
    expect = fields.List(
        fields.String(validate=Length(min=1)),
        required=True,
        validate=Length(min=1, error="must name at least one entity"),
        metadata={
            "value": "list of entity ids",
            "description": "Ids of entities; at least one of them has to be found.",
        },
    )
    top_k = WholeNumber(
        load_default=10,
        validate=Range(1, 100),
        metadata={"description": "Among how many entities, the best first, it has to be."},
    )

    @post_load
    def _build(self, data: Mapping[str, Any], **_: Any) -> Canary:
        return Canary(data["text"], tuple(data["expect"]), data["top_k"])


class ScheduleSchema(Schema):
    """When something runs by itself; a string stands for its cron expression."""

    error_messages = {  # noqa: RUF012 - as marshmallow declares it
        "type": "must be a cron expression, or a mapping with the keys cron and timezone"
    }

    cron = CronExpression(
        required=True, metadata={"description": "Five fields, as described above."}
    )
    timezone = TimeZone(
        load_default=UTC,
        metadata={"description": "Whose clocks count: a name of the IANA time zone database."},
    )

    @pre_load
    def _from_string(self, data: Any, **_: Any) -> Any:
        return {"cron": data} if isinstance(data, str) else data

    @post_load
    def _build(self, data: Mapping[str, Any], **_: Any) -> Schedule:
        return Schedule(data["cron"], data["timezone"])


class EntityTypeSchema(Schema):
    """One entity type."""

    source = SourceOptions(
        required=True,
        metadata={"description": "Where the entities come from; see [Sources](#sources)."},
    )
    text_fields = fields.List(
        fields.Nested(TextFieldSchema),
        required=True,
        validate=[Length(min=1, error="must name at least one field"), distinct],
        metadata={
            "value": "list of paths or mappings",
            "description": "The fields that are embedded, in the order of the text: paths, or "
            "mappings with a path and an alias; see [Text fields](#text-fields).",
        },
    )
    filter_fields = fields.List(
        fields.Nested(FilterFieldSchema),
        load_default=list,
        validate=distinct,
        metadata={
            "description": "The fields that a search can filter by; see "
            "[Filter fields](#filter-fields)."
        },
    )
    index = fields.Nested(
        IndexSchema,
        load_default=lambda: IndexSchema().load({}),
        metadata={"description": "How it is indexed; see [Index](#index)."},
    )
    canaries = fields.List(
        fields.Nested(CanarySchema),
        load_default=list,
        metadata={
            "description": "Searches that a new generation of the index has to answer before it "
            "goes live; see [Canaries](#canaries)."
        },
    )
    schedule = fields.Nested(
        ScheduleSchema,
        load_default=None,
        allow_none=True,
        metadata={
            "value": "cron expression, or mapping",
            "description": "When it is reindexed: a cron expression of five fields, in UTC, or a "
            "mapping that names a time zone too; see [Schedules](#schedules). Not given: on "
            "request only.",
        },
    )
    priority = fields.String(
        load_default=Priority.NORMAL.label,
        validate=OneOf(PRIORITIES),
        metadata={
            "description": "How its jobs stand to all others: pages of a higher priority go first."
        },
    )
    max_entities_per_second = fields.Float(
        load_default=None,
        allow_none=True,
        validate=Range(MIN_RATE, MAX_RATE),
        metadata={
            "description": "How many entities a second a job lists at most, over all workers; can "
            "be changed while it runs. Not given: as many as it can."
        },
    )


class TenantSchema(Schema):
    """One tenant."""

    entity_types = fields.Dict(
        keys=fields.String(validate=ENTITY_TYPE_NAME),
        values=fields.Nested(EntityTypeSchema),
        load_default=dict,
        allow_none=True,
        metadata={
            "description": "Entity types by name; `car-parts` and `CAR_PARTS` name one type. "
            "See [Entity types](#entity-types)."
        },
    )
    max_rag_bytes = WholeNumber(
        load_default=DEFAULT_MAX_RAG_BYTES,
        validate=Range(min=0),
        metadata={
            "description": "Bytes of documents that the tenant's RAG indexes may hold together, "
            "by their original sizes; a document counts once a model."
        },
    )


class ConfigurationSchema(Schema):
    """The whole file."""

    error_messages = {  # noqa: RUF012 - as marshmallow declares it
        "type": "must be a mapping with the keys tenants, models and security"
    }

    tenants = fields.Dict(
        keys=fields.String(validate=TENANT_NAME),
        values=fields.Nested(TenantSchema),
        load_default=dict,
        allow_none=True,
        metadata={
            "description": "Tenants by name: 3 to 16 lower-case letters and digits, a letter "
            "first. Each has `entity_types`."
        },
    )
    models = Models(
        keys=fields.String(validate=Length(min=1)),
        values=fields.Nested(ModelSchema),
        load_default=dict,
        allow_none=True,
        metadata={
            "description": "Embedding models beside the built-in ones, by name; see "
            "[Models](#models)."
        },
    )
    security = fields.Nested(
        SecuritySchema,
        load_default=Security,
        metadata={
            "description": "Whose tokens are accepted, and how often anybody may ask; see "
            "[Security](#security)."
        },
    )
