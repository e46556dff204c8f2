"""The lookup round: what the listings of an unstable source missed is asked for by its id before it
is held to be gone. The pages that ask index what they find.

The second listing is read all the same: it finds new entities that the first one missed, and whose
ids nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable

from celeriac.catalog.indexes import Generation
from celeriac.catalog.jobs import Job
from celeriac.fetching import lookup_cursor
from celeriac.runtime import Runtime
from celeriac.sources.base import LookupSource, Source
from celeriac.tally import entity_key

MOST_LOOKUPS = 10_000
"""Entities that a job looks up before it removes them; beyond that two listings have to do."""


def begin_lookups(
    runtime: Runtime, job: Job, token: str, source: LookupSource, missed: list[str]
) -> list[int]:
    """Add the pages that look these entities up; their numbers. JobStopped as of `Rounds`."""
    size = source.lookup_size
    few = [missed[start : start + size] for start in range(0, len(missed), size)]
    return runtime.catalog.rounds.begin_lookups(job.id, token, [lookup_cursor(ids) for ids in few])


def to_look_up(source: Source) -> LookupSource | None:
    """The source where its listings can miss an entity and lookups can tell."""
    return source if isinstance(source, LookupSource) and not source.stable_listing else None


def missed_by_rebuild(
    runtime: Runtime, job: Job, generation: Generation, checkpoint: Callable[[], None]
) -> list[str]:
    """Entities of the live generation that the one built beside it would lack, of which no page
    says that they are gone; up to some more than are looked up."""
    live = runtime.catalog.indexes.live(job.index_id)
    if live is None or live.number == generation.number:
        return []
    missed: list[str] = []
    for markers in runtime.store.scan_markers(live.partition):
        checkpoint()
        keys = {one.entity_id: entity_key(generation.partition, one.entity_id) for one in markers}
        expected = runtime.catalog.listings.expected(job.id, keys.values())
        missed += [one for one, key in keys.items() if key not in expected]
        if len(missed) > MOST_LOOKUPS:
            break
    return missed
