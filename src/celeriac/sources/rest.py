"""The kind `rest`: entities in pages of JSON over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from celeriac.errors import MissingId, SourceError, UnreadableDocument
from celeriac.model import Page
from celeriac.sources.listing import PageBuilder, entity_id
from celeriac.sources.pagination import Ask, Pagination, pagination
from celeriac.sources.positions import Position
from celeriac.sources.rest_auth import Credentials, credentials
from celeriac.sources.rest_client import Answer, Limits, Refused, RestClient, shown
from celeriac.sources.rest_options import ITEM_ID, RestOptions
from celeriac.sources.retry import RetryPolicy

__all__ = ["RestOptions", "RestSource", "build_rest"]

LOOKUP_SIZE = 20
"""Entities asked for in one lookup, a request each."""
GONE = frozenset({httpx.codes.NOT_FOUND, httpx.codes.GONE})
MAX_DIGITS = 19
"""Of a total worth believing."""
DEFAULT_HEADERS = {"Accept": "application/json", "Accept-Language": "*", "User-Agent": "celeriac"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is asked, whatever the page."""

    url: httpx.URL = field(repr=False)
    """Without parameters."""
    params: httpx.QueryParams = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Shape:
    """What answers look like."""

    items: str | None
    """Dotted path of the array; None where the body is the array."""
    id: str
    page_size: int
    total_header: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """How one entity is asked for."""

    url: str = field(repr=False)
    """With ITEM_ID in place of the id."""
    path: str | None
    """Dotted path of the entity in the answer; None where the body is the entity."""

    def ask(self, identity: str) -> Ask:
        encoded = quote(identity, safe="")
        if identity in (".", ".."):  # as they stand they would name a folder of the path
            encoded = identity.replace(".", "%2E")
        return Ask("item", link=self.url.replace(ITEM_ID, encoded))


def build_rest(
    options: Mapping[str, Any], transport: httpx.BaseTransport | None = None
) -> RestSource:
    """A source of loaded RestOptions, one to look up where it has an `item_url`; nothing is
    connected."""
    url = httpx.URL(options["url"])
    params = url.params.merge(options["params"])
    client = RestClient(
        Limits(options["timeout"], options["max_response_bytes"]),
        RetryPolicy(options["max_attempts"]),
        transport=transport,
    )
    parts = (
        client,
        Endpoint(url.copy_with(query=None), params, {**DEFAULT_HEADERS, **options["headers"]}),
        credentials(options["auth"], client),
        pagination(options["pagination"], options["page_size"], url, params),
        Shape(options["items"], options["id"], options["page_size"], options["total_header"]),
    )
    if options["item_url"] is None:
        return RestSource(*parts)
    return RestLookupSource(*parts, item=Item(options["item_url"], options["item"]))


class RestSource:
    """Lists an endpoint page by page. See `rest_options.RestOptions`."""

    def __init__(
        self,
        client: RestClient,
        endpoint: Endpoint,
        credentials: Credentials,
        pagination: Pagination,
        shape: Shape,
    ) -> None:
        self.stable_listing = pagination.stable
        self._client = client
        self._endpoint = endpoint
        self._credentials = credentials
        self._pagination = pagination
        self._shape = shape

    def page(self, cursor: str | None) -> Page:
        """See `Source.page`. Lone surrogates stand for bytes that are not UTF-8."""
        position = None if cursor is None else Position.decode(cursor)
        ask = self._pagination.ask(position)
        answer = self._answer(ask)
        items = items_of(answer, self._shape.items)
        following = self._pagination.following(position, answer, items)
        page = PageBuilder(self._shape.id, self._shape.page_size)
        page.bytes_read = answer.bytes_read
        for number, item in enumerate(items, 1):
            page.add(item, f"{shown(self._endpoint.url)}, {ask.name}, item {number}")
        next_cursor = None if following is None else Position(following).encode()
        return page.build(next_cursor, self._total(answer))

    def close(self) -> None:
        """See `Source.close`."""
        self._client.close()

    def _answer(self, ask: Ask) -> Answer:
        """The answer to what is asked; a 401 is tried once more where the token can be renewed."""
        headers = self._credentials.headers()
        try:
            return self._client.send(self._request(ask, headers))
        except Refused as error:
            if error.status != httpx.codes.UNAUTHORIZED or not self._credentials.renew(headers):
                raise
        return self._client.send(self._request(ask, self._credentials.headers()))

    def _request(self, ask: Ask, authentication: Mapping[str, str]) -> httpx.Request:
        endpoint = self._endpoint
        url, params = endpoint.url, endpoint.params.merge(ask.params)
        if ask.link is not None:
            url = url.join(ask.link)
            own = [pair for pair in params.multi_items() if pair[0] not in url.params]
            params = httpx.QueryParams([*url.params.multi_items(), *own])
        headers = {**endpoint.headers, **authentication}
        return self._client.request("GET", url, headers=headers, params=params)

    def _total(self, answer: Answer) -> int | None:
        name = self._shape.total_header
        value = answer.headers.get(name, "") if name else ""
        return (
            int(value) if value.isascii() and value.isdigit() and len(value) < MAX_DIGITS else None
        )


class RestLookupSource(RestSource):
    """A REST source whose entities have URLs of their own, too."""

    lookup_size = LOOKUP_SIZE

    def __init__(self, *parts: Any, item: Item) -> None:
        super().__init__(*parts)
        self._item = item

    def lookup(self, entity_ids: Sequence[str]) -> Page:
        """See `LookupSource.lookup`; a 404 or 410 says that an entity is gone."""
        page = PageBuilder(self._shape.id, len(entity_ids))
        for identity in entity_ids:
            answer = self._item_answer(identity)
            if answer is not None:
                page.bytes_read += answer.bytes_read
                self._list_item(page, identity, answer)
        return page.build(None)

    def _item_answer(self, identity: str) -> Answer | None:
        try:
            return self._answer(self._item.ask(identity))
        except Refused as error:
            if error.status not in GONE:
                raise
        return None

    def _list_item(self, page: PageBuilder, identity: str, answer: Answer) -> None:
        """List what was answered under the id that was asked for, come what may."""
        item = at_path(answer, self._item.path, "item")
        place = shown(answer.url)
        if not isinstance(item, Mapping):
            error = f"{place} is {_kind(item)}, not an object; check the source's `item`."
            page.fail(UnreadableDocument(error), identity)
            return
        try:
            found = entity_id(item, self._shape.id, place)
        except MissingId as missing:
            page.fail(missing, identity)
            return
        if found != identity:
            error = f"{place} has the id {found!r}, not {identity!r}; check `item_url`."
            page.fail(UnreadableDocument(error), identity)
            return
        page.add_entity(identity, item, place)


def at_path(answer: Answer, path: str | None, option: str) -> Any:
    """What stands at the dotted path that an option gives, in the body of an answer.

    Raises:
        SourceError: there is no such path in it.
    """
    value = answer.body
    for key in path.split(".") if path else ():
        if not isinstance(value, Mapping) or key not in value:
            raise SourceError(
                f"{shown(answer.url)} sent {_kind(value)} without {key!r}; "
                f"check the source's `{option}` ({path})."
            )
        value = value[key]
    return value


def items_of(answer: Answer, path: str | None) -> Sequence[Any]:
    """The array of entities in an answer; null stands for an empty one.

    Raises:
        SourceError: there is no array at the path.
    """
    value = at_path(answer, path, "items")
    where = shown(answer.url)
    if value is None and path:
        return ()
    if not isinstance(value, list):
        place = f"{path!r} is" if path else "it is"
        raise SourceError(
            f"{where} sent no array of entities: {place} {_kind(value)}; name the array's dotted "
            "path in the source's `items`."
        )
    return value


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return f"an object with the keys {', '.join(map(repr, list(value)[:10]))}"
    return "null" if value is None else f"a {type(value).__name__}"
