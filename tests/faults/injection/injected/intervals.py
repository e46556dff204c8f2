"""Leases and intervals of seconds: a test need not wait a minute."""

from __future__ import annotations

from typing import Any


def shorten_leases(seconds: float) -> None:
    """Leases end, and messages are held to be lost, after so many seconds."""
    import celeriac.finish
    import celeriac.jobs
    import celeriac.paging
    from celeriac.leases import Heartbeat

    celeriac.paging.LEASE = celeriac.finish.LEASE = celeriac.jobs.SILENCE = seconds
    Heartbeat.__init__.__defaults__ = (seconds / 4,)


def shorten_recovery(seconds: float) -> None:
    """Beat sends the recovery so often, and it runs as often."""
    import workers.schedules

    workers.schedules.RECOVERY_INTERVAL = seconds
    take = workers.schedules.take_tick

    def take_tick(redis: Any, name: str, **options: Any) -> bool:
        if name != "recover":
            return take(redis, name, **options)
        return bool(redis.set(f"celeriac:tick:{name}", 1, nx=True, px=int(seconds * 500)))

    workers.schedules.take_tick = take_tick
