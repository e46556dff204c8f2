"""Exceptions to answers: what went wrong (`api.problems`) in the shape of the contract that the
request's path belongs to (`api.shapes`)."""

from __future__ import annotations

from flask import Flask, Response, request

from api.problems import RETRY_AFTER, problem_of
from api.shapes import shape_of


def register(app: Flask) -> None:
    """Turn every exception that leaves a handler into an answer."""
    app.register_error_handler(Exception, _answer)


def _answer(error: Exception) -> Response:
    problem = problem_of(error)
    response = shape_of(request.path).answer(problem)
    response.headers.update(problem.headers)
    if response.status_code in {503, 504}:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER))
    return response
