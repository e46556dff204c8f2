"""A clock that is set wrong, in this process alone."""

from __future__ import annotations

import datetime
import time
from types import SimpleNamespace
from typing import Any


def set_ahead(seconds: float) -> None:
    """Have whatever is imported from now on read a wall clock that is so far ahead."""
    read, read_ns = time.time, time.time_ns
    time.time = lambda: read() + seconds
    time.time_ns = lambda: read_ns() + int(seconds * 1e9)
    _keep_true(read)
    true = datetime.datetime

    class Kind(type):
        """Values made elsewhere, in C, are datetimes too."""

        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, true)

        def __subclasscheck__(cls, kind: type) -> bool:
            return issubclass(kind, true)

    class Shifted(true, metaclass=Kind):  # type: ignore[misc,valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> datetime.datetime:
            return true.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> datetime.datetime:
            return true.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)

    Shifted.__name__ = Shifted.__qualname__ = "datetime"
    datetime.datetime = Shifted  # type: ignore[misc]


def _keep_true(read: Any) -> None:
    """gRPC hands deadlines to its core, which reads the machine's clock: both must be the same."""
    import grpc._channel

    grpc._channel.time = SimpleNamespace(**{**vars(time), "time": read})
