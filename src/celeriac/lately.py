"""What this process has done a moment ago."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Lately:
    """Keys that were noted within the last seconds. Thread-safe."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._noted: dict[str, float] = {}
        """When, the oldest first."""
        self._lock = threading.Lock()

    def has(self, key: str) -> bool:
        noted = self._noted.get(key)
        return noted is not None and self._clock() - noted < self._seconds

    def note(self, key: str) -> None:
        now = self._clock()
        with self._lock:
            self._noted.pop(key, None)
            self._noted[key] = now
            for one, noted in list(self._noted.items()):
                if now - noted < self._seconds:
                    break
                del self._noted[one]
