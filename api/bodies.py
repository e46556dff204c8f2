"""JSON in requests and answers; how the parts of a request are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from flask import Flask, Request, current_app, request
from flask.json.provider import DefaultJSONProvider
from flask_smorest.fields import Upload
from marshmallow import RAISE, Schema, ValidationError, fields
from webargs.core import missing
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import CombinedMultiDict, FileStorage, MultiDict

from api.problems import Invalid
from celeriac.errors import ConfigurationError, NotFound

DECLARED = ("tenant", "entity_type")
"""What paths name as the configuration does; the contract knows no 404 for these."""
MAX_FILENAME, MAX_MEDIA_TYPE = 512, 256


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


NO_TEXT = "Text has no NUL characters and no halves of surrogate pairs."


def is_text(value: str) -> bool:
    """Whether this can be kept as text: databases take neither NUL nor lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def not_blank(value: str) -> None:
    """Refuse a text of white space."""
    if not value.strip():
        raise ValidationError("There is no text in it.")


FILE = "A file with its name, and not its text in a field: with curl, -F file=@handbook.md"


class File(Upload):
    """A file with a name, in a form."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> FileStorage:
        if not isinstance(value, FileStorage) or not value.filename:
            raise ValidationError("Send a file with a filename.")
        if not is_text(value.filename) or len(value.filename) > MAX_FILENAME:
            raise ValidationError(f"A filename is text, of {MAX_FILENAME} characters at most.")
        if len(value.mimetype) > MAX_MEDIA_TYPE:
            raise ValidationError(f"A media type has {MAX_MEDIA_TYPE} characters at most.")
        found: FileStorage = super()._deserialize(value, attr, data, **kwargs)
        return found


_PARTS = dict(FlaskParser.__location_map__, multipart="load_multipart")


class Parser(FlaskParser):
    """Reads the parts of a request.

    A body is JSON and says so; none stands for an empty object. `multipart` is the fields and the
    files of a form. Nothing in a query or a form is given twice.
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
        _require_text(loaded)
        return loaded

    def load_multipart(self, req: Request, schema: Schema) -> Any:
        _require_text(req.form.to_dict(flat=False))
        parts: list[MultiDict[str, Any]] = [req.form, req.files]
        return self._makeproxy(_given_once(CombinedMultiDict(parts)), schema)

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        _given_once(req.args)
        return super().load_querystring(req, schema)


def register(app: Flask) -> None:
    """Refuse what is no text in a request's path and query before a handler sees it."""
    app.before_request(_require_text_in_url)


def _require_text_in_url() -> None:
    for name, value in (request.view_args or {}).items():
        if not is_text(str(value)):
            kind = ConfigurationError if name in DECLARED else NotFound
            raise kind(f"There is no {name} {value!r}.")
    bad = [name for name, value in request.args.items(multi=True) if not is_text(name + value)]
    if bad:
        raise Invalid({bad[0]: [NO_TEXT]}, "query")


def _given_once(values: MultiDict[str, Any]) -> MultiDict[str, Any]:
    """These, if no name has several: which one was meant?"""
    repeated = [name for name in values if len(values.getlist(name)) > 1]
    if repeated:
        raise ValidationError({name: ["It is given more than once."] for name in repeated})
    return values


def _require_text(loaded: Any) -> None:
    faults = _faults(loaded)
    if faults:
        raise ValidationError(faults)


def _faults(value: Any) -> Any:
    """Messages by place where a string is no text; None where every one is."""
    match value:
        case str():
            return None if is_text(value) else [NO_TEXT]
        case dict() if not all(map(is_text, value)):
            return [NO_TEXT]
        case dict():
            found = {key: _faults(item) for key, item in value.items()}
        case list():
            found = {position: _faults(item) for position, item in enumerate(value)}
        case _:
            return None
    return {place: faults for place, faults in found.items() if faults} or None
