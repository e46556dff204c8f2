"""How each contract says that something went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Response, jsonify
from marshmallow import Schema, fields

from api.console.problems import page
from api.problems import Problem, Row
from celeriac.errors import Conflict, NotFound, Unauthenticated

UNAUTHORIZED, NOT_FOUND, UNPROCESSABLE = 401, 404, 422


class ErrorDetail(Schema):
    """What is wrong with a field."""

    field = fields.String(required=True)
    type = fields.String(required=True)
    message = fields.String(required=True)


class ErrorMessage(Schema):
    """What went wrong."""

    code = fields.Integer(required=True, metadata={"description": "The status."})
    type = fields.String(required=True)
    message = fields.String(required=True)
    details = fields.List(fields.Nested(ErrorDetail))


class FaultDetail(Schema):
    """Why a credential was refused."""

    errorcode = fields.String(required=True)


class Fault(Schema):
    """What is wrong with a credential."""

    faultstring = fields.String(required=True)
    detail = fields.Nested(FaultDetail, required=True)


class ErrorMessageFault(Schema):
    """What went wrong with the credential."""

    fault = fields.Nested(Fault, required=True)


class InvalidPart(Schema):
    """What is wrong with a part of the request."""

    loc = fields.List(
        fields.Raw(metadata={"type": ["string", "integer"]}),
        required=True,
        metadata={"description": "`body`, `query`, `path` or `header` first."},
    )
    msg = fields.String(required=True)
    type = fields.String(required=True)


class HTTPValidationError(Schema):
    """Why the request is not valid."""

    detail = fields.List(fields.Nested(InvalidPart), required=True)


class ControlError(Schema):
    """What went wrong (ours)."""

    detail = fields.String(required=True)
    code = fields.String(required=True)


class BatchErrorDetail(Schema):
    """What went wrong, for programs and for people."""

    status = fields.String(required=True)
    message = fields.String(required=True)


class BatchError(Schema):
    """What went wrong."""

    detail = fields.Nested(BatchErrorDetail, required=True)


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


@dataclass(frozen=True, slots=True)
class Shape:
    """How a contract says that something went wrong."""

    name: str
    answer: Callable[[Problem], Response]
    status: Callable[[Row], int]
    """Of an error of the table."""
    schemas: Callable[[int], type[Schema] | None]
    """What the body is, by status; None where there is none."""


ERROR_MESSAGE = Shape(
    "Error",
    error_message,
    lambda row: row.reindex,
    lambda status: ErrorMessageFault if status == UNAUTHORIZED else ErrorMessage,
)
CONTROL = Shape(
    "Control",
    control,
    lambda row: row.other,
    lambda status: {NOT_FOUND: None, UNPROCESSABLE: HTTPValidationError}.get(status, ControlError),
)
BATCH = Shape(
    "Batch",
    batch,
    lambda row: row.other,
    lambda status: HTTPValidationError if status == UNPROCESSABLE else BatchError,
)
CONSOLE = Shape("Console", page, lambda row: row.reindex, lambda _: None)
SHAPES = (
    ("/api/v1/control/", CONTROL),
    ("/v1/voiceai/", BATCH),
    ("/console/", CONSOLE),
    ("/", ERROR_MESSAGE),
)
"""By what the path begins with; the first one that fits."""


def shape_of(path: str) -> Shape:
    """How the contract that a path belongs to says it."""
    if path == "/":
        return CONSOLE
    return next(shape for prefix, shape in SHAPES if path.startswith(prefix))


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
