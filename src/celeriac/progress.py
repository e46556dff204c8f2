"""Live progress in Redis: a hash for now, a stream for watchers.

The hash holds the job's state and, for each page in hand, what that page counted so far; once a
page is committed its counters are in the catalog and leave the hash. The catalog has the truth;
this is for people who watch. So an outage of Redis costs a picture, never a page: it is logged
and the work goes on.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from celeriac.model import Counters

logger = logging.getLogger(__name__)

KEEP = 7 * 24 * 3600
"""Seconds that a job's progress is kept after its last change."""
STREAM_LENGTH = 1000
"""Events kept a job."""


class Progress:
    """Publishes and reads the progress of jobs."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def start(self, job_id: str) -> None:
        """Begin a job's picture afresh."""
        self._publish(job_id, {"state": "running"}, reset=True)

    def page(self, job_id: str, number: int, counted: Counters) -> None:
        """Publish what a page in hand counted so far."""
        compact = {name: value for name, value in asdict(counted).items() if value}
        self._publish(job_id, {_page(number): json.dumps(compact)})

    def committed(self, job_id: str, number: int) -> None:
        """Take a page out of the picture: the catalog has its counters."""
        self._publish(job_id, {}, remove=_page(number))

    def entries(self, job_id: str, shares: Mapping[str, float]) -> None:
        """Publish how much of each of these documents is embedded, 0 to 1."""
        values: dict[Any, Any] = {document: round(share, 4) for document, share in shares.items()}
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hset(_entries(job_id), mapping=values)
        pipeline.expire(_entries(job_id), KEEP)
        try:
            pipeline.execute()
        except RedisError as error:
            logger.warning("progress is not published", extra=_context(job_id, error))

    def entry(self, job_id: str, document_id: str) -> float:
        """How much of a document that the job has in hand is embedded, 0 to 1."""
        try:
            found = self._redis.hget(_entries(job_id), document_id)
        except RedisError as error:
            logger.warning("progress cannot be read", extra=_context(job_id, error))
            return 0.0
        return float(found or 0.0)

    def end(self, job_id: str, state: str, counters: Counters) -> None:
        """Publish how a job ended and what it counted in the end."""
        self._publish(job_id, {"state": state, **asdict(counters)}, reset=True)

    def in_hand(self, job_id: str) -> Counters:
        """What the pages that are not committed yet counted so far."""
        pages = [value for name, value in self.read(job_id).items() if name.startswith("page:")]
        return sum((Counters(**json.loads(page)) for page in pages), Counters())

    def read(self, job_id: str) -> dict[str, str]:
        """The picture now; empty where there is none or Redis is away."""
        try:
            found = self._redis.hgetall(_hash(job_id))
        except RedisError as error:
            logger.warning("progress cannot be read", extra=_context(job_id, error))
            return {}
        return {_text(key): _text(value) for key, value in found.items()}

    def _publish(
        self,
        job_id: str,
        fields: Mapping[str, str | int],
        *,
        reset: bool = False,
        remove: str | None = None,
    ) -> None:
        now = time.time()
        pipeline = self._redis.pipeline(transaction=True)
        if reset:
            pipeline.delete(_hash(job_id))
        if remove is not None:
            pipeline.hdel(_hash(job_id), remove)
        values: dict[Any, Any] = {**fields, "updated": now}
        pipeline.hset(_hash(job_id), mapping=values)
        event: dict[Any, Any] = {**(fields or {"committed": remove}), "at": now}
        pipeline.xadd(_stream(job_id), event, maxlen=STREAM_LENGTH, approximate=True)
        pipeline.expire(_hash(job_id), KEEP)
        pipeline.expire(_stream(job_id), KEEP)
        try:
            pipeline.execute()
        except RedisError as error:
            logger.warning("progress is not published", extra=_context(job_id, error))


def _hash(job_id: str) -> str:
    return f"celeriac:job:{job_id}"


def _stream(job_id: str) -> str:
    return f"celeriac:job:{job_id}:events"


def _entries(job_id: str) -> str:
    return f"celeriac:job:{job_id}:entries"


def _page(number: int) -> str:
    return f"page:{number}"


def _context(job_id: str, error: RedisError) -> dict[str, str]:
    return {"action": "progress", "job": job_id, "error": str(error)}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
