"""New generations are loaded before they are indexed.

Qdrant indexes what comes in segment by segment, and does it again each time it merges segments:
for a generation that is loaded as a whole, most of that work is for nothing (docs/adr/0015). So
while a job builds a new generation, its collection's threshold of indexing is raised; it is set
back once everything is written, or once the job has ended, is paused, or is seen to be gone by
`recover`. Searches of other indexes of the collection keep the graphs they have; what is written
to them meanwhile is searched point by point, and found all the same.
"""

from __future__ import annotations

import logging

from celeriac.catalog.indexes import Generation, GenerationState
from celeriac.errors import CeleriacError, NotFound
from celeriac.runtime import Runtime

logger = logging.getLogger(__name__)

PUT_OFF = 1_000_000
"""Kilobytes of vectors in a segment that are indexed even so: what a search compares one by one
stays bounded."""


def begin(runtime: Runtime, generation: Generation) -> None:
    """Put off the indexing of a generation's collection, if it is a new one. Where that fails it
    is indexed as it is written."""
    if generation.state != GenerationState.BUILDING:
        return
    try:
        _put_off(runtime, generation.collection)
    except CeleriacError as error:
        logger.warning("indexing is not put off", extra=_context(generation.collection, error))


def _put_off(runtime: Runtime, collection: str) -> None:
    found = runtime.store.indexing(collection)
    if found is not None and 0 < found.threshold < PUT_OFF:
        runtime.catalog.loadings.begin(collection, found.threshold)
        runtime.store.index_from(collection, PUT_OFF)


def end(runtime: Runtime, *, besides: str | None = None) -> None:
    """Have the collections indexed that no job loads any more, but for the one with the id
    `besides`. Where that fails `recover` does it."""
    for collection, threshold in runtime.catalog.loadings.over(besides=besides).items():
        try:
            runtime.store.index_from(collection, threshold)
        except NotFound:
            pass  # without the collection there is nothing left to index
        except CeleriacError as error:
            logger.warning("indexing is still put off", extra=_context(collection, error))
            continue
        runtime.catalog.loadings.forget(collection)


def _context(collection: str, error: CeleriacError) -> dict[str, str]:
    return {"action": "loading", "collection": collection, "error": str(error)}
