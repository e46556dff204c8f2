"""JSON in requests and answers; how the parts of a request are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NoReturn

from flask import Flask, Request, current_app, request
from flask.json.provider import DefaultJSONProvider
from marshmallow import RAISE, Schema, ValidationError, fields
from webargs.core import missing
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import CombinedMultiDict, MultiDict

from api.problems import Invalid
from celeriac.errors import NotFound


class BoundedJson(DefaultJSONProvider):
    """Takes JSON as RFC 8259 has it. What is nested too deeply, a number too long to read and the
    constants that only Python writes are refused as any other text that is not JSON."""

    sort_keys = False
    ensure_ascii = False

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return super().loads(s, parse_constant=_refuse_constant, **kwargs)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class Strict(Schema):
    """A body. It refuses keys that it does not know."""

    EXAMPLE: ClassVar[Mapping[str, Any]]
    """A body that is taken; it stands in the OpenAPI document."""

    class Meta:
        unknown = RAISE


class Truth(fields.Boolean):
    """true or false; not a number, nor a word in quotes."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Number(fields.Float):
    """A finite number; not one in quotes."""

    def _validated(self, value: Any) -> float:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


_PARTS = dict(FlaskParser.__location_map__, multipart="load_multipart")


class Parser(FlaskParser):
    """Reads the parts of a request.

    A body is JSON and says so; none stands for an empty object. `multipart` is the fields and the
    files of a form.
    """

    __location_map__ = _PARTS

    def _raw_load_json(self, req: Request) -> Any:
        content = req.get_data(cache=True)
        if not content:
            return missing
        if not req.is_json:
            raise ValidationError("Send JSON, with Content-Type: application/json.")
        try:
            loaded = current_app.json.loads(content)
        except ValueError:
            raise ValidationError("The body is not valid JSON in UTF-8.") from None
        _require_text(_strings(loaded))
        return loaded

    def load_multipart(self, req: Request, schema: Schema) -> Any:
        _require_text(_strings(req.form.to_dict()))
        parts: list[MultiDict[str, Any]] = [req.form, req.files]
        return self._makeproxy(CombinedMultiDict(parts), schema)


def register(app: Flask) -> None:
    """Refuse what is no text in a request's path and query before a handler sees it."""
    app.before_request(_require_text_in_url)


def _require_text_in_url() -> None:
    if not all(map(is_text, (request.view_args or {}).values())):
        raise NotFound("There is nothing under this name.")
    bad = [name for name, value in request.args.items(multi=True) if not is_text(name + value)]
    if bad:
        raise Invalid({bad[0]: [NO_TEXT]}, "query")


NO_TEXT = "Text has no NUL characters and no halves of surrogate pairs."


def is_text(value: Any) -> bool:
    """Whether this can be kept as text: databases take neither NUL nor lone surrogates."""
    if not isinstance(value, str):
        return True
    return "\0" not in value and (
        value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
    )


def _require_text(strings: Iterable[str]) -> None:
    if not all(map(is_text, strings)):
        raise ValidationError(NO_TEXT)


def _strings(value: Any) -> Iterable[str]:
    """Every string in what JSON was read to, keys too."""
    match value:
        case str():
            yield value
        case dict():
            for key, item in value.items():
                yield key
                yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)
