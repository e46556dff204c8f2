"""Messages to the workers, over Celery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import LimitExceeded, OperationalError
from kombu.pools import producers
from redis.exceptions import RedisError

from celeriac.errors import BrokerUnavailable, CeleriacError

PATIENCE = 3
"""Seconds that Redis has to take a message; there is one retry."""
HIGH, NORMAL = 3, 6
"""Priorities on Redis: 0 is the highest."""


About = Callable[[str], Mapping[str, str]]
"""What people know a job by, of its id."""


class CeleryDispatcher:
    """The `Dispatcher` of a deployment: tasks named, not imported, so the API needs no worker."""

    def __init__(self, app: Celery, about: About) -> None:
        self._app = app
        self._about = about

    @cached_property
    def _connection(self) -> Connection:
        # What pools are found by; never connected itself. A worker may wait for its messages;
        # whoever sends one wants to know soon.
        return self._app.connection_for_write(
            transport_options={"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
        )

    def start_job(self, job_id: str) -> None:
        self._send("celeriac.start_job", {"job_id": job_id}, HIGH)

    def index_page(self, job_id: str, number: int, *, delay: float = 0) -> None:
        self._send("celeriac.index_page", {"job_id": job_id, "page": number}, NORMAL, delay)

    def finish_job(self, job_id: str, *, delay: float = 0) -> None:
        self._send("celeriac.finish_job", {"job_id": job_id}, HIGH, delay)

    def depth(self) -> int:
        """How many messages wait in Redis."""
        queue = self._app.conf.task_default_queue
        with self._producer() as producer:
            found: int = producer.channel.queue_declare(queue).message_count
        return found

    def _send(self, task: str, arguments: dict[str, Any], priority: int, delay: float = 0) -> None:
        with self._producer() as producer:
            self._app.send_task(
                task,
                kwargs=arguments,
                kwargsrepr=self._shown(arguments),
                priority=priority,
                countdown=delay or None,
                producer=producer,
            )

    def _shown(self, arguments: Mapping[str, Any]) -> str:
        """The arguments as Flower shows them."""
        try:
            about = self._about(arguments["job_id"])
        except CeleriacError:
            about = {}  # a message that can be sent is not held up for its looks
        return repr({**about, **arguments})

    @contextmanager
    def _producer(self) -> Iterator[Producer]:
        try:
            with producers[self._connection].acquire(block=True, timeout=PATIENCE) as producer:
                yield producer
        except (OperationalError, LimitExceeded, RedisError) as error:
            raise BrokerUnavailable(
                f"Redis cannot be reached ({error}); check CELERIAC_REDIS_URL and that it runs."
            ) from error
