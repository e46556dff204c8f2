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


def beat_schedule() -> dict[str, dict[str, Any]]:
    """Beat's entries. It is but a clock: what is due when is in the catalog."""
    return {
        "recover": {
            "task": "celeriac.recover",
            "schedule": RECOVERY_INTERVAL,
            # Not sooner: an expiry is a time by the sender's clock, and a worker whose clock is
            # ahead would drop every one. A backlog is cheap, for one runs a tick.
            "options": {"expires": 3600, "priority": 3},
        },
        "run-schedules": {
            "task": "celeriac.run_schedules",
            "schedule": SCHEDULE_INTERVAL,
            "options": {"expires": 3600, "priority": 3},
        },
        "remove-expired": {
            "task": "celeriac.remove_expired",
            "schedule": RETENTION_INTERVAL,
            "options": {"expires": 3600, "priority": 3},
        },
    }


def take_tick(redis: Redis, name: str, *, seconds: int) -> bool:
    """Whether this call is the first of its tick: two beats fire a tick twice, one may run."""
    return bool(redis.set(f"celeriac:tick:{name}", 1, nx=True, ex=seconds))
