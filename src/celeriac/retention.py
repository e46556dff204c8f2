"""Jobs that ended long ago, and what only they referred to, removed in bounded steps.

Whatever calls `remove_expired` regularly is the clock. What was not come to is left to the next
call, and two at once do no harm.
"""

from __future__ import annotations

import logging
import time

from celeriac.errors import TransientError
from celeriac.removal import remove_dropped
from celeriac.runtime import Runtime

logger = logging.getLogger(__name__)

REMOVAL_TIME = 5.0
"""Seconds that one call spends: a task is to be done in seconds."""
DAY = 86_400.0


def remove_expired(runtime: Runtime) -> None:
    """Remove what is older than CELERIAC_JOB_RETENTION_DAYS; nothing where that is 0."""
    older_than = runtime.settings.job_retention_days * DAY
    if not older_than:
        return
    try:
        _Removal(runtime, older_than).run()
    except TransientError as error:
        logger.warning("removal is tried again", extra={"action": "expire", "error": str(error)})


class _Removal:
    def __init__(self, runtime: Runtime, older_than: float) -> None:
        self._runtime = runtime
        self._catalog = runtime.catalog
        self._older_than = older_than
        self._until = time.monotonic() + REMOVAL_TIME

    def run(self) -> None:
        retention = self._catalog.retention
        while self._goes_on() and (ids := retention.expire(self._older_than)):
            self._runtime.progress.forget(ids)
            logger.info("jobs removed", extra={"action": "expire", "jobs": len(ids)})
        retention.forget_generations()
        self._remove_deleted_indexes()
        while self._goes_on() and retention.sweep():
            pass

    def _remove_deleted_indexes(self) -> None:
        for index_id in self._catalog.retention.deleted_indexes(self._older_than):
            # The job that was to take its points out may have failed.
            self._catalog.generations.let_go(index_id)
            remove_dropped(self._runtime)
            self._catalog.retention.forget_index(index_id)
            if not self._goes_on():
                return
        self._catalog.retention.forget_knowledge_bases(self._older_than)

    def _goes_on(self) -> bool:
        return time.monotonic() < self._until and not self._runtime.stopping.is_set()
