"""Files left open between two pages, so that the second begins where the first ended."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from celeriac.sources.storage import StoredFile
from celeriac.sources.tables import TableReader


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file in the course of being listed."""

    file: StoredFile
    """As it was when it was opened."""
    stream: io.BufferedReader
    reader: TableReader

    def close(self) -> None:
        self.stream.close()


class RestingFiles:
    """Open files by the cursor they stand at; each is handed out once. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._files: OrderedDict[str, OpenFile] = OrderedDict()
        self._lock = Lock()

    def take(self, cursor: str) -> OpenFile | None:
        with self._lock:
            return self._files.pop(cursor, None)

    def put(self, cursor: str, file: OpenFile) -> None:
        """Keep a file, and close those that rest the longest where there are too many."""
        with self._lock:
            surplus = [self._files.pop(cursor, None)]
            self._files[cursor] = file
            while len(self._files) > self._most:
                surplus.append(self._files.popitem(last=False)[1])
        for old in surplus:
            if old is not None:
                old.close()

    def close(self) -> None:
        with self._lock:
            files = list(self._files.values())
            self._files.clear()
        for file in files:
            file.close()
