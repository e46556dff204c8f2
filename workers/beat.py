"""Beat: a clock that holds its tongue while nobody listens."""

from __future__ import annotations

import logging
from typing import Any

from celery.beat import ScheduleEntry, Scheduler
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

MOST = 9
"""How many ticks wait in Redis at most: where no worker runs they would pile up."""


class Beat(Scheduler):
    """Sends a tick only where those sent before are taken. Each is a look at what is due: one that
    is left out is made up for by the next."""

    _holds = False
    """Whether the last one was left out."""

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        full = self._waiting() >= MOST
        if full and not self._holds:
            text = "no worker takes what beat sends, so it sends no more until one does"
            logger.warning(text, extra={"action": "tick", "waiting": MOST})
        self._holds = full
        if not full:
            super().apply_entry(entry, producer)

    def _waiting(self) -> int:
        """How many ticks wait: of their priority, 0, nothing else does (workers.schedules)."""
        queue = self.app.conf.task_default_queue
        try:
            found: int = self.producer.channel.client.llen(queue)
        except (OperationalError, RedisError):
            return 0  # sending it says what is wrong
        return found
