"""Heartbeats: the leases a process holds are renewed while it lives, however long a step takes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celeriac.errors import CeleriacError, LeaseLost, TransientError

logger = logging.getLogger(__name__)

LEASE = 60.0
"""Seconds after which work of a process that died is taken over."""

Renew = Callable[[], None]


class Heartbeat:
    """Renews held leases from one background thread."""

    def __init__(self, interval: float = LEASE / 4) -> None:
        self._interval = interval
        self._held: dict[int, Callable[[], object]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def hold(self, renew: Callable[[], object]) -> Iterator[None]:
        """Call `renew` regularly until the block is left.

        A lease that is lost is renewed no more; whoever works under it finds out at its next
        checkpoint, which asks the catalog itself.
        """
        key = id(renew)
        with self._lock:
            self._held[key] = renew
            self._start()
        try:
            yield
        finally:
            self._drop(key)

    def close(self) -> None:
        """Stop the thread; what is held then runs out."""
        self._stop.set()

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            with self._lock:
                held = list(self._held.items())
            for key, renew in held:
                self._renew(key, renew)

    def _renew(self, key: int, renew: Callable[[], object]) -> None:
        try:
            renew()
        except LeaseLost:
            self._drop(key)
        except TransientError as error:
            logger.warning("lease not renewed", extra={"action": "renew", "error": str(error)})
        except CeleriacError:
            self._drop(key)

    def _drop(self, key: int) -> None:
        with self._lock:
            self._held.pop(key, None)
