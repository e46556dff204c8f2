"""An index whose source has not changed since it was found equal to it: nothing is listed, and the
index is held against its seal.

A seal is set by a job that listed the source from beginning to end while nobody wrote to it, and
left nothing out. What it says of the index is checked each time, so whatever else writes to the
index, or takes from it, makes the next job list the source again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from celeriac.catalog.indexes import Generation
from celeriac.catalog.jobs import Job
from celeriac.configuration import EntityType
from celeriac.errors import CollectionMissing, SourceError, SourceUnavailable
from celeriac.fetching import mark
from celeriac.model import Counters, Partition, Seal, SourceVersion, digest_of
from celeriac.runtime import Runtime
from celeriac.sources.base import VersionedSource
from celeriac.store.base import Census, MarkerCensus, VectorStore

logger = logging.getLogger(__name__)

MARKERS = 5000
"""That are asked for at a time: each request walks the whole partition's index."""
UNLISTED = (
    "Nothing was listed: the source is as it was when the index was found equal to it, and the "
    "index still is what was found."
)
"""The message of a job that succeeded so."""


def source_version(runtime: Runtime, entity_type: EntityType) -> SourceVersion | None:
    """The state of an entity type's source as it is declared; None where it cannot be told.

    Raises:
        SourceUnavailable, SourceError: as of `VersionedSource.version`.
    """
    source = runtime.source(entity_type)
    told = source.version() if isinstance(source, VersionedSource) else None
    if told is None:
        return None
    return SourceVersion(digest_of([mark(entity_type.source), told.content]), told.writes)


def seal_of(
    runtime: Runtime, job: Job, entity_type: EntityType, markers: MarkerCensus, ids: int
) -> Seal | None:
    """The seal of a generation that holds these markers and points of these ids; None where the
    job says something of its entities that has to be said again, or its source is, or may be,
    another than when it began."""
    begun = runtime.catalog.seals.version(job.id)
    whole = job.counters.listed == markers.markers and not job.counters.failed
    if begun is None or not whole or runtime.catalog.job_errors.first(job.id, limit=1):
        return None
    try:
        now = source_version(runtime, entity_type)
    except (SourceUnavailable, SourceError) as error:
        logger.info("not sealed", extra={"action": "finish", "job": job.id, "error": str(error)})
        return None
    if now != begun:
        return None
    return Seal(begun.content, markers.markers, markers.points, f"{ids:x}", f"{markers.digest:x}")


def counted(seal: Seal) -> Counters:
    """What a job counts that lists nothing."""
    return Counters(listed=seal.entities, unchanged=seal.entities, chunks=seal.points)


def holds(
    store: VectorStore, generation: Generation, seal: Seal, checkpoint: Callable[[], None]
) -> bool:
    """Whether a generation still is what its seal says."""
    partition = generation.partition
    try:
        with ThreadPoolExecutor(1) as beside:
            points = beside.submit(store.census, partition, checkpoint=checkpoint)
            markers = _markers(store, partition, checkpoint)
            found = points.result()
    except CollectionMissing:
        return False
    said = (markers.markers, markers.points, f"{markers.digest:x}")
    expected = Census(seal.points, int(seal.ids, 16))
    return said == (seal.entities, seal.points, seal.markers) and found == expected


def _markers(
    store: VectorStore, partition: Partition, checkpoint: Callable[[], None]
) -> MarkerCensus:
    found = MarkerCensus()
    for markers in store.scan_markers(partition, batch=MARKERS):
        checkpoint()
        for marker in markers:
            found.add(marker)
    return found
