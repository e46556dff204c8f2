"""What this process holds: its settings and its runtime, made when first asked for.

Standalone mode hands in a runtime of its own before anything asks.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from celery.concurrency.base import BasePool
from celery.concurrency.solo import TaskPool as SoloPool
from celery.concurrency.thread import TaskPool as ThreadPool

from celeriac.errors import ConfigurationError
from celeriac.presence import Presence
from celeriac.runtime import Runtime, required
from celeriac.settings import Settings
from celeriac.warming import load_searched
from workers.checking import CheckServer
from workers.searching import SearchServer

UNUSABLE = 4
"""Exit status of a process whose settings are not valid. gunicorn ends at this one of a worker's,
where it would start another for ever."""
LOADING = 15.0
"""Seconds that the end of the process waits for a model that is being loaded."""
GARBAGE = (50_000, 20, 50)
"""Objects, and rounds of younger ones, after which Python looks for cycles among them."""

_lock = threading.RLock()
_runtime: Runtime | None = None
_searches: SearchServer | None = None
_checks: CheckServer | None = None
_presence: Presence | None = None
_loader: threading.Thread | None = None


def runtime() -> Runtime:
    """The process's runtime."""
    global _runtime  # noqa: PLW0603
    with _lock:
        if _runtime is None:
            _runtime = Runtime(Settings.load())
        return _runtime


@contextmanager
def ending_where_unusable() -> Iterator[None]:
    """End the process with what is wrong, and no traceback, where its settings are not valid."""
    try:
        yield
    except ConfigurationError as error:
        print(f"celeriac: {error}", file=sys.stderr)
        raise SystemExit(UNUSABLE) from None


@ending_where_unusable()
def deployed() -> Runtime:
    """The process's runtime, with servers to work with: of the API behind a server of its own, or
    of a worker or beat. Ends the process where its settings are not valid."""
    found = runtime()
    required("CELERIAC_REDIS_URL", found.settings.redis_url)
    required("CELERIAC_DATABASE_URL", found.settings.database_url)
    return found


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


def serve_checks() -> None:
    """Make plans and audits in a thread of this process until it is closed."""
    global _checks  # noqa: PLW0603
    with _lock:
        _checks = CheckServer(runtime())
        _checks.start()


def load_models() -> None:
    """Load what searches will need, in a thread of this process: the first one finds it there."""
    global _loader  # noqa: PLW0603
    with _lock:
        _loader = threading.Thread(
            target=load_searched, args=(runtime(),), name="models", daemon=True
        )
        _loader.start()


def give_signs_of_life() -> None:
    """Have it known that this worker is alive until it is closed."""
    global _presence  # noqa: PLW0603
    with _lock:
        _presence = Presence(runtime().workers)
        _presence.start()


@ending_where_unusable()
def require_threads(pool: type[BasePool]) -> None:
    """End the process where its tasks are not to run in threads of its own: a pool of processes
    would load a model in each, which search, stop and give pages back without knowing of one
    another, and what they count in their last seconds would be lost."""
    if not issubclass(pool, (ThreadPool, SoloPool)):
        name = pool.__module__.rpartition(".")[2]
        raise ConfigurationError(
            f"A worker runs its pages in threads, which share one model; the pool {name!r} does "
            "not. Leave --pool out, and start more workers for more processes."
        )


def collect_seldom() -> None:
    """Look for cycles of objects a seventieth as often as Python does by itself: a page makes many
    objects, none of them in cycles, and looking through them took a seventh of its time."""
    gc.set_threshold(*GARBAGE)


def share_threads(threads: int) -> None:
    """Keep one of the worker's threads free of any one tenant's work, where there are others."""
    if len(settings().configuration.tenants) > 1:
        runtime().slots.limit = max(threads - 1, 1)


def close() -> None:
    """End what this process started and close its runtime, if it has one."""
    global _runtime, _searches, _checks, _presence, _loader  # noqa: PLW0603
    with _lock:
        if _runtime is None:
            return
        _runtime.stopping.set()
        if _searches is not None:
            _searches.join()
        if _checks is not None:
            _checks.join()
        if _presence is not None:
            _presence.close()
        if _loader is not None:
            _loader.join(LOADING)
        _runtime.close()
        _runtime = _searches = _checks = _presence = _loader = None
