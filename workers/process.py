"""What this process holds: its settings and its runtime, made when first asked for.

Standalone mode hands in a runtime of its own before anything asks.
"""

from __future__ import annotations

import threading

from celeriac.presence import Presence
from celeriac.runtime import Runtime
from celeriac.settings import Settings
from workers.searching import SearchServer

_lock = threading.RLock()
_runtime: Runtime | None = None
_searches: SearchServer | None = None
_presence: Presence | None = None


def runtime() -> Runtime:
    """The process's runtime."""
    global _runtime  # noqa: PLW0603
    with _lock:
        if _runtime is None:
            _runtime = Runtime(Settings.load())
        return _runtime


def settings() -> Settings:
    """The process's settings."""
    return runtime().settings


def use_runtime(given: Runtime) -> None:
    """Make `given` the process's runtime."""
    global _runtime  # noqa: PLW0603
    with _lock:
        _runtime = given


def serve_searches() -> None:
    """Answer searches in a thread of this process until it is closed."""
    global _searches  # noqa: PLW0603
    with _lock:
        _searches = SearchServer(runtime())
        _searches.start()


def give_signs_of_life() -> None:
    """Have it known that this worker is alive until it is closed."""
    global _presence  # noqa: PLW0603
    with _lock:
        _presence = Presence(runtime().workers)
        _presence.start()


def share_threads(threads: int) -> None:
    """Keep one of the worker's threads free of any one tenant's work, where there are others."""
    if len(settings().configuration.tenants) > 1:
        runtime().slots.limit = max(threads - 1, 1)


def close() -> None:
    """End what this process started and close its runtime, if it has one."""
    global _runtime, _searches, _presence  # noqa: PLW0603
    with _lock:
        if _runtime is None:
            return
        _runtime.stopping.set()
        if _searches is not None:
            _searches.join()
        if _presence is not None:
            _presence.close()
        _runtime.close()
        _runtime = _searches = _presence = None
