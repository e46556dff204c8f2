"""How each contract says that something went wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, jsonify

from api.console.problems import page
from api.problems import Problem
from celeriac.errors import Conflict, NotFound, Unauthenticated

NOT_FOUND, UNPROCESSABLE = 404, 422


def error_message(problem: Problem) -> Response:
    """The reindex contract's ErrorMessage, and its ErrorMessageFault for 401."""
    if isinstance(problem.error, Unauthenticated):
        fault = {"faultstring": problem.message, "detail": {"errorcode": problem.error.code}}
        return _json({"fault": fault}, problem.reindex_status)
    status = problem.reindex_status
    body: dict[str, Any] = {"code": status, "type": problem.kind, "message": problem.message}
    if problem.fields:
        body["details"] = [
            {"field": ".".join(map(str, where[1:])), "type": "invalid", "message": message}
            for where, message in problem.fields
        ]
    return _json(body, status)


def control(problem: Problem) -> Response:
    """The control contract's: a 404 without a body, a 422 as HTTPValidationError; `detail` and
    `code` otherwise (ours)."""
    if problem.other_status == NOT_FOUND:
        return Response(status=NOT_FOUND)
    if problem.other_status == UNPROCESSABLE:
        return _validation_error(problem)
    code = problem.error.code if isinstance(problem.error, Conflict) else problem.kind.upper()
    return _json({"detail": problem.message, "code": code}, problem.other_status)


def batch(problem: Problem) -> Response:
    """The batch contract's: a 422 as HTTPValidationError; `detail` with a status and a message
    otherwise, as its origin has it."""
    if problem.other_status == UNPROCESSABLE:
        return _validation_error(problem)
    kind = problem.kind
    if isinstance(problem.error, NotFound):
        kind = problem.error.code or kind
    return _json({"detail": {"status": kind, "message": problem.message}}, problem.other_status)


Shape = Callable[[Problem], Response]

SHAPES: tuple[tuple[str, Shape], ...] = (
    ("/api/v1/control/", control),
    ("/v1/voiceai/", batch),
    ("/console/", page),
)
"""By path; `error_message` elsewhere."""
ROOT = "/"
"""Where the console begins."""


def shape_of(path: str) -> Shape:
    """How the contract that a path belongs to says it."""
    if path == ROOT:
        return page
    return next((shape for prefix, shape in SHAPES if path.startswith(prefix)), error_message)


def _validation_error(problem: Problem) -> Response:
    fields = problem.fields or ((("body",), problem.message),)
    detail = [
        {"loc": list(where), "msg": message, "type": "value_error"} for where, message in fields
    ]
    return _json({"detail": detail}, UNPROCESSABLE)


def _json(body: dict[str, Any], status: int) -> Response:
    response = jsonify(body)
    response.status_code = status
    return response
