"""Redis: whether it keeps messages, and whether any of them is late."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from celeriac.dispatch import VISIBILITY_TIMEOUT
from celeriac.doctor.findings import Finding, Findings, error, fine, warning
from celeriac.errors import BrokerUnavailable
from celeriac.runtime import connect_redis
from celeriac.settings import Settings

FULL = 0.9
"""Share of maxmemory from which it is held to be full."""
UNACKNOWLEDGED = "unacked_index"
"""Where Celery's transport keeps since when each message is in a worker's hands."""


def redis_url(settings: Settings) -> str | None:
    """The Redis that is named, or a running standalone's own."""
    endpoint = settings.home / "redis" / "endpoint.json"
    if settings.redis_url is None and endpoint.exists():
        return str(json.loads(endpoint.read_text("utf-8"))["url"])
    return settings.redis_url


def findings(settings: Settings, clock: Callable[[], float]) -> Findings:
    """
    Raises:
        BrokerUnavailable
    """
    url = redis_url(settings)
    if url is None:
        yield fine("redis", "CELERIAC_REDIS_URL is not set: standalone starts a Redis of its own.")
        return
    with connect_redis(url) as client:
        try:
            about: Mapping[str, Any] = client.info()
            oldest = _oldest_in_hand(client, clock)
        except RedisError as problem:
            raise BrokerUnavailable(
                f"Redis cannot be reached ({problem}); check CELERIAC_REDIS_URL and that it runs."
            ) from problem
    yield fine("redis", f"Redis {about['redis_version']} answers.")
    yield _persistence(about)
    yield _eviction(about)
    yield _memory(about)
    yield _visibility(oldest)


def _persistence(about: Mapping[str, Any]) -> Finding:
    check = "redis persistence"
    if not about.get("aof_enabled"):
        return warning(
            check,
            "Redis does not keep what it is told (AOF is off): after a restart every job waits "
            "for the recovery, and running ones are shown without live progress.",
            "Set appendonly yes and appendfsync everysec.",
        )
    if about.get("aof_last_write_status") != "ok":
        return error(
            check, "Redis failed to write its log.", "See Redis' log and its disk for room."
        )
    return fine(check, "AOF is on.")


def _eviction(about: Mapping[str, Any]) -> Finding:
    check, policy = "redis eviction", about.get("maxmemory_policy")
    if policy == "noeviction":
        return fine(check, "noeviction")
    return error(
        check,
        f"Redis drops keys when it is full (maxmemory-policy {policy}), messages among them.",
        "Set maxmemory-policy noeviction.",
    )


def _memory(about: Mapping[str, Any]) -> Finding:
    check, limit = "redis memory", int(about.get("maxmemory") or 0)
    used = int(about["used_memory"])
    if limit and used > FULL * limit:
        return warning(
            check,
            f"{used:,} of {limit:,} bytes are used; once full, Redis refuses messages.",
            "Raise maxmemory, or give celeriac a Redis of its own.",
        )
    return fine(check, f"{used:,} bytes used, {f'of {limit:,}' if limit else 'without a limit'}")


def _visibility(oldest: float | None) -> Finding:
    check = "visibility timeout"
    if oldest is not None and oldest > VISIBILITY_TIMEOUT / 2:
        return warning(
            check,
            f"A task has been in a worker's hands for {oldest:.0f} s; after {VISIBILITY_TIMEOUT} s "
            "Redis gives it to another worker as well.",
            "If its page is slow to fetch, set a smaller page_size; if its worker is gone, wait.",
        )
    taken = "no task is in hand" if oldest is None else f"the oldest task is {oldest:.0f} s old"
    return fine(check, f"{VISIBILITY_TIMEOUT} s; {taken}")


def _oldest_in_hand(client: Redis, clock: Callable[[], float]) -> float | None:
    """For how many seconds the oldest message has been with a worker."""
    found: Any = client.zrange(UNACKNOWLEDGED, 0, 0, withscores=True)
    return clock() - float(found[0][1]) if found else None
