"""What schemas of source options share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields
from marshmallow.validate import Length, Range

MAX_PAGE_SIZE = 10_000


class SourceOptions(Schema):
    """Options of every kind of source. An unknown key is an error."""

    kind = fields.String()
    id = fields.String(load_default="id", validate=Length(min=1))
    """Dotted path of the field that holds an entity's id."""


def page_size(default: int) -> fields.Integer:
    """How many entities a page holds at most."""
    return fields.Integer(load_default=default, validate=Range(1, MAX_PAGE_SIZE))


class Variant(fields.Field[dict[str, Any]]):
    """A mapping whose key `kind` chooses the schema of its other keys."""

    def __init__(
        self, schemas: Mapping[str, type[Schema]], *, load_default: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(
            required=False,
            allow_none=True,
            load_default=None if load_default is None else dict(load_default),
        )
        self.schemas = schemas

    def _deserialize(
        self,
        value: Any,
        attr: str | None,  # noqa: ARG002 - marshmallow's signature
        data: Mapping[str, Any] | None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValidationError("Not a mapping with the key `kind`.")
        options = dict(value)
        kind = options.pop("kind", None)
        if kind is None:
            raise ValidationError({"kind": ["Missing data for required field."]})
        if not isinstance(kind, str) or kind not in self.schemas:
            raise ValidationError({"kind": [f"Must be one of: {', '.join(self.schemas)}."]})
        return {"kind": kind, **self.schemas[kind]().load(options)}
