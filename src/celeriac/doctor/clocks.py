"""Clocks: of this machine, of Redis and of the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from celeriac.doctor.broker import redis_url
from celeriac.doctor.database import opened
from celeriac.doctor.findings import Finding, Findings, error, fine, warning
from celeriac.errors import BrokerUnavailable
from celeriac.runtime import connect_redis
from celeriac.settings import Settings

TOLERATED, TOO_MUCH = 5.0, 60.0
"""Seconds: from which on it is a warning, and from which on tokens are refused."""


def findings(settings: Settings, clock: Callable[[], float]) -> Findings:
    """
    Raises:
        BrokerUnavailable, CatalogUnavailable
    """
    url = redis_url(settings)
    if url is not None:
        with connect_redis(url) as client:
            try:
                yield _compared("Redis", lambda: _redis_time(client), clock)
            except RedisError as problem:
                raise BrokerUnavailable from problem
    with opened(settings) as catalog:
        if catalog is not None and catalog.database.engine.dialect.name != "sqlite":
            yield _compared("the database", catalog.database.now, clock)


def _redis_time(client: Redis) -> float:
    answer: Any = client.time()
    return float(answer[0]) + float(answer[1]) / 1e6


def _compared(whose: str, ask: Callable[[], float], clock: Callable[[], float]) -> Finding:
    before = clock()
    theirs = ask()
    skew = theirs - (before + clock()) / 2
    said = f"The clock of {whose} is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} ours."
    remedy = "Have all machines follow one time server (chrony, systemd-timesyncd)."
    if abs(skew) > TOO_MUCH:
        return error("clocks", said, remedy)
    if abs(skew) > TOLERATED:
        return warning("clocks", said, remedy)
    return fine("clocks", said)
