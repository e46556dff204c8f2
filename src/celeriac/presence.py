"""Which workers are alive: each says so in Redis while its process runs."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

BEAT = 5.0
"""Seconds between two signs of life."""
SILENCE = 20.0
"""Seconds after which a worker that gave none is held to be dead."""

_KEY = "celeriac:workers"
# By Redis's clock: those of the workers need not agree.
_SIGN = """
local now = redis.call('TIME')[1]
if ARGV[1] ~= '' then redis.call('ZADD', KEYS[1], now, ARGV[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""


class Workers:
    """The workers that are alive."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = redis.register_script(_SIGN)

    def sign(self, name: str) -> None:
        """Give a sign of life."""
        self._script(keys=[_KEY], args=[name, int(SILENCE)])

    def leave(self, name: str) -> None:
        """Be held alive no more."""
        self._redis.zrem(_KEY, name)

    def count(self) -> int:
        """How many gave a sign lately."""
        return int(self._script(keys=[_KEY], args=["", int(SILENCE)]))


class Presence:
    """Gives signs of life from a thread of its own until it is closed."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._name = str(uuid.uuid4())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Sign off."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._try(self._workers.sign)
            self._stop.wait(BEAT)
        self._try(self._workers.leave)

    def _try(self, say: Callable[[str], None]) -> None:
        try:
            say(self._name)
        except RedisError as error:
            logger.warning("no sign of life", extra={"action": "presence", "error": str(error)})
