"""What waits for a model, from all callers, and what is computed next; pure decisions.

The oldest caller's longest text leads a batch; it is filled with the longest others, anyone's, that
are no longer than the leader. So there is little padding, and each batch brings the oldest caller
nearer to its end, whatever the others ask for meanwhile. Urgent texts go before all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count

from celeriac.embedding.base import Vectors
from celeriac.embedding.tokenization import TokenIds


@dataclass(eq=False, slots=True)
class Request:
    """What one caller waits for."""

    ids: Mapping[int, TokenIds]
    """Of each text, by its position."""
    vectors: Vectors
    """Their rows are set as they are computed; shape (texts, dimension)."""
    urgent: bool = False
    done: Future[Vectors] = field(default_factory=Future)
    left: int = field(init=False)
    """Texts that are not computed yet."""

    def __post_init__(self) -> None:
        self.left = len(self.ids)

    def put(self, positions: Sequence[int], vectors: Vectors) -> None:
        """Set the vectors of these texts; the last ones end the wait."""
        self.vectors[positions] = vectors
        self.left -= len(positions)
        if not self.left:
            self.done.set_result(self.vectors)


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One text that waits."""

    request: Request
    position: int
    age: int
    """Which request it came with; the lowest waits longest."""

    @property
    def ids(self) -> TokenIds:
        return self.request.ids[self.position]


class Window:
    """Rows that wait, the longest first. Not safe to call from several threads at once."""

    def __init__(self) -> None:
        self._urgent: list[Row] = []
        self._others: list[Row] = []
        self._ages = count()

    def add(self, request: Request) -> None:
        rows = self._urgent if request.urgent else self._others
        age = next(self._ages)
        rows += [Row(request, position, age) for position in request.ids]
        rows.sort(key=lambda row: (-len(row.ids), row.age))

    def take(self, token_budget: int) -> list[Row]:
        """The next batch, longest row first; nothing where nothing waits.

        Args:
            token_budget: rows x longest row, at most; a longer row is a batch of its own.
        """
        rows = self._urgent or self._others
        if not rows:
            return []
        oldest = min(row.age for row in rows)
        start = next(at for at, row in enumerate(rows) if row.age == oldest)
        room = max(1, token_budget // max(1, len(rows[start].ids)))
        batch = rows[start : start + room]
        del rows[start : start + room]
        return batch

    def discard(self, request: Request) -> None:
        """Forget the rows of a request that has failed."""
        self._urgent = [row for row in self._urgent if row.request is not request]
        self._others = [row for row in self._others if row.request is not request]
