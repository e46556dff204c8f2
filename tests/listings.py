"""Reading a whole listing, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from celeriac.model import Entity, EntityFailure, Page
from celeriac.sources.base import Source

MAX_PAGES = 100_000


@dataclass
class Listed:
    """What a listing gave."""

    entities: list[Entity] = field(default_factory=list)
    failures: list[EntityFailure] = field(default_factory=list)
    pages: int = 0

    @property
    def ids(self) -> list[str]:
        return [entity.id for entity in self.entities]

    @property
    def failed(self) -> list[tuple[str | None, str]]:
        return [(failure.entity_id, failure.error_class) for failure in self.failures]


_opened: list[Source] = []


def opened(source: Source) -> Source:
    """The source, to be closed with the others by `close_opened`."""
    _opened.append(source)
    return source


def close_opened() -> None:
    while _opened:
        _opened.pop().close()


def pages_of(source: Source) -> Iterator[Page]:
    cursor = None
    for _ in range(MAX_PAGES):
        page = source.page(cursor)
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return
    raise AssertionError(f"the listing did not end within {MAX_PAGES} pages")


def list_all(source: Source) -> Listed:
    return _collected(pages_of(source))


def list_anew(build: Callable[[], Source]) -> Listed:
    """As several processes would: each page from a source of its own."""
    return _collected(_pages_anew(build))


def _pages_anew(build: Callable[[], Source]) -> Iterator[Page]:
    cursor = None
    for _ in range(MAX_PAGES):
        source = build()
        page = source.page(cursor)
        source.close()
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return
    raise AssertionError(f"the listing did not end within {MAX_PAGES} pages")


def _collected(pages: Iterator[Page]) -> Listed:
    listed = Listed()
    for page in pages:
        listed.entities.extend(page.entities)
        listed.failures.extend(page.failures)
        listed.pages += 1
    return listed
