"""Bodies and queries of the batch contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf, Range

from api.bodies import FILE, File, Strict, Truth, not_blank

MODELS = ("e5_mistral_7b_instruct", "multilingual_e5_large_instruct", "gemini-embedding-001")
STATUSES = (
    *("created", "processing", "failed", "succeeded"),
    *("rag_limit_exceeded", "document_too_small", "cannot_index_folder"),
)
A_DOCUMENT = "6f0c5d1e-7b0a-4f0e-9a53-0d5a1f6f2c05"
"""In examples; as in paths."""
MAX_ITEMS = 100
MAX_ID = 256
MAX_NAME = 512
MAX_TEXT = 10 * 1024 * 1024
MAX_URL = 2048


class Item(Strict):
    """A RAG index that is asked for."""

    document_id = fields.String(required=True, validate=Length(max=MAX_ID))
    create_if_missing = Truth(required=True)
    model = fields.String(required=True, validate=OneOf(MODELS))


class RagIndexRequests(Strict):
    """RAG indexes that are asked for."""

    EXAMPLE: ClassVar = {
        "items": [{"document_id": A_DOCUMENT, "create_if_missing": True, "model": MODELS[1]}]
    }

    items = fields.List(fields.Nested(Item), required=True, validate=Length(1, MAX_ITEMS))

    @validates_schema
    def _check_models(self, data: Mapping[str, Any], **_: Any) -> None:
        models: dict[str, str] = {}
        for position, item in enumerate(data["items"]):
            if models.setdefault(item["document_id"], item["model"]) != item["model"]:
                message = "The answer has one item a document; ask for another model on its own."
                raise ValidationError({"items": {position: {"model": [message]}}})


class Usage(Schema):
    """What an index uses."""

    used_bytes = fields.Integer(required=True)


class RagIndexView(Schema):
    """A document's RAG index."""

    id = fields.String(required=True)
    model = fields.String(required=True, validate=OneOf(MODELS))
    status = fields.String(required=True, validate=OneOf(STATUSES))
    progress_percentage = fields.Float(required=True)
    document_model_index_usage = fields.Nested(Usage, required=True)


class RagIndexList(Schema):
    """Every RAG index of a document."""

    indexes = fields.List(fields.Nested(RagIndexView), required=True)


class Success(Schema):
    """A RAG index that there is."""

    status = fields.String(required=True, validate=OneOf(["success"]))
    data = fields.Nested(RagIndexView, required=True)


class Failure(Schema):
    """Why there is no RAG index."""

    status = fields.String(required=True, validate=OneOf(["failure"]))
    error_code = fields.Integer(required=True)
    error_status = fields.String(required=True)
    error_message = fields.String(required=True)


ANSWERS = (Success, Failure)
ANSWER = {
    "type": "object",
    "description": "By document.",
    "additionalProperties": {
        "anyOf": [
            {"$ref": "#/components/schemas/BatchSuccess"},
            {"$ref": "#/components/schemas/BatchFailure"},
        ]
    },
}
"""What a batch is answered with; marshmallow has no schema of a map."""


class ModelQuery(Schema):
    """An embedding model."""

    model = fields.String(required=True, validate=OneOf(MODELS))


class ModelRequest(Strict):
    """An embedding model."""

    EXAMPLE: ClassVar = {"model": MODELS[1]}

    model = fields.String(required=True, validate=OneOf(MODELS))


class ModelUsage(Schema):
    """What a model's indexes use."""

    model = fields.String(required=True, validate=OneOf(MODELS))
    used_bytes = fields.Integer(required=True)


class Overview(Schema):
    """What all RAG indexes of a tenant use."""

    total_used_bytes = fields.Integer(required=True)
    total_max_bytes = fields.Integer(required=True)
    models = fields.List(fields.Nested(ModelUsage), required=True)


class NewDocument(Strict):
    """What every new document may say."""

    name = fields.String(load_default=None, allow_none=True, validate=Length(1, MAX_NAME))
    parent_folder_id = fields.String(
        load_default=None, allow_none=True, validate=Length(max=MAX_ID)
    )


class NewText(NewDocument):
    """A text."""

    EXAMPLE: ClassVar = {
        "name": "Opening hours",
        "text": "The shop is open from 9 to 18 on weekdays, and from 10 to 14 on Saturdays.",
    }

    text = fields.String(required=True, validate=[Length(1, MAX_TEXT), not_blank])


class NewUrl(NewDocument):
    """A document at a URL."""

    EXAMPLE: ClassVar = {"name": "Terms", "url": "https://www.example.com/terms.html"}

    url = fields.String(required=True, validate=Length(1, MAX_URL))


class NewFolder(NewDocument):
    """A folder."""

    EXAMPLE: ClassVar = {"name": "Manuals"}

    name = fields.String(required=True, validate=Length(1, MAX_NAME))


class NewFile(NewDocument):
    """A file."""

    EXAMPLE: ClassVar = {"name": "Manual", "file": "@manual.md"}

    file = File(required=True, metadata={"description": FILE})


class Rename(Strict):
    """Another name."""

    EXAMPLE: ClassVar = {"name": "Opening hours, 2027"}

    name = fields.String(required=True, validate=Length(1, MAX_NAME))


class Added(Schema):
    """A document that was added."""

    id = fields.String(required=True)
    name = fields.String(required=True)


class DocumentMetadata(Schema):
    """Times in Unix seconds, and size."""

    created_at_unix_secs = fields.Integer(required=True)
    last_updated_at_unix_secs = fields.Integer(required=True)
    size_bytes = fields.Integer(required=True)


class DocumentView(Schema):
    """A document."""

    id = fields.String(required=True)
    name = fields.String(required=True)
    type = fields.String(required=True, validate=OneOf(["text", "url", "file", "folder"]))
    url = fields.String()
    parent_folder_id = fields.String(allow_none=True)
    metadata = fields.Nested(DocumentMetadata, required=True)


class DocumentList(Schema):
    """A part of the documents."""

    documents = fields.List(fields.Nested(DocumentView), required=True)
    next_cursor = fields.String(allow_none=True, required=True)
    has_more = fields.Boolean(required=True)


class ListQuery(Schema):
    """Which part of the documents."""

    page_size = fields.Integer(load_default=30, validate=Range(1, 100))
    cursor = fields.String(load_default=None, validate=Length(max=MAX_ID))
    search = fields.String(
        load_default=None,
        validate=Length(1, MAX_NAME),
        metadata={"description": "What the name begins with."},
    )
    parent_folder_id = fields.String(load_default=None, validate=Length(max=MAX_ID))


class ChunkView(Schema):
    """A chunk as it is indexed."""

    id = fields.String(required=True)
    chunk = fields.Integer(required=True)
    content = fields.String(required=True)


class ChunkList(Schema):
    """A part of a document's chunks."""

    chunks = fields.List(fields.Nested(ChunkView), required=True)
    next_cursor = fields.String(allow_none=True, required=True)
    has_more = fields.Boolean(required=True)


class ChunkQuery(ModelQuery):
    """Which chunks, of which model's index."""

    page_size = fields.Integer(load_default=100, validate=Range(1, 1000))
    cursor = fields.Integer(load_default=0, validate=Range(0, 10**9))
