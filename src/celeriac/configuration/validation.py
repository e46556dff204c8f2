"""From marshmallow's messages to problems with lines, in plain words and without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields

from celeriac.configuration.document import Document
from celeriac.configuration.fields import SourceOptions
from celeriac.configuration.problems import KeyPath, Problem, nearest, suggestion
from celeriac.configuration.redaction import Redactor
from celeriac.sources.options import Variant
from celeriac.sources.registry import source_kinds

Shape = Schema | fields.Field[Any] | None
"""What describes a value; None where nothing does."""

_UNKNOWN = "Unknown field."
_CHOICES = "Must be one of: "
_WITHOUT_VALUE = {
    "Missing data for required field.": "is required, and missing",
    "Field may not be null.": "has no value; give it one, or remove the key",
}
_PLAIN = {
    "Not a valid string.": "must be text",
    "Not a valid integer.": "must be a whole number",
    "Not a valid number.": "must be a number",
    "Not a valid boolean.": "must be true or false",
    "Not a valid mapping type.": "must be a mapping",
    "Not a valid list.": "must be a list",
    "Invalid input type.": "must be a mapping",
    "Special numeric values (nan or infinity) are not permitted.": "must be a number",
}
_BOUNDS = {"greater than or equal to": "at least", "less than or equal to": "at most"}


def validated(document: Document, schema: Schema) -> tuple[dict[str, Any], list[Problem]]:
    """What the schema loads, and what is wrong; the first is only of use when nothing is."""
    try:
        return schema.load({} if document.data is None else document.data), []
    except ValidationError as error:
        problems = Validation(document).problems(error.messages, schema, document.data, ())
        return {}, list(problems)


class Validation:
    """Renders the messages about one document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._redactor = Redactor(document)

    def problems(self, messages: Any, shape: Shape, value: Any, path: KeyPath) -> Iterator[Problem]:
        """Walk messages (strings, or more of them by key or position) along with their schema."""
        if isinstance(messages, str):
            yield self._document.problem(path, self._message(messages, value, path))
        elif isinstance(messages, Mapping):
            for key, below in messages.items():
                if key == "_schema":
                    yield from self.problems(below, shape, value, path)
                else:
                    yield from self._at(key, below, shape, value, path)
        else:
            for message in messages:
                yield from self.problems(message, shape, value, path)

    def _at(
        self, key: Any, messages: Any, shape: Shape, value: Any, path: KeyPath
    ) -> Iterator[Problem]:
        """The problems of one key or position."""
        inner, path = _item(value, key), (*path, key)
        if isinstance(shape, fields.Dict):
            yield from self.problems(messages.get("key", ()), None, key, path)
            yield from self.problems(messages.get("value", ()), shape.value_field, inner, path)
            return
        schema = _schema(shape, value)
        if schema is None:
            within = shape.inner if isinstance(shape, fields.List) else None
            yield from self.problems(messages, within, inner, path)
        elif not isinstance(value, Mapping):  # a scalar that stands for a mapping
            yield from self.problems(messages, None, value, path[:-1])
        elif messages == [_UNKNOWN]:
            message = f"unknown key '{key}'; {suggestion(str(key), _known(schema, shape))}"
            yield self._document.problem(path, message)
        else:
            yield from self.problems(messages, _known(schema, shape).get(key), inner, path)

    def _message(self, message: str, value: Any, path: KeyPath) -> str:
        if message in _WITHOUT_VALUE:
            return _WITHOUT_VALUE[message]
        text = self._redactor.redact(_plain(message))
        shown = self._redactor.shown(path, value)
        if shown is None or (shown in text and isinstance(value, str)):
            return text
        text = f"{text}; it is {shown}"
        match = _nearest_choice(message, value)
        return f"{text}, did you mean '{match}'?" if match else text


def _plain(message: str) -> str:
    text = _PLAIN.get(message, message).rstrip(".")
    for long, short in _BOUNDS.items():
        text = text.replace(long, short)
    return text[:1].lower() + text[1:]


def _item(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None


def _schema(shape: Shape, value: Any) -> Schema | None:
    """The schema of a mapping's keys."""
    if isinstance(shape, Schema):
        return shape
    if isinstance(shape, fields.Nested):
        return shape.schema
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if isinstance(shape, SourceOptions):
        declared = source_kinds().get(str(kind))
        return declared.schema() if declared else None
    if isinstance(shape, Variant):
        variant = shape.schemas.get(str(kind))
        return variant() if variant else None
    return None


def _known(schema: Schema, shape: Shape) -> dict[str, fields.Field[Any] | None]:
    known: dict[str, fields.Field[Any] | None] = {
        field.data_key or name: field for name, field in schema.load_fields.items()
    }
    return {"kind": None, **known} if isinstance(shape, SourceOptions | Variant) else known


def _nearest_choice(message: str, value: object) -> str | None:
    if not message.startswith(_CHOICES):
        return None
    return nearest(str(value), message.removeprefix(_CHOICES).rstrip(".").split(", "))
