"""The protocol of a source: a listing in pages, resumable by a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from celeriac.model import Page, SourceVersion


@runtime_checkable
class Source(Protocol):
    """Where the entities of one type live.

    A cursor is opaque text that fits into a database column and a task; it stays valid across
    processes. An entity's id is text of at most 512 characters. Implementations are safe to call
    from several threads.
    """

    @property
    def stable_listing(self) -> bool:
        """False where an entity can slide past the listing when the source changes meanwhile, as
        with page numbers and offsets; what such a listing misses is looked for once more."""
        ...

    def page(self, cursor: str | None) -> Page:
        """Read one page of the listing; None is its beginning.

        Raises:
            SourceUnavailable: for now; the same cursor may be tried again.
            SourceError: the source refuses the request, or what it sent cannot be read.
        """
        ...

    def close(self) -> None:
        """Release connections."""
        ...


@runtime_checkable
class LookupSource(Source, Protocol):
    """A source that can be asked for entities by their ids."""

    lookup_size: int
    """Ids that one call takes at most; the call is seconds of work."""

    def lookup(self, entity_ids: Sequence[str]) -> Page:
        """Those of the entities that the source has, as the listing gives them: the same ids, the
        same fields, and nothing that the listing leaves out.

        An entity that is there and cannot be had is a failure under the id that was asked for.
        What is neither an entity nor a failure of the page is known to be gone.

        Raises:
            SourceUnavailable, SourceError: as `page`; nothing is known of any of them then.
        """
        ...


@runtime_checkable
class VersionedSource(Source, Protocol):
    """A source that can tell, in a small part of the time of a listing, whether it has changed."""

    def version(self) -> SourceVersion | None:
        """The state it is in; None where that cannot be told, or not soon.

        Whatever shapes the listing is part of it, the source's own options too. Where in doubt, it
        is another state.

        Raises:
            SourceUnavailable, SourceError: as `page`.
        """
        ...


def look_up(source: LookupSource, entity_ids: Sequence[str]) -> Page:
    """`source.lookup`, and what is gone; errors as there."""
    page = source.lookup(entity_ids)
    there = {one.id for one in page.entities} | {one.entity_id for one in page.failures}
    return replace(page, gone=tuple(one for one in entity_ids if one not in there))
