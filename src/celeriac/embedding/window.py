"""What waits for a model, from all callers, and what is computed next; pure decisions.

The oldest caller's longest text leads a batch; it is filled with the longest others, anyone's, that
are no longer than the leader. So there is little padding, and each batch brings the oldest caller
nearer to its end, whatever the others ask for meanwhile. Urgent texts go before all others.

Where several streams compute, batches are all of nearly one size, such that the streams come to the
end of what waits together.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import accumulate, count, islice, takewhile

from celeriac.embedding.base import Vectors
from celeriac.embedding.tokenization import TokenIds


@dataclass(eq=False, slots=True)
class Request:
    """What one caller waits for. Safe to answer from several threads."""

    ids: Mapping[int, TokenIds]
    """Of each text, by its position."""
    vectors: Vectors
    """Their rows are set as they are computed; shape (texts, dimension)."""
    urgent: bool = False
    done: Future[Vectors] = field(default_factory=Future)
    left: int = field(init=False)
    """Texts that are not computed yet."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.left = len(self.ids)

    def put(self, positions: Sequence[int], vectors: Vectors) -> None:
        """Set the vectors of these texts, each once; the last ones end the wait."""
        with self._lock:
            self.vectors[positions] = vectors
            self.left -= len(positions)
            if not self.left:
                self.done.set_result(self.vectors)

    def fail(self, error: Exception) -> None:
        """End the wait with an error, instead of the vectors of texts that are left. The first one
        counts."""
        with self._lock:
            if not self.done.done():
                self.done.set_exception(error)


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

    def __init__(self, token_budget: int, streams: int = 1) -> None:
        """Open a window in which nothing waits.

        Args:
            token_budget: rows x longest row of a batch, at most; a longer row is a batch of its
                own.
            streams: how many take batches beside each other.
        """
        self._token_budget = token_budget
        self._streams = streams
        self._share = token_budget
        self._urgent: list[Row] = []
        self._others: list[Row] = []
        self._ages = count()

    def add(self, request: Request) -> None:
        rows = self._urgent if request.urgent else self._others
        age = next(self._ages)
        rows += [Row(request, position, age) for position in request.ids]
        rows.sort(key=lambda row: (-len(row.ids), row.age))
        if not request.urgent:
            waiting = sum(len(row.ids) for row in rows)
            self._share = even_share(waiting, self._streams, self._token_budget)

    def take(self) -> list[Row]:
        """The next batch, longest row first; nothing where nothing waits."""
        rows = self._urgent or self._others
        if not rows:
            return []
        oldest = min(row.age for row in rows)
        start = next(at for at, row in enumerate(rows) if row.age == oldest)
        room = max(1, self._token_budget // max(1, len(rows[start].ids)))
        end = start + min(room, _reaching(self._share, islice(rows, start, None)))
        batch = rows[start:end]
        del rows[start:end]
        return batch

    def discard(self, request: Request) -> None:
        """Forget the rows of a request that has failed."""
        self._urgent = [row for row in self._urgent if row.request is not request]
        self._others = [row for row in self._others if row.request is not request]


def even_share(tokens: int, streams: int, token_budget: int) -> int:
    """Tokens of each batch with which the streams end together, in as few rounds as the budget
    allows. It holds until more is asked for: were it counted anew for what is left, batches would
    become ever smaller. One stream has nobody to share with."""
    if streams == 1:
        return token_budget
    rounds = max(1, math.ceil(tokens / (streams * token_budget)))
    return math.ceil(tokens / (streams * rounds))


def _reaching(tokens: int, rows: Iterable[Row]) -> int:
    """How many rows it takes to have so many tokens."""
    sums = accumulate(len(row.ids) for row in rows)
    return 1 + sum(1 for _ in takewhile(lambda so_far: so_far < tokens, sums))
