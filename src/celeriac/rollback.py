"""The way back: the generation that was live before is live again, and the one that was is
rejected, until it is accepted again or something else is declared.

A rejected generation keeps its points like any that was live. Jobs keep the live one equal to its
source meanwhile, under its own spec (`celeriac.generations.in_force`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from celeriac.catalog.indexes import Generation, GenerationState, IndexRow
from celeriac.dispatch import Dispatcher
from celeriac.errors import BrokerUnavailable, Conflict
from celeriac.generations import has_its_model, index_of, live_generation
from celeriac.jobs import request_job
from celeriac.runtime import Runtime

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rollback:
    """What is live after a rollback."""

    tenant: str
    entity_type: str
    index_id: str
    generation: int
    """The live one."""
    rolled_back_from: int
    partition: str
    """The value of the payload key `partition` on the points of the live generation."""
    collection: str
    indexed_at: float | None
    """When a job last found the live generation equal to its source, Unix seconds."""
    job_id: str | None
    """The reindex that was asked for, which brings it up to date."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What was rolled back from and is accepted again."""

    tenant: str
    entity_type: str
    index_id: str
    generation: int
    """The live one, which is so until the reindex has succeeded."""
    accepted: list[int]
    """Generations that were rejected."""
    job_id: str | None
    """The reindex that was asked for, which makes one of them live, or builds it again."""


def roll_back(runtime: Runtime, dispatcher: Dispatcher, tenant: str, entity_type: str) -> Rollback:
    """Make the generation before the live one live again, and ask for a reindex of it.

    Readers see either the one or the other.

    Raises:
        NotFound: the entity type is not declared, or nothing is indexed for it yet.
        Conflict: there is nothing to go back to, its model is not described any more as it was,
            its points are not all there, or a job of the index runs.
    """
    declared = runtime.entity_type(tenant, entity_type)
    index, live = index_of(runtime, declared), live_generation(runtime, declared)
    back = _way_back(runtime, index)
    _require_whole(runtime, back)
    points = runtime.store.count(live.partition)
    runtime.catalog.generations.roll_back(index, live, back, points)
    logger.warning(
        "rolled back",
        extra={"action": "rollback", "index": index.id, "from": live.number, "to": back.number},
    )
    return Rollback(
        tenant=declared.tenant,
        entity_type=declared.name,
        index_id=index.id,
        generation=back.number,
        rolled_back_from=live.number,
        partition=back.partition.key,
        collection=back.collection,
        indexed_at=back.indexed_at,
        job_id=_reindex(runtime, dispatcher, index),
    )


def _way_back(runtime: Runtime, index: IndexRow) -> Generation:
    """The generation that was live last before the present one and was not rejected."""
    retired = [
        one
        for one in runtime.catalog.generations.of_index(index.id)
        if one.state == GenerationState.RETIRED and one.rejected_at is None
    ]
    if not retired:
        raise Conflict(
            f"There is no generation of {index.tenant}/{index.entity_type} to go back to: "
            "the one before the live one is kept, none before that, and none that was rolled back "
            "from."
        )
    return max(retired, key=lambda one: one.retired_at or 0.0)


def _require_whole(runtime: Runtime, back: Generation) -> None:
    if not has_its_model(runtime, back):
        raise Conflict(
            f"Generation {back.number} was built with the model {back.model!r}, which is not "
            "described any more as it was, so it cannot be searched; describe it so under "
            "`models:` first."
        )
    counted = runtime.store.count(back.partition)
    if back.points is not None and counted != back.points:
        raise Conflict(
            f"Generation {back.number} had {back.points} chunks and has {counted}: something else "
            "removes points from its collection. Nothing was changed; declare what is wanted and "
            "reindex."
        )


def accept(runtime: Runtime, dispatcher: Dispatcher, tenant: str, entity_type: str) -> Acceptance:
    """Undo a rollback: what is declared may be built and go live again; asks for a reindex.

    Raises:
        NotFound: the entity type is not declared, or nothing is indexed for it yet.
        Conflict: what is declared now was not rolled back from, or a job of the index runs.
    """
    declared = runtime.entity_type(tenant, entity_type)
    index, live = index_of(runtime, declared), live_generation(runtime, declared)
    accepted = runtime.catalog.generations.accept(index, declared.spec.digest)
    if not accepted:
        raise Conflict(
            f"What is declared for {declared.tenant}/{declared.name} was not rolled back from; "
            "there is nothing to undo."
        )
    return Acceptance(
        tenant=declared.tenant,
        entity_type=declared.name,
        index_id=index.id,
        generation=live.number,
        accepted=accepted,
        job_id=_reindex(runtime, dispatcher, index),
    )


def _reindex(runtime: Runtime, dispatcher: Dispatcher, index: IndexRow) -> str | None:
    """The id of the job that was asked for."""
    try:
        return request_job(runtime, dispatcher, index.tenant, index.entity_type).job.id
    except BrokerUnavailable:
        # Its row is written: `recover` starts it once the broker is back.
        waiting = runtime.catalog.jobs.waiting(index.id)
        return waiting.id if waiting else None
