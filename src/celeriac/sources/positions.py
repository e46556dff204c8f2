"""Cursors: where a listing goes on, as small JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celeriac.errors import SourceError

MISMATCH = (
    "The cursor {cursor!r} is not one of this source, whose options have changed since the "
    "listing began; start the job again."
)


@dataclass(frozen=True, slots=True)
class Position:
    """A decoded cursor.

    Its getters raise SourceError where the cursor was written under other options.
    """

    values: Mapping[str, Any]

    @classmethod
    def decode(cls, cursor: str) -> Position:
        try:
            values = json.loads(cursor)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise SourceError(MISMATCH.format(cursor=cursor[:200]))
        return cls(values)

    def encode(self) -> str:
        """ASCII text, the same for equal positions."""
        return json.dumps(self.values, sort_keys=True, separators=(",", ":"))

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str):
            raise SourceError(MISMATCH.format(cursor=self.encode()[:200]))
        return value

    def number(self, key: str) -> int:
        """A count or offset, at least 0."""
        value = self.values.get(key)
        if not isinstance(value, int) or value < 0:
            raise SourceError(MISMATCH.format(cursor=self.encode()[:200]))
        return value
