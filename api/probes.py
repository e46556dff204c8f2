"""Asks what the API depends on, side by side, and waits for none of it for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet

PATIENCE = 4.0
"""Seconds for an answer; less than those who ask usually wait."""

Check = Callable[[], str]
"""`ok`, or what is wrong."""


class Probes:
    """At most one question a dependency is open, however often it is asked for."""

    def __init__(self) -> None:
        self._asked: dict[str, Future[str]] = {}
        self._lock = threading.Lock()

    def states(self, checks: Mapping[str, Check]) -> dict[str, str]:
        """What each check found; one that takes too long is told as such."""
        asked = {name: self._ask(name, check) for name, check in checks.items()}
        until = time.monotonic() + PATIENCE
        return {name: _state(future, until) for name, future in asked.items()}

    def _ask(self, name: str, check: Check) -> Future[str]:
        with self._lock:
            future = self._asked.get(name)
            if future is None or future.done():
                future = self._asked[name] = Future()
                # A daemon: what hangs must not hold up the end of the process.
                threading.Thread(target=_answer, args=(future, check), daemon=True).start()
        return future


def _answer(future: Future[str], check: Check) -> None:
    try:
        future.set_result(check())
    except Exception as error:  # noqa: BLE001 - whoever asked gets it
        future.set_exception(error)


def _state(future: Future[str], until: float) -> str:
    try:
        return future.result(max(until - time.monotonic(), 0.0))
    except NotYet:
        return f"no answer within {PATIENCE:.0f} s"
