"""JSON Lines: an object a line."""

from __future__ import annotations

import json

from celeriac.errors import UnreadableDocument
from celeriac.sources.lines import BOM, Line, Lines
from celeriac.sources.listing import PageBuilder
from celeriac.sources.positions import Position
from celeriac.sources.tables import OpenTable, Resume, TableFormat


class JsonlReader:
    """See `tables.TableReader`. A page costs the bytes it lists."""

    def __init__(self, table: OpenTable, position: Position | None) -> None:
        self._place = table.place
        self._format = table.format
        self._lines = Lines(table.stream, table.format.max_entity_bytes)
        if position is not None:
            self._lines.resume(position, table.place)

    def fill(self, page: PageBuilder) -> Resume | None:
        while not page.full:
            line = self._lines.next()
            if line is None:
                return None
            page.bytes_read += line.size
            self._list(line, page)
        return self._lines.position()

    def _list(self, line: Line, page: PageBuilder) -> None:
        content = line.content.removeprefix(BOM) if line.offset == 0 else line.content
        if not content.strip():
            return
        place = f"{self._place}:{line.number}"
        try:
            record = _parsed(line, content, place, self._format)
        except UnreadableDocument as error:
            page.fail(error)
        else:
            page.add(record, place)


def _parsed(line: Line, content: bytes, place: str, format_: TableFormat) -> object:
    if not line.whole:
        raise UnreadableDocument(
            f"{place} has {line.size} bytes; max_entity_bytes allows {format_.max_entity_bytes}."
        )
    try:
        return json.loads(content.decode(format_.encoding))
    except UnicodeDecodeError as error:
        raise UnreadableDocument(
            f"{place} is not {format_.encoding} text: byte {error.start} of the line."
        ) from error
    except json.JSONDecodeError as error:
        raise UnreadableDocument(
            f"{place} is not JSON: {error.msg} at character {error.pos + 1}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableDocument(f"{place} cannot be read as JSON: {error}.") from error
