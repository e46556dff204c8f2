"""The events of jobs: read again from where a watcher broke off, and passed on as they come."""

from __future__ import annotations

import logging
import re
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from celeriac.progress import STREAM_LENGTH, stream

logger = logging.getLogger(__name__)

BEGIN = "0-0"
"""Before every event."""
INTERVAL = 0.5
"""Seconds between two looks for events of all the jobs that are watched."""
GROUP, BREATH = 20, 0.01
"""Watchers that are woken at once, and seconds before the next are: a thousand threads that wake
together leave no time to any other."""
STEPS = ("page", "committed")
"""Events that change nothing but the counters."""

_ID = re.compile(r"\d{1,20}(-\d{1,20})?", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """An entry of a job's stream."""

    id: str
    kind: str
    """One of STEPS, or another: something about the job itself changed."""
    fields: dict[str, str]
    """`at`, by Redis's clock, `state`, `counters` and `expected` as they were then."""


def position(event_id: str) -> tuple[int, int]:
    """An event's place in its stream.

    Raises:
        ValueError: it is no id of an event.
    """
    if not _ID.fullmatch(event_id):
        raise ValueError(f"{event_id!r} is no id of an event")
    moment, _, sequence = event_id.partition("-")
    return int(moment), int(sequence or 0)


class Events:
    """What the streams of jobs hold."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def last_id(self, job_id: str) -> str:
        """Of the newest event; BEGIN where there is none."""
        newest: Any = self._redis.xrevrange(stream(job_id), count=1)
        return _text(newest[0][0]) if newest else BEGIN

    def since(self, job_id: str, event_id: str) -> list[Event] | None:
        """What came after an event; None where some of it may not be there any more, or that event
        never was."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xrange(stream(job_id), min=event_id, max=event_id)
        pipeline.xrange(stream(job_id), min=f"({event_id}", count=2 * STREAM_LENGTH)
        known, following = pipeline.execute()
        return [_event(*one) for one in following] if known else None

    def after(self, positions: dict[str, str]) -> dict[str, list[Event]]:
        """What came after these events, by job; jobs without anything new are left out."""
        streams: dict[Any, Any] = {stream(job): after for job, after in positions.items()}
        jobs = {stream(job): job for job in positions}
        found: Any = self._redis.xread(streams, count=STREAM_LENGTH)
        return {jobs[_text(key)]: [_event(*one) for one in new] for key, new in found}


class Subscription:
    """The events of one job, for one watcher."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=STREAM_LENGTH)
        self._news = threading.Condition()

    def put(self, events: Sequence[Event]) -> None:
        with self._news:
            self._events.extend(events)
            self._news.notify()

    def take(self, timeout: float) -> list[Event]:
        """The events that came meanwhile; none after so many seconds without any."""
        with self._news:
            self._news.wait_for(lambda: self._events, timeout)
            taken = list(self._events)
            self._events.clear()
        return taken


class Feed:
    """Passes events on to any number of watchers, from one thread with one connection."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._watchers: defaultdict[str, list[Subscription]] = defaultdict(list)
        self._positions: dict[str, str] = {}
        self._lock = threading.Lock()
        self._watched = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def subscribe(self, job_id: str, after: str) -> Iterator[Subscription]:
        """Receive a job's events that come after this one; some may come before it, too."""
        subscription = Subscription()
        with self._lock:
            self._watchers[job_id].append(subscription)
            self._positions.setdefault(job_id, after)
            self._watched.set()
            self._start()
        try:
            yield subscription
        finally:
            self._leave(job_id, subscription)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._watched.set()

    def _leave(self, job_id: str, subscription: Subscription) -> None:
        with self._lock:
            self._watchers[job_id].remove(subscription)
            if not self._watchers[job_id]:
                del self._watchers[job_id], self._positions[job_id]
            if not self._watchers and not self._closed.is_set():
                self._watched.clear()

    def _start(self) -> None:
        # Not before somebody watches: a server may fork after the application is made.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="events", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while self._watched.wait() and not self._closed.wait(INTERVAL):
            try:
                self._pass_on()
            except RedisError as error:
                logger.warning("no events", extra={"action": "events", "error": str(error)})

    def _pass_on(self) -> None:
        with self._lock:
            positions = dict(self._positions)
        if not positions:
            return
        for job_id, events in self._events.after(positions).items():
            with self._lock:
                if job_id in self._positions:
                    self._positions[job_id] = events[-1].id
                watchers = list(self._watchers.get(job_id, ()))
            for number, watcher in enumerate(watchers):
                watcher.put(events)
                if number % GROUP == GROUP - 1:
                    self._closed.wait(BREATH)


def _event(event_id: bytes | str, fields: dict[Any, Any]) -> Event:
    values = {_text(name): _text(value) for name, value in fields.items()}
    return Event(_text(event_id), values.pop("event"), values)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
