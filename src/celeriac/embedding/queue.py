"""The one queue into a model, from all of a process's threads.

Batches are computed in threads of its own, the streams. Each takes the next batch when it is done
with its last one, so that streams never wait for each other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from celeriac.embedding.base import Vectors
from celeriac.embedding.batching import compute_halving
from celeriac.embedding.shared_lock import SharedLock
from celeriac.embedding.tokenization import TokenIds
from celeriac.embedding.window import Request, Row, Window
from celeriac.errors import CeleriacError, ModelError, ModelUnavailable

_DEVICE_FAILED = "CUDA error"
"""After one, every call fails, whatever the texts."""

Pending = Callable[[], Vectors]
"""Waits for a batch's vectors; shape (len(batch), dimension)."""
Compute = Callable[[Sequence[TokenIds]], Pending]
"""Begins one pass through a network."""
_Begun = tuple[list[Row], Pending]

_log = logging.getLogger(__name__)


def _as_it_is() -> None:
    """What a stream does first where nothing is to be done."""


class EmbeddingQueue:
    """Batches what its callers ask for, and gives each its own. Safe to call from threads."""

    def __init__(
        self,
        name: str,
        dimension: int,
        compute: Compute,
        is_out_of_memory: Callable[[Exception], bool],
        token_budget: int,
        *,
        streams: int = 1,
        prepare: Callable[[], None] = _as_it_is,
        overlapping: bool = False,
    ) -> None:
        """Open a queue that nothing waits in.

        Args:
            name: the model's, for messages.
            dimension: of its vectors.
            compute: called in as many threads as there are streams.
            is_out_of_memory: whether a smaller batch may succeed after this error.
            token_budget: padded tokens in a batch, at most.
            streams: batches that are computed beside each other, at most.
            prepare: called in each stream's thread before all else.
            overlapping: whether `compute` returns before the device is done.
        """
        self._name = name
        self._dimension = dimension
        self._compute = compute
        self._is_out_of_memory = is_out_of_memory
        self._streams = streams
        self._prepare = prepare
        self._overlapping = overlapping
        self._window = Window(token_budget, streams)
        self._lock = threading.Lock()
        self._memory = SharedLock()
        self._closed = False
        self._threads = ThreadPoolExecutor(streams, f"embedding-{name}", self._begin_stream)

    def embed(self, ids: Mapping[int, TokenIds], size: int, *, urgent: bool = False) -> Vectors:
        """Wait for the vectors of some texts.

        Args:
            ids: token ids by the text's position.
            size: rows of the result; those of other positions are zero.
            urgent: whether they go before those that are not.

        Returns:
            Shape (size, dimension), float32.

        Raises:
            ModelError: a text is too large for memory, or the network fails on one; other callers'
                texts go on.
            ModelUnavailable: the device failed.
        """
        vectors = np.zeros((size, self._dimension), np.float32)
        if not ids:
            return vectors
        request = Request(ids, vectors, urgent)
        with self._lock:
            if self._closed:
                raise ModelError(f"{self._name} is closed")
            self._window.add(request)
            self._wake(min(self._streams, len(ids)))
        return request.done.result()

    def _wake(self, streams: int) -> None:
        try:
            for _ in range(streams):
                self._threads.submit(self._drain)
        except RuntimeError as error:
            raise ModelError(f"{self._name} has no thread to compute in ({error})") from error

    def close(self) -> None:
        """Finish what waits; nothing can be asked for after."""
        with self._lock:
            self._closed = True
        self._threads.shutdown()

    def _begin_stream(self) -> None:
        try:
            self._prepare()
        except Exception:  # noqa: BLE001  or nobody computes, and who waits waits for ever
            _log.exception("a stream of %s computes as it is", self._name)

    def _drain(self) -> None:
        """Compute until nothing waits. Where the device works by itself, the next batch is begun
        before the last one's vectors are fetched."""
        under_way: _Begun | None = None
        while batch := self._next():
            begun = self._begin(batch)
            if under_way is not None:
                self._finish(under_way)
            if begun is None:
                self._run_each(batch)
            elif not self._overlapping:
                self._finish(begun)
            under_way = begun if self._overlapping else None
        if under_way is not None:
            self._finish(under_way)

    def _next(self) -> list[Row]:
        with self._lock:
            return self._window.take()

    def _begin(self, batch: list[Row]) -> _Begun | None:
        """Have a batch computed; None where it fails at once."""
        try:
            with self._memory.shared():
                return batch, self._compute([row.ids for row in batch])
        except Exception:  # noqa: BLE001  whatever it is, it comes again for whom it concerns
            return None

    def _finish(self, begun: _Begun) -> None:
        batch, pending = begun
        try:
            computed = list(zip(batch, pending(), strict=True))
        except Exception:  # noqa: BLE001  as above
            self._run_each(batch)
        else:
            for row, vector in computed:
                row.request.put([row.position], vector)

    def _run_each(self, batch: list[Row]) -> None:
        """Compute a batch that failed again for each caller alone, so that only those fail whose
        texts do."""
        for request, positions in _by_caller(batch).items():
            self._run_alone(request, positions)

    def _run_alone(self, request: Request, positions: Sequence[int]) -> None:
        """Compute rows of one caller; a batch that does not fit in memory is halved. No other
        stream computes meanwhile: what is too large beside others may fit alone."""
        try:
            with self._memory.alone(), self._failures():
                for part, vectors in compute_halving(
                    positions,
                    lambda part: self._compute([request.ids[position] for position in part])(),
                    self._is_out_of_memory,
                ):
                    request.put(part, vectors)
        except CeleriacError as error:
            with self._lock:
                self._window.discard(request)
            request.fail(error)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raise celeriac's errors for the network's."""
        try:
            yield
        except CeleriacError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {str(error).strip()}"
            if _DEVICE_FAILED in said:
                raise ModelUnavailable(
                    f"The device that computes {self._name} failed ({said}); this process "
                    "cannot use it any more: restart the worker"
                ) from error
            raise ModelError(f"{self._name} fails on a text ({said})") from error


def _by_caller(batch: Sequence[Row]) -> dict[Request, list[int]]:
    """The positions of each caller's rows."""
    callers: dict[Request, list[int]] = {}
    for row in batch:
        callers.setdefault(row.request, []).append(row.position)
    return callers
