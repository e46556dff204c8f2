"""What the workers say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from celeriac.errors import BrokerUnavailable

WAIT = 1.0
"""Seconds for which answers are waited for."""


@dataclass(frozen=True, slots=True)
class TaskInHand:
    """A task that a worker is about."""

    name: str
    arguments: Mapping[str, Any]
    """Ids and numbers."""
    started_at: float | None
    """Unix seconds, by the worker's clock."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker that answered."""

    name: str
    threads: int | None
    """How many tasks it runs at once."""
    uptime: float | None
    """Seconds."""
    tasks: tuple[TaskInHand, ...]


def workers_alive(app: Celery) -> list[WorkerState]:
    """The workers that answer within `WAIT` seconds, by name.

    Raises:
        BrokerUnavailable: Redis is away.
    """
    inspect = app.control.inspect(timeout=WAIT)
    try:
        stats: Mapping[str, Any] = inspect.stats() or {}
        active: Mapping[str, Any] = (inspect.active() or {}) if stats else {}
    except (OperationalError, RedisError) as error:
        raise BrokerUnavailable from error
    return [_state(name, stats[name], active.get(name, ())) for name in sorted(stats)]


def _state(name: str, stats: Mapping[str, Any], active: Any) -> WorkerState:
    return WorkerState(
        name=name,
        threads=stats.get("pool", {}).get("max-concurrency"),
        uptime=stats.get("uptime"),
        tasks=tuple(
            TaskInHand(task["name"], task.get("kwargs") or {}, task.get("time_start"))
            for task in active
        ),
    )
