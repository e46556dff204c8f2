"""What beat sends and when."""

from __future__ import annotations

from typing import Any

from celery.schedules import crontab
from redis import Redis

from celeriac.configuration import Configuration

RECOVERY_INTERVAL = 10.0
"""Seconds between two looks for lost messages and expired leases."""
REFRESH_INTERVAL = 30.0
"""Seconds between two looks for knowledge bases that are due."""


def beat_schedule(configuration: Configuration) -> dict[str, dict[str, Any]]:
    """Beat's entries: the recovery, and each entity type that has a schedule."""
    entries: dict[str, dict[str, Any]] = {
        "recover": {
            "task": "celeriac.recover",
            "schedule": RECOVERY_INTERVAL,
            # Not sooner: an expiry is a time by the sender's clock, and a worker whose clock is
            # ahead would drop every one. A backlog is cheap, for one runs a tick.
            "options": {"expires": 3600, "priority": 3},
        },
        "refresh": {
            "task": "celeriac.refresh",
            "schedule": REFRESH_INTERVAL,
            "options": {"expires": 3600, "priority": 3},
        },
    }
    for tenant in configuration.tenants.values():
        for entity_type in tenant.entity_types.values():
            if entity_type.schedule is not None:
                entries[f"reindex {tenant.name}/{entity_type.name}"] = {
                    "task": "celeriac.scheduled_reindex",
                    "schedule": crontab.from_string(entity_type.schedule),
                    "kwargs": {"tenant": tenant.name, "entity_type": entity_type.name},
                }
    return entries


def take_tick(redis: Redis, name: str, *, seconds: int) -> bool:
    """Whether this call is the first of its tick: two beats fire a tick twice, one may run."""
    return bool(redis.set(f"celeriac:tick:{name}", 1, nx=True, ex=seconds))
