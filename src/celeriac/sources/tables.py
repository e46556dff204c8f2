"""What readers of files with many entities have in common."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from celeriac.sources.listing import PageBuilder
from celeriac.sources.positions import Position

Resume = Mapping[str, str | int]
"""Where in a file a listing goes on; part of the cursor."""


@dataclass(frozen=True, slots=True)
class TableFormat:
    """How records are read."""

    encoding: str
    max_entity_bytes: int
    delimiter: str | None
    """Of CSV; None for what the file's name suggests."""


@dataclass(frozen=True, slots=True)
class OpenTable:
    """A file to read records from."""

    stream: io.BufferedReader
    place: str
    """What messages call the file."""
    version: str
    """`StoredFile.version`: what tells a file that takes another's place."""
    format: TableFormat


class TableReader(Protocol):
    """Reads one file from a position on."""

    def fill(self, page: PageBuilder) -> Resume | None:
        """List records until the page is full or the file ends; return where it goes on, if so.

        May be called again to go on at once. A record that cannot be read becomes a failure of the
        page.

        Raises:
            SourceError: the file cannot be read.
        """
        ...


OpenReader = Callable[[OpenTable, Position | None], TableReader]
"""Begins to read a file, at its beginning or at what `fill` returned in another process.

Raises SourceError where it is not the file the position was taken in.
"""
