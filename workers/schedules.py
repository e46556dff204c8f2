"""What beat sends and when."""

from __future__ import annotations

from typing import Any

from redis import Redis

RECOVERY_INTERVAL = 10.0
"""Seconds between two looks for lost messages and expired leases."""
SCHEDULE_INTERVAL = 10.0
"""Seconds between two looks for schedules that are due."""
RETENTION_INTERVAL = 60.0
"""Seconds between two looks for jobs that are to be removed."""


TICK = {"priority": 0, "expires": 3600}
"""Before everything else, and alone there: `workers.beat` counts those that wait. They expire not
sooner, for an expiry is a time by the sender's clock, and a worker whose clock is ahead would drop
every one."""


def beat_schedule() -> dict[str, dict[str, Any]]:
    """Beat's entries. It is but a clock: what is due when is in the catalog."""
    return {
        "recover": _every(RECOVERY_INTERVAL, "celeriac.recover"),
        "run-schedules": _every(SCHEDULE_INTERVAL, "celeriac.run_schedules"),
        "remove-expired": _every(RETENTION_INTERVAL, "celeriac.remove_expired"),
    }


def _every(seconds: float, task: str) -> dict[str, Any]:
    return {"task": task, "schedule": seconds, "options": dict(TICK)}


def take_tick(redis: Redis, name: str, *, seconds: int) -> bool:
    """Whether this call is the first of its tick: two beats fire a tick twice, one may run."""
    return bool(redis.set(f"celeriac:tick:{name}", 1, nx=True, ex=seconds))
