"""The points of generations that nothing needs any more, deleted in bounded steps.

The switch to another generation marks what is not kept; `remove_dropped` deletes it, by id and
batch by batch, for a bounded time. What was interrupted is gone on with by the next recovery. No
job writes to such a generation again, and none of its point ids is ever given to another, so it
does not matter when they go, or who deletes them.
"""

from __future__ import annotations

import logging
import time

from celeriac.catalog.indexes import Generation
from celeriac.errors import CeleriacError, TransientError, WorkerStopping
from celeriac.leases import LEASE
from celeriac.runtime import Runtime

logger = logging.getLogger(__name__)

REMOVAL_TIME = 5.0
"""Seconds that one call spends, far less than its lease: a task is to be done in seconds."""


class _TimeIsUp(Exception):
    """Another call goes on."""


def remove_dropped(runtime: Runtime) -> None:
    """Delete points of generations that are being dropped, for some seconds; an outage of a
    service delays it."""
    until = time.monotonic() + REMOVAL_TIME
    try:
        while (generation := runtime.catalog.generations.claim_dropping(LEASE)) is not None:
            _remove(runtime, generation, until)
    except (WorkerStopping, _TimeIsUp):
        logger.info("removal goes on later", extra={"action": "drop"})
    except CeleriacError as error:
        logger.warning("removal is tried again", extra={"action": "drop", "error": str(error)})


def _remove(runtime: Runtime, generation: Generation, until: float) -> None:
    generations = runtime.catalog.generations

    def checkpoint() -> None:
        if runtime.stopping.is_set():
            raise WorkerStopping
        if time.monotonic() > until:
            raise _TimeIsUp

    try:
        runtime.store.delete_partition(generation.partition, checkpoint=checkpoint)
    except (TransientError, _TimeIsUp):
        generations.release_dropping(generation)
        raise
    generations.dropped(generation)
    logger.info(
        "generation removed",
        extra={"action": "drop", "index": generation.index_id, "generation": generation.number},
    )
