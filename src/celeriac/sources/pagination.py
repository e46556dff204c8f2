"""How REST sources cut their listings into pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol
from urllib.parse import urlencode

import httpx

from celeriac.errors import SourceError
from celeriac.model import digest_of
from celeriac.rendering import value_at
from celeriac.sources.positions import Position
from celeriac.sources.rest_client import Answer, same_origin, shown

Next = Mapping[str, str | int]
"""Where the listing goes on; becomes the cursor."""

_LINK = re.compile(r'<([^>]*+)>((?:\s*+;[^",;<]*+(?:"[^"]*+")?)*+)')
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^",;\s]*))', re.I)


@dataclass(frozen=True, slots=True)
class Ask:
    """What asks for one page."""

    name: str
    """What messages call the page."""
    params: Mapping[str, str | int] = field(default_factory=dict)
    link: str | None = None
    """Where to ask instead of the source's URL, relative to it; says by itself what it wants."""


class Pagination(Protocol):
    """One way of paging."""

    @property
    def stable(self) -> bool:
        """Whether what comes or goes meanwhile leaves the other entities in the listing."""
        ...

    def ask(self, position: Position | None) -> Ask:
        """How to ask for the page at a position, None for the first."""
        ...

    def following(
        self, position: Position | None, answer: Answer, items: Sequence[Any]
    ) -> Next | None:
        """Where the listing goes on after this page, None at its end.

        Raises SourceError where it would not come to an end, or leads elsewhere.
        """
        ...


@dataclass(frozen=True, slots=True)
class PageNumbers:
    """Numbered pages. The first one that is not full is the last, whatever a total may say."""

    page_param: str
    size_param: str
    first: int
    page_size: int

    stable: ClassVar[bool] = False

    def ask(self, position: Position | None) -> Ask:
        number = self._number(position)
        return Ask(f"page {number}", {self.page_param: number, self.size_param: self.page_size})

    def following(
        self, position: Position | None, answer: Answer, items: Sequence[Any]
    ) -> Next | None:
        if len(items) < self.page_size:
            return None
        digest = _digest_unless_repeated(position, answer, items, self.page_param)
        return {"page": self._number(position) + 1, "digest": digest}

    def _number(self, position: Position | None) -> int:
        return self.first if position is None else position.number("page")


@dataclass(frozen=True, slots=True)
class Offsets:
    """Pages that begin after so many entities. The first one that is not full is the last."""

    offset_param: str
    limit_param: str
    page_size: int

    stable: ClassVar[bool] = False

    def ask(self, position: Position | None) -> Ask:
        offset = self._offset(position)
        return Ask(
            f"offset {offset}", {self.offset_param: offset, self.limit_param: self.page_size}
        )

    def following(
        self, position: Position | None, answer: Answer, items: Sequence[Any]
    ) -> Next | None:
        if len(items) < self.page_size:
            return None
        digest = _digest_unless_repeated(position, answer, items, self.offset_param)
        return {"offset": self._offset(position) + len(items), "digest": digest}

    def _offset(self, position: Position | None) -> int:
        return 0 if position is None else position.number("offset")


@dataclass(frozen=True, slots=True)
class Cursors:
    """Each answer says what asks for the next, in its body or in a header; the last does not."""

    param: str
    next_path: str | None
    next_header: str | None
    size: Mapping[str, int]

    stable: ClassVar[bool] = True

    def ask(self, position: Position | None) -> Ask:
        if position is None:
            return Ask("first page", self.size)
        number = position.number("page")
        return Ask(f"page {number}", {**self.size, self.param: position.text("next")})

    def following(
        self,
        position: Position | None,
        answer: Answer,
        items: Sequence[Any],
    ) -> Next | None:
        token = self._token(answer)
        if not token:
            return None
        if position is not None and token == position.text("next"):
            raise _endless(answer, self.param)
        return {"next": token, **_onwards(position, answer, items, self.param)}

    def _token(self, answer: Answer) -> str | None:
        if self.next_header is not None:
            return str(answer.headers.get(self.next_header, ""))
        if not isinstance(answer.body, Mapping):
            raise SourceError(
                f"{shown(answer.url)} sent {type(answer.body).__name__}, not an object that could "
                f"have {self.next_path!r}; check the source's `pagination`."
            )
        token = value_at(answer.body, self.next_path or "")
        usable = isinstance(token, str | int) and not isinstance(token, bool)
        return str(token) if usable else None


@dataclass(frozen=True, slots=True)
class Links:
    """The header Link with rel=next (RFC 8288), within the source's origin."""

    url: httpx.URL
    """The source's."""
    params: httpx.QueryParams
    """The source's own; they are left out of cursors, where a key among them does not belong."""
    size: Mapping[str, int]

    stable: ClassVar[bool] = False  # a link may hide a page number

    def ask(self, position: Position | None) -> Ask:
        if position is None:
            return Ask("first page", self.size)
        return Ask(f"page {position.number('page')}", link=position.text("link"))

    def following(
        self,
        position: Position | None,
        answer: Answer,
        items: Sequence[Any],
    ) -> Next | None:
        target = next_link(answer.headers.get("Link", ""))
        if target is None:
            return None
        link = self._relative(answer, target)
        if position is not None and link == position.text("link"):
            raise _endless(answer, "Link")
        return {"link": link, **_onwards(position, answer, items, "Link")}

    def _relative(self, answer: Answer, target: str) -> str:
        try:
            url = answer.url.join(target)
        except (httpx.InvalidURL, ValueError):
            raise SourceError(f"{shown(answer.url)} links to what is no URL as next.") from None
        if not same_origin(url, self.url):
            raise SourceError(
                f"{shown(answer.url)} links to another origin as next, {shown(url)}, which is not "
                "followed with credentials; check the source's `url`."
            )
        own = set(self.params.multi_items())
        query = [pair for pair in url.params.multi_items() if pair not in own]
        path = url.raw_path.decode("ascii").partition("?")[0]
        return f"{path}?{urlencode(query)}" if query else path


@dataclass(frozen=True, slots=True)
class SinglePage:
    """One answer holds everything."""

    stable: ClassVar[bool] = True

    def ask(self, position: Position | None) -> Ask:  # noqa: ARG002 - the protocol's
        return Ask("answer")

    def following(
        self,
        position: Position | None,  # noqa: ARG002
        answer: Answer,  # noqa: ARG002
        items: Sequence[Any],  # noqa: ARG002
    ) -> Next | None:
        return None


def pagination(
    options: Mapping[str, Any] | None, page_size: int, url: httpx.URL, params: httpx.QueryParams
) -> Pagination:
    """What loaded options of `pagination` describe; numbered pages without any."""
    if options is None:
        return PageNumbers("pageNumber", "pageSize", 1, page_size)
    size_param = options.get("size_param")
    size = {size_param: page_size} if size_param else {}
    match options["kind"]:
        case "page":
            return PageNumbers(
                options["page_param"], options["size_param"], options["first"], page_size
            )
        case "offset":
            return Offsets(options["offset_param"], options["limit_param"], page_size)
        case "cursor":
            next_path, next_header = options["next_path"], options["next_header"]
            return Cursors(options["param"], next_path, next_header, size)
        case "link":
            return Links(url, params, size)
        case _:
            return SinglePage()


def next_link(header: str) -> str | None:
    """The target with rel=next in a Link header's value, None where there is none."""
    for link in _LINK.finditer(header):
        rel = _REL.search(link[2])
        if rel and "next" in (rel[1] or rel[2] or "").lower().split():
            return link[1]
    return None


def _digest_unless_repeated(
    position: Position | None, answer: Answer, items: Sequence[Any], param: str
) -> str:
    """Digest of a page, which must not be that of the page before."""
    digest = digest_of(items)
    if position is not None and digest == position.text("digest"):
        raise _endless(answer, param)
    return digest


def _onwards(position: Position | None, answer: Answer, items: Sequence[Any], param: str) -> Next:
    """The next page's number, and the digest of an earlier page that must not come again.

    That is the last one whose number is a power of two, so that a listing which begins again after
    any number of pages is noticed (Brent, 1980). An empty page may come again, and have a next one.
    """
    number = 1 if position is None else position.number("page")
    landmark = "" if position is None else position.text("landmark")
    digest = digest_of(items) if items else ""
    if digest and digest == landmark:
        raise _endless(answer, param)
    if number & (number - 1) == 0:
        landmark = digest
    return {"page": number + 1, "landmark": landmark}


def _endless(answer: Answer, param: str) -> SourceError:
    return SourceError(
        f"{shown(answer.url)} sent the same page twice: it seems not to understand {param!r}; "
        "check the source's `pagination`."
    )
