"""The protocol of a source: a listing in pages, resumable by a cursor."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from celeriac.model import Page


@runtime_checkable
class Source(Protocol):
    """Where the entities of one type live.

    A cursor is opaque text that fits into a database column and a task; it stays valid across
    processes. Implementations are safe to call from several threads.
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
