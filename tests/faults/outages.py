"""Servers that go away in the middle of a job and come back, and processes that end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import disks
import servers
from seeds import LONG
from trial import Trial

FULL = "1mb"
"""Of memory for Redis: less than it has in use."""


@dataclass(frozen=True)
class Outage:
    """For how long a server is away: for the API to notice, and in long runs for a while more."""

    least: float = 5.0
    long: float = 30.0

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Return from the block no sooner."""
        end = time.monotonic() + (self.long if LONG else self.least)
        yield
        time.sleep(max(0.0, end - time.monotonic()))


def redis_restarted(trial: Trial) -> None:
    """Killed; the AOF brings back what it had but for the last second."""
    trial.site.redis.kill()
    trial.site.redis.start()


def redis_emptied(trial: Trial) -> None:
    """Killed, and its disk lost."""
    trial.site.redis.kill()
    disks.empty(redis_folder(trial))
    trial.site.redis.start()


def redis_folder(trial: Trial) -> Path:
    return trial.arena.disks["redis"].folder


def redis_away(trial: Trial) -> None:
    away(trial, trial.site.redis, Outage(long=60))


def sql_away(trial: Trial) -> None:
    away(trial, trial.site.postgres)


def qdrant_killed(trial: Trial) -> None:
    trial.site.qdrant.kill()
    with Outage().lasting():
        trial.assert_refused()
    if not trial.arena.start(trial.site.qdrant):
        trial.record.notes.append("Qdrant hung over its data, which were removed")


def qdrant_emptied(trial: Trial) -> None:
    """Killed, and its disk lost, with every index on it."""
    trial.site.qdrant.kill()
    disks.empty(trial.arena.disks["qdrant"].folder)
    trial.site.qdrant.start()


def redis_frozen(trial: Trial) -> None:
    frozen(trial, trial.site.redis)


def sql_frozen(trial: Trial) -> None:
    frozen(trial, trial.site.postgres)


def qdrant_frozen(trial: Trial) -> None:
    frozen(trial, trial.site.qdrant)


def redis_full(trial: Trial) -> None:
    """Every write is refused for want of memory, until there is room again."""
    with trial.site.redis.client() as client:
        client.config_set("maxmemory", FULL)
    with Outage().lasting():
        trial.assert_refused()
    trial.arena.make_room_in_redis()


def every_worker_killed(trial: Trial) -> None:
    workers = trial.workers
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.start()


def away(trial: Trial, server: servers.Server, outage: Outage | None = None) -> None:
    """Stopped, and started again."""
    server.stop()
    with (outage or Outage()).lasting():
        trial.assert_refused()
    server.start()


def frozen(trial: Trial, server: servers.Server) -> None:
    """Connected, and without an answer."""
    server.freeze()
    with Outage().lasting():
        trial.assert_refused()
    server.thaw()
