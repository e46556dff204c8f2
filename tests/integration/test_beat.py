"""What beat leaves in Redis while no worker runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import servers
from celery import Celery
from redis import Redis

from workers.beat import MOST, Beat
from workers.dispatch import HIGH, NORMAL
from workers.schedules import TICK, beat_schedule

QUEUE = "celeriac"


@contextmanager
def clock(redis_url: str) -> Iterator[Beat]:
    app = Celery(set_as_current=False, broker=redis_url)
    app.conf.update(
        task_default_queue=QUEUE,
        beat_schedule=beat_schedule(),
        broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 5},
    )
    beat = Beat(app=app)
    yield beat
    beat.producer.release()
    beat.connection.close()
    app.close()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


def day(beat: Beat) -> None:
    """As many ticks as beat sends in a while."""
    for _ in range(20):
        for entry in beat.schedule.values():
            beat.apply_entry(entry, producer=beat.producer)


def test_ticks_do_not_pile_up_and_go_on_once_they_are_taken(
    redis_url: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with clock(redis_url) as beat:
        day(beat)
        assert redis.llen(QUEUE) == MOST
        assert [record.message for record in caplog.records] == [
            "no worker takes what beat sends, so it sends no more until one does"
        ]
        redis.delete(QUEUE)
        day(beat)
        assert redis.llen(QUEUE) == MOST


def test_other_messages_that_wait_hold_no_tick_up(redis_url: str, redis: Redis) -> None:
    assert TICK["priority"] not in (HIGH, NORMAL)
    with clock(redis_url) as beat:
        for priority in (HIGH, NORMAL):
            for _ in range(MOST * 2):
                beat.app.send_task("celeriac.start_job", priority=priority)
        assert redis.llen(QUEUE) == 0
        day(beat)
        assert redis.llen(QUEUE) == MOST


def test_a_redis_that_comes_back_gets_ticks_again(tmp_path: Path) -> None:
    with servers.redis(tmp_path) as server, clock(server.url) as beat:
        day(beat)
        server.stop()
        beat.apply_entry(beat.schedule["recover"], producer=beat.producer)
        server.start()
        with Redis.from_url(server.url) as redis:
            redis.delete(QUEUE)
            day(beat)
            assert redis.llen(QUEUE) == MOST
