"""Two lanes through one server: streams that last, and requests that must not wait for them.

A stream holds a thread for as long as somebody watches. So the server that runs the application
says how many of its threads streams may hold; the others stay free for ordinary requests. Until it
says so, none may, and every stream is a short one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flask import Flask

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ORDINARY = 16
"""Ordinary requests at once; what is beyond that waits."""
LOOKING = 4
"""Streams that may ask Redis and the catalog at once."""
STREAMS = "/events"
"""How paths of streams end."""


class Streams:
    """The streams of this process."""

    def __init__(self) -> None:
        self.most = 0
        """How many may be open at once."""
        self.going_on: Callable[[], bool] = lambda: True
        """Whether the server is not about to end."""
        self.looking = threading.BoundedSemaphore(LOOKING)
        """Held while a stream is opened and whenever it asks somebody: a thousand of them at once
        would leave nothing to anybody else."""
        self._open = 0
        self._lock = threading.Lock()

    def enter(self) -> bool:
        """Open one, where there is room; whoever did leaves again."""
        with self._lock:
            room = self._open < self.most
            self._open += room
        return room

    def leave(self) -> None:
        with self._lock:
            self._open -= 1


class Lanes:
    """Lets so many requests of a kind in at once, however many threads the server has."""

    def __init__(self, app: WSGIApplication, streams: Streams, ordinary: int = ORDINARY) -> None:
        self._app = app
        self._streams = streams
        self._ordinary = threading.BoundedSemaphore(ordinary)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        is_stream = environ.get("PATH_INFO", "").endswith(STREAMS)
        # What a stream says, it says after this has returned.
        with self._streams.looking if is_stream else self._ordinary:
            return self._app(environ, start_response)


def served(app: Flask, threads: int, going_on: Callable[[], bool] = lambda: True) -> None:
    """Have the application know that its server has so many threads."""
    streams: Streams = app.extensions["celeriac"].streams
    streams.most = max(threads - ORDINARY, 0)
    streams.going_on = going_on
    lanes = Lanes(app.wsgi_app, streams)
    app.wsgi_app = lanes  # type: ignore[method-assign]
