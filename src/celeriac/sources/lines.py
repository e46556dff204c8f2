"""Lines of a file with their byte offsets, and resuming between two of them."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from celeriac.errors import SourceError
from celeriac.sources.positions import Position

BOM = b"\xef\xbb\xbf"
TAIL_BYTES = 64
"""How much of what stands before a position is remembered to know the place again."""
_SKIP_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it stands in the file."""

    content: bytes
    """With its line break; cut off where `size` is larger."""
    size: int
    """Bytes in the file."""
    offset: int
    number: int
    """From 1."""

    @property
    def whole(self) -> bool:
        return len(self.content) == self.size


class Lines:
    """Reads lines one by one, none beyond `limit` bytes, and can take some back."""

    def __init__(self, stream: io.BufferedReader, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._offset = 0
        self._number = 1
        self._returned: deque[Line] = deque()

    def resume(self, position: Position, place: str) -> None:
        """Go on where `position` was taken.

        Raises:
            SourceError: what stood before it in the file does so no more.
        """
        offset = position.number("offset")
        if _tail_digest(self._stream, offset) != position.text("tail"):
            raise SourceError(
                f"{place} has changed while it was being listed: what came before byte {offset} "
                "is different; start the job again."
            )
        self._offset, self._number = offset, position.number("line")

    def position(self) -> dict[str, str | int] | None:
        """Where the next line begins, None at the end."""
        if self._returned:
            first = self._returned[0]
            self._offset, self._number = first.offset, first.number
            self._returned.clear()  # the stream goes back and reads them once more
        elif not self._stream.peek(1):
            return None
        tail = _tail_digest(self._stream, self._offset)
        return {"offset": self._offset, "line": self._number, "tail": tail}

    def next(self) -> Line | None:
        """The next line, None at the end."""
        if self._returned:
            return self._returned.popleft()
        content = self._stream.readline(self._limit)
        if not content:
            return None
        size = len(content)
        if size == self._limit and not content.endswith(b"\n"):
            size += self._skip_rest()
        line = Line(content, size, self._offset, self._number)
        self._offset += size
        self._number += 1
        return line

    def take_back(self, lines: Iterable[Line]) -> None:
        """Let `next` return these, which it returned last, once more."""
        self._returned.extendleft(reversed(list(lines)))

    def _skip_rest(self) -> int:
        skipped = 0
        while content := self._stream.readline(_SKIP_BYTES):
            skipped += len(content)
            if content.endswith(b"\n"):
                break
        return skipped


def _tail_digest(stream: io.BufferedReader, offset: int) -> str:
    """Digest of the bytes before `offset`, where the stream then stands."""
    start = max(0, offset - TAIL_BYTES)
    stream.seek(start)
    return hashlib.sha256(stream.read(offset - start)).hexdigest()[:16]
