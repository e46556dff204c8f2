"""Every index at a glance: what is live, how fresh it is, what becomes of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from celeriac.catalog.indexes import Generation, index_id_of
from celeriac.catalog.jobs import Job, JobState
from celeriac.catalog.knowledge_bases import KEY_PREFIX
from celeriac.runtime import Runtime


class IndexState(StrEnum):
    """What becomes of an index; the first that is so."""

    RUNNING = "running"
    """A job of it runs."""
    QUEUED = "queued"
    FAILED = "failed"
    """Its last job did; what was live before still is."""
    LIVE = "live"
    NOT_INDEXED = "not_indexed"


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """An index, or an entity type that was not indexed yet."""

    id: str
    tenant: str
    name: str
    """Of the entity type, or the key of a knowledge base's index."""
    title: str
    """What people call it."""
    live: Generation | None
    active: Job | None
    """The job that runs, or waits."""
    ended: Job | None
    """The job that ended last."""
    counted: Job | None
    """The reindex that succeeded last: it counted the whole index."""
    settled: int
    """Entities that failed in it and that retries have settled since."""

    @property
    def state(self) -> IndexState:
        if self.active is not None:
            return IndexState(self.active.state)
        if self.ended is not None and self.ended.state == JobState.FAILED:
            return IndexState.FAILED
        return IndexState.LIVE if self.live is not None else IndexState.NOT_INDEXED

    @property
    def equal_at(self) -> float | None:
        """When a job last found it equal to its source, Unix seconds."""
        return self.live.indexed_at if self.live else None

    @property
    def entities(self) -> int | None:
        """How many entities the last whole reindex left in it."""
        if self.counted is None:
            return None
        return self.counted.counters.unchanged + self.counted.counters.indexed

    @property
    def failing(self) -> int:
        """Entities that could not be indexed when it was last reindexed, nor since."""
        failed = self.counted.counters.failed if self.counted else 0
        return max(failed - self.settled, 0)

    @property
    def chunks(self) -> int | None:
        return self.counted.counters.chunks if self.counted else None


def overview(runtime: Runtime, tenants: Collection[str] | None) -> list[IndexSummary]:
    """The indexes of these tenants, None for all, and their entity types without one; by tenant
    and name."""
    return _summaries(runtime, tenants, _named(runtime, tenants))


def overview_page(
    runtime: Runtime, tenants: Collection[str] | None, *, offset: int, limit: int
) -> tuple[list[IndexSummary], int]:
    """So many of them, from the one at `offset` on, and how many there are in all."""
    named = _named(runtime, tenants)
    wanted = named[offset : offset + limit]
    return _summaries(runtime, {one.tenant for one in wanted}, wanted), len(named)


def _summaries(
    runtime: Runtime, tenants: Collection[str] | None, named: Sequence[_Named]
) -> list[IndexSummary]:
    read = runtime.catalog.overviews
    active: dict[str, Job] = {}
    for job in read.active(tenants):
        active.setdefault(job.index_id, job)
    live = read.live_generations(tenants)
    ended, counted = read.last_ended(tenants), read.last_reindexed(tenants)
    settled = read.settled_by_retries(tenants)
    return [
        IndexSummary(
            id=one.id,
            tenant=one.tenant,
            name=one.name,
            title=one.title,
            live=live.get(one.id),
            active=active.get(one.id),
            ended=ended.get(one.id),
            counted=counted.get(one.id),
            settled=settled.get(one.id, 0),
        )
        for one in named
    ]


def resource(index: IndexSummary, now: float) -> dict[str, Any]:
    """An index as programs see it; times are Unix seconds."""
    last = index.ended
    return {
        "id": index.id,
        "tenant": index.tenant,
        "entity_type": index.name,
        "title": index.title,
        "state": index.state,
        "generation": index.live.number if index.live else None,
        "model": index.live.model if index.live else None,
        "indexed_at": _whole(index.equal_at),
        "age_seconds": None if index.equal_at is None else max(int(now - index.equal_at), 0),
        "entities": index.entities,
        "chunks": index.chunks,
        "failing": index.failing,
        "active_job_id": index.active.id if index.active else None,
        "last_job": last
        and {
            "id": last.id,
            "state": last.state,
            "finished_at": _whole(last.finished_at),
            "message": last.message,
        },
    }


def _whole(moment: float | None) -> int | None:
    return None if moment is None else int(moment)


def titles(runtime: Runtime, tenants: Collection[str] | None) -> dict[str, str]:
    """What people call the same indexes, by id, in the same order."""
    return {one.id: one.title for one in _named(runtime, tenants)}


@dataclass(frozen=True, slots=True)
class _Named:
    id: str
    tenant: str
    name: str
    title: str


def _named(runtime: Runtime, tenants: Collection[str] | None) -> list[_Named]:
    read = runtime.catalog.overviews
    given = read.titles(tenants)
    rows = {index.id: (index.tenant, index.entity_type) for index in read.indexes(tenants)}
    rows |= {index_id_of(*names): names for names in _declared(runtime, tenants)}
    return [
        _Named(index_id, tenant, name, given.get(index_id, name))
        for index_id, (tenant, name) in sorted(rows.items(), key=lambda row: row[1])
        if not name.startswith(KEY_PREFIX) or index_id in given
    ]


def _declared(runtime: Runtime, tenants: Collection[str] | None) -> set[tuple[str, str]]:
    """Tenant and name of the declared entity types."""
    return {
        (tenant.name, entity_type.name)
        for tenant in runtime.settings.configuration.tenants.values()
        if tenants is None or tenant.name in tenants
        for entity_type in tenant.entity_types.values()
    }
