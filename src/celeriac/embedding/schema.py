"""The entries of the configuration file's `models:` section."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate

from celeriac.embedding.models import (
    AUTO,
    DTYPES,
    GEMINI_ENDPOINT,
    GEMINI_KEY_VARIABLE,
    EmbeddingModel,
    Engine,
    Pooling,
)

_POSITIVE = validate.Range(min=1)


class ModelSchema(Schema):
    """One embedding model: `name` and what sets it apart; loads as an EmbeddingModel.

    A model of engine `torch` (the default) needs location, dimension and max_length; one of engine
    `gemini` needs dimension and max_length, and is called by its own name unless remote_name says
    otherwise. A `stub` needs nothing.
    """

    name = fields.String(required=True, validate=validate.Length(min=1))
    engine = fields.Enum(Engine, by_value=True, load_default=Engine.TORCH)
    dimension = fields.Integer(strict=True, validate=_POSITIVE)
    max_length = fields.Integer(strict=True, validate=_POSITIVE)
    location = fields.String()
    revision = fields.String(load_default="")
    pooling = fields.Enum(Pooling, by_value=True, load_default=Pooling.MEAN)
    append_eos = fields.Boolean(load_default=False)
    query_prefix = fields.String(load_default="")
    passage_prefix = fields.String(load_default="")
    normalize = fields.Boolean(load_default=True)
    dtype = fields.String(load_default=AUTO, validate=validate.OneOf(DTYPES))
    remote_name = fields.String()
    api_key_variable = fields.String()

    @post_load
    def _describe(self, data: dict[str, Any], **_: object) -> EmbeddingModel:
        described = _defaults(data) | data
        missing = {"location", "dimension", "max_length"} - described.keys()
        if missing:
            raise ValidationError(
                {field: ["Missing data for required field."] for field in missing}
            )
        try:
            return EmbeddingModel(**described)
        except ValueError as error:
            raise ValidationError(str(error)) from error


def _defaults(data: dict[str, Any]) -> dict[str, Any]:
    match data["engine"]:
        case Engine.GEMINI:
            return {
                "location": GEMINI_ENDPOINT,
                "remote_name": data["name"],
                "api_key_variable": GEMINI_KEY_VARIABLE,
            }
        case Engine.STUB:
            return {"location": "", "dimension": 384, "max_length": 512}
        case _:
            return {}
