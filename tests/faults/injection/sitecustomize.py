"""Loaded by Python itself in every worker of the fault tests: ends the process, as the kernel
would, the first time that any of them reaches a chosen stage.

    CELERIAC_TEST_KILL_AT     the stage, one of STAGES
    CELERIAC_TEST_KILL_FLAG   a file that is made by who dies, so that only one does
    CELERIAC_TEST_LEASE       seconds of leases and of silence: a test need not wait a minute
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STAGES = (
    *("fetched", "listed", "embedded", "half-written", "written", "committed"),
    *("finishing", "swept", "switched"),
)


def die() -> None:
    """End this process unless another one died already."""
    try:
        Path(os.environ["CELERIAC_TEST_KILL_FLAG"]).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def around(
    owner: type, name: str, *, before: bool, only: Callable[..., bool] = lambda *_: True
) -> None:
    """Die before or after a method that is called with arguments that `only` accepts."""
    method = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        chosen = only(*arguments)
        if chosen and before:
            die()
        answer = method(*arguments, **options)
        if chosen and not before:
            die()
        return answer

    setattr(owner, name, call)


def has_rest(_store: object, _partition: object, points: Any) -> bool:
    """Whether a write has chunks beside markers."""
    return any(point.chunk > 0 for point in points)


def install(stage: str) -> None:
    from celeriac.catalog.indexes import Indexes
    from celeriac.catalog.pages import Pages
    from celeriac.finish import Finisher
    from celeriac.paging import PageRunner
    from celeriac.store.qdrant import QdrantStore

    match stage:
        case "fetched":
            around(PageRunner, "_list", before=True)
        case "listed":
            around(PageRunner, "_list", before=False)
        case "embedded":
            around(QdrantStore, "upsert", before=True)
        case "half-written":
            around(QdrantStore, "upsert", before=False, only=has_rest)
        case "written":
            around(Pages, "commit", before=True)
        case "committed":
            around(Pages, "commit", before=False)
        case "finishing":
            around(Finisher, "_compare", before=True)
        case "swept":
            around(Finisher, "_sweep", before=False)
        case "switched":
            around(Indexes, "switch", before=False)


def shorten_leases(seconds: float) -> None:
    import celeriac.finish
    import celeriac.jobs
    import celeriac.paging
    from celeriac.leases import Heartbeat

    celeriac.paging.LEASE = celeriac.finish.LEASE = celeriac.jobs.SILENCE = seconds
    Heartbeat.__init__.__defaults__ = (seconds / 4,)


# Only in workers: beat and the API have no stages, and every process starts faster without.
if "worker" in sys.orig_argv:
    if lease := os.environ.get("CELERIAC_TEST_LEASE"):
        shorten_leases(float(lease))
    if chosen := os.environ.get("CELERIAC_TEST_KILL_AT"):
        install(chosen)
