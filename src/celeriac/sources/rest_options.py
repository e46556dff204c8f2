"""Options of the kind `rest`."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Length, Range

from celeriac.sources.options import SourceOptions, Variant, page_size

ITEM_ID = "{id}"
"""What stands for the entity's id in `item_url`."""

_NAME = Length(min=1)


def _check_url(url: str) -> None:
    """Says nothing of the URL itself, which may hold a password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValidationError("Must be a URL that begins with http:// or https:// and a host.")


def _check_item_url(url: str) -> None:
    _check_url(url)
    parts = urlsplit(url)
    if ITEM_ID not in parts.path + parts.query or ITEM_ID in parts.netloc:
        raise ValidationError(f"Must hold {ITEM_ID} in its path or its query.")


def _check_header(value: str) -> None:
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValidationError(
            "Must be ASCII without line breaks or surrounding spaces, to go into a header."
        )


class BearerOptions(Schema):
    """`kind: bearer`: a token that is used as it is."""

    token = fields.String(required=True, validate=[_NAME, _check_header])


class ApiKeyOptions(Schema):
    """`kind: api_key`: a key in a header."""

    header = fields.String(load_default="x-api-key", validate=[_NAME, _check_header])
    value = fields.String(required=True, validate=[_NAME, _check_header])


class BasicOptions(Schema):
    """`kind: basic`: user name and password."""

    username = fields.String(required=True)
    password = fields.String(required=True)


class OAuth2Options(Schema):
    """`kind: oauth2`: client credentials (RFC 6749, section 4.4)."""

    token_url = fields.String(required=True, validate=_check_url)
    client_id = fields.String(required=True, validate=_NAME)
    client_secret = fields.String(required=True, validate=_NAME)
    scope = fields.String(load_default=None, allow_none=True)


class PageOptions(Schema):
    """`kind: page`: numbered pages, the last of which is short."""

    page_param = fields.String(load_default="pageNumber", validate=_NAME)
    size_param = fields.String(load_default="pageSize", validate=_NAME)
    first = fields.Integer(load_default=1, validate=Range(0, 1))


class OffsetOptions(Schema):
    """`kind: offset`: how many entities to skip; the last page is short."""

    offset_param = fields.String(load_default="offset", validate=_NAME)
    limit_param = fields.String(load_default="limit", validate=_NAME)


class CursorOptions(Schema):
    """`kind: cursor`: each answer carries what asks for the next; the last carries nothing."""

    param = fields.String(load_default="cursor", validate=_NAME)
    next_path = fields.String(load_default=None, allow_none=True, validate=_NAME)
    """Dotted path in the answer's body."""
    next_header = fields.String(load_default=None, allow_none=True, validate=_NAME)
    size_param = fields.String(load_default=None, allow_none=True, validate=_NAME)

    @validates_schema
    def _one_place(self, data: dict[str, str | None], **_: object) -> None:
        if bool(data.get("next_path")) == bool(data.get("next_header")):
            raise ValidationError("Give either next_path or next_header.", "next_path")


class LinkOptions(Schema):
    """`kind: link`: the header Link with rel=next (RFC 8288)."""

    size_param = fields.String(load_default=None, allow_none=True, validate=_NAME)


class NoPagingOptions(Schema):
    """`kind: none`: one answer holds everything."""


AUTH = MappingProxyType(
    {
        "bearer": BearerOptions,
        "api_key": ApiKeyOptions,
        "basic": BasicOptions,
        "oauth2": OAuth2Options,
    }
)
PAGINATION = MappingProxyType(
    {
        "page": PageOptions,
        "offset": OffsetOptions,
        "cursor": CursorOptions,
        "link": LinkOptions,
        "none": NoPagingOptions,
    }
)


class RestOptions(SourceOptions):
    """`kind: rest`."""

    url = fields.String(required=True, validate=_check_url)
    items = fields.String(load_default=None, allow_none=True, validate=_NAME)
    """Dotted path of the array in the answer's body; the body itself without it."""
    item_url = fields.String(load_default=None, allow_none=True, validate=_check_item_url)
    item = fields.String(load_default=None, allow_none=True, validate=_NAME)
    """Dotted path of the entity in the answer of `item_url`."""
    params = fields.Dict(keys=fields.String(), values=fields.Raw(), load_default=dict)
    headers = fields.Dict(
        keys=fields.String(validate=_check_header),
        values=fields.String(validate=_check_header),
        load_default=dict,
    )
    auth = Variant(AUTH)
    pagination = Variant(PAGINATION)
    """Numbered pages where it is not given."""
    page_size = page_size(60)
    timeout = fields.Float(load_default=30.0, validate=Range(min=0, min_inclusive=False))
    """Seconds to wait for a connection, and for each part of an answer."""
    max_attempts = fields.Integer(load_default=5, validate=Range(1, 20))
    max_response_bytes = fields.Integer(load_default=64 << 20, validate=Range(min=1))
    total_header = fields.String(load_default="X-Total-Count", allow_none=True, validate=_NAME)

    @validates_schema
    def _item_of_an_url(self, data: dict[str, Any], **_: object) -> None:
        if data.get("item") and not data.get("item_url"):
            raise ValidationError("Is of no use without item_url.", "item")
