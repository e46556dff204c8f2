"""Where the stages are: methods of celeriac and of kombu at which a failpoint is reached."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from .failpoints import Failpoints

PAGE = ("fetched", "listed", "embedded", "half-written", "written", "committed")
SWEEP = ("sweeping", "removed")
FINISH = ("finishing", *SWEEP, "swept", "switched")


def before(
    failpoints: Failpoints,
    stage: str,
    owner: object,
    name: str,
    only: Callable[..., bool] = lambda *_: True,
) -> None:
    """Reach the stage before a method that is called with arguments that `only` accepts."""
    method = getattr(owner, name)

    @wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        if only(*arguments):
            failpoints.reach(stage)
        return method(*arguments, **options)

    setattr(owner, name, call)


def after(
    failpoints: Failpoints,
    stage: str,
    owner: object,
    name: str,
    only: Callable[..., bool] = lambda *_: True,
) -> None:
    """Reach the stage after the method."""
    method = getattr(owner, name)

    @wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        answer = method(*arguments, **options)
        if only(*arguments):
            failpoints.reach(stage)
        return answer

    setattr(owner, name, call)


def in_worker(failpoints: Failpoints) -> None:
    """The stages of a page, of a job's end, and of a message on its way in."""
    from kombu.transport.redis import QoS

    import celeriac.reindexed
    from celeriac.catalog.indexes import Indexes
    from celeriac.catalog.listings import Listings
    from celeriac.catalog.pages import Pages
    from celeriac.jobs import JobRunner
    from celeriac.paging import PageRunner
    from celeriac.reindexed import ReindexedEntities
    from celeriac.store.qdrant import QdrantStore

    before(failpoints, "taken", QoS, "append", _is_page)
    before(failpoints, "fetched", PageRunner, "_list")
    after(failpoints, "listed", PageRunner, "_list")
    before(failpoints, "embedded", QdrantStore, "upsert")
    after(failpoints, "half-written", QdrantStore, "upsert", _has_rest)
    before(failpoints, "written", Pages, "commit")
    after(failpoints, "committed", Pages, "commit")
    before(failpoints, "finishing", ReindexedEntities, "compare")
    after(failpoints, "sweeping", Listings, "remove")
    after(failpoints, "removed", celeriac.reindexed, "remove_entities")
    after(failpoints, "swept", ReindexedEntities, "sweep")
    after(failpoints, "switched", Indexes, "switch")
    before(failpoints, "recovering", JobRunner, "recover")


def in_api(failpoints: Failpoints) -> None:
    """The stages of a reindex request."""
    from celeriac.catalog.requests import JobRequests
    from workers.dispatch import CeleryDispatcher

    after(failpoints, "requested", JobRequests, "queue")
    after(failpoints, "announced", CeleryDispatcher, "start_job")


def _is_page(_qos: object, message: Any, _tag: str) -> bool:
    return bool(message.headers.get("task") == "celeriac.index_page")


def _has_rest(_store: object, _partition: object, points: Any) -> bool:
    """Whether a write has chunks beside markers."""
    return any(point.chunk > 0 for point in points)
