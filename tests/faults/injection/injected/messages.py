"""Messages that arrive twice."""

from __future__ import annotations

from typing import Any

from .failpoints import Failpoints


def deliver_twice(failpoints: Failpoints) -> None:
    """Publish each message twice while the switch `twice` is on."""
    from kombu.transport.redis import Channel

    put = Channel._put

    def put_twice(channel: Channel, queue: str, message: Any, **options: Any) -> None:
        put(channel, queue, message, **options)
        if failpoints.value("twice") is not None:
            failpoints.reach("twice")
            put(channel, queue, message, **options)

    Channel._put = put_twice
