"""The threads of this process, tenant by tenant: none may hold them all while others share it."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from celeriac.errors import CeleriacError

logger = logging.getLogger(__name__)

PARKED_FOR = 1.0
"""Seconds after which a message that found no room goes back: another process may have some."""


@dataclass(frozen=True, slots=True)
class _Parked:
    send: Callable[[], None]
    full: Collection[str]
    """The tenants it found without room."""


class Slots:
    """How many threads each tenant holds.

    A message that finds its tenant without room is parked: it is sent again as soon as there is
    some, or after a while. What is parked when the process dies is lost as any message may be, and
    `recover` sends it again.
    """

    def __init__(self) -> None:
        self.limit: int | None = None
        """Threads that one tenant may hold; None: all of them."""
        self._held: Counter[str] = Counter()
        self._parked: dict[Hashable, _Parked] = {}
        self._timer: threading.Timer | None = None
        self._closed = False
        self._lock = threading.Lock()

    def full(self) -> frozenset[str]:
        """The tenants that hold as many threads as one may."""
        with self._lock:
            return frozenset(tenant for tenant in self._held if self._room(tenant) == 0)

    @contextmanager
    def hold(self, tenant: str) -> Iterator[bool]:
        """Hold a thread for the tenant while the block runs; False where there is no room."""
        with self._lock:
            held = self._room(tenant) != 0
            self._held[tenant] += held
        try:
            yield held
        finally:
            if held:
                self._free(tenant)

    def park(self, key: Hashable, send: Callable[[], None], full: Collection[str]) -> None:
        """Have a message sent again once one of the tenants has room that were found to have none.

        One that is parked already, by its `key`, is not doubled.
        """
        with self._lock:
            parked = not self._closed and all(self._room(tenant) == 0 for tenant in full)
            if parked:
                self._parked.setdefault(key, _Parked(send, full))
                self._start_timer()
        if not parked:
            _send([send])

    def close(self) -> None:
        """Send back whatever is parked."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            parked = self._take(self._parked, len(self._parked))
        _send(parked)

    def _room(self, tenant: str) -> int | None:
        """Threads it may hold beside those it has; None: any number."""
        return None if self.limit is None else max(self.limit - self._held[tenant], 0)

    def _free(self, tenant: str) -> None:
        with self._lock:
            self._held[tenant] -= 1
            if not self._held[tenant]:
                del self._held[tenant]
            waiting = (key for key, parked in self._parked.items() if tenant in parked.full)
            parked = self._take(waiting, self._room(tenant) or 0)
        _send(parked)

    def _tick(self) -> None:
        with self._lock:
            self._timer = None
            most = max(self._held, key=self._held.__getitem__, default="")
            parked = self._take(self._parked, max(self._room(most) or 0, 1))
            self._start_timer()
        _send(parked)

    def _take(self, keys: Iterable[Hashable], most: int) -> list[Callable[[], None]]:
        return [self._parked.pop(key).send for key in list(keys)[:most]]

    def _start_timer(self) -> None:
        if self._parked and self._timer is None:
            self._timer = threading.Timer(PARKED_FOR, self._tick)
            self._timer.daemon = True
            self._timer.start()


def _send(messages: Iterable[Callable[[], None]]) -> None:
    for send in messages:
        try:
            send()
        except CeleriacError as error:
            # The row says what is to be done: `recover` sends it again.
            logger.warning("message not sent", extra={"action": "send", "error": str(error)})
