"""Exceptions to answers: what went wrong (`api.problems`) in the shape of the contract that the
request's path belongs to (`api.shapes`)."""

from __future__ import annotations

import time

from flask import Flask, Response, g, request

from api.problems import RETRY_AFTER, problem_of
from api.shapes import shape_of
from celeriac import logs

SHOWN = 128
"""Characters of a part of a path that a line of the log shows."""


def register(app: Flask) -> None:
    """Turn every exception that leaves a handler into an answer."""
    app.register_error_handler(Exception, _answer)


def _answer(error: Exception) -> Response:
    with logs.about(**_asked()):
        problem = problem_of(error)
    response = shape_of(request.path).answer(problem)
    response.headers.update(problem.headers)
    if response.status_code in {503, 504}:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER))
    return response


def _asked() -> dict[str, object]:
    """What the request was about, for whoever reads the log: ids, never texts."""
    named = {name: _shown(value) for name, value in (request.view_args or {}).items()}
    seconds = {"seconds": round(time.perf_counter() - g.begun, 1)} if "begun" in g else {}
    return {"endpoint": request.endpoint, **named, **seconds}


def _shown(value: object) -> str:
    """A part of a path on one line, whatever it holds."""
    return str(value)[:SHOWN].encode("unicode_escape").decode()
