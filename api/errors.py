"""One table from errors to answers, in the shapes of the reindex contract."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, jsonify
from marshmallow import ValidationError
from werkzeug.exceptions import HTTPException

from celeriac.errors import (
    CeleriacError,
    ConfigurationError,
    Conflict,
    DependencyUnavailable,
    NotFound,
    TransientError,
    WorkerTimeout,
)

logger = logging.getLogger(__name__)

RETRY_AFTER = 5
"""Seconds a client is asked to wait when a service is away."""

STATUS: tuple[tuple[type[CeleriacError], int, str], ...] = (
    (NotFound, 404, "not_found"),
    (ConfigurationError, 400, "bad_request"),
    (Conflict, 409, "conflict"),
    (WorkerTimeout, 504, "worker_timeout"),
    (DependencyUnavailable, 503, "service_unavailable"),
    (TransientError, 503, "service_unavailable"),
    (CeleriacError, 500, "internal_error"),
)


class Unauthenticated(Exception):
    """No valid credential."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def register(app: Flask) -> None:
    """Turn every exception that leaves a handler into an answer."""
    app.register_error_handler(CeleriacError, _celeriac_error)
    app.register_error_handler(Unauthenticated, _unauthenticated)
    app.register_error_handler(ValidationError, _validation_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def error_message(
    status: int, kind: str, message: str, details: list[dict[str, str]] | None = None
) -> Response:
    """An ErrorMessage of the reindex contract."""
    body: dict[str, Any] = {"code": status, "type": kind, "message": message}
    if details:
        body["details"] = details
    response = jsonify(body)
    response.status_code = status
    if status in {503, 504}:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def _celeriac_error(error: CeleriacError) -> Response:
    status, kind = next((status, kind) for cls, status, kind in STATUS if isinstance(error, cls))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("request failed", extra={"action": "request", "error": str(error)})
    return error_message(status, kind, str(error))


def _unauthenticated(error: Unauthenticated) -> Response:
    fault = {"faultstring": str(error), "detail": {"errorcode": error.code}}
    response = jsonify({"fault": fault})
    response.status_code = 401
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _validation_error(error: ValidationError) -> Response:
    details = [
        {"field": field, "type": "invalid", "message": message}
        for field, message in _flat(error.messages)
    ]
    return error_message(400, "validation_error", "The request is not valid.", details)


def _flat(messages: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(messages, dict):
        return [
            pair
            for key, value in messages.items()
            for pair in _flat(value, path if key == "_schema" else f"{path}.{key}".strip("."))
        ]
    return [(path, str(message)) for message in messages]


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    kind = error.name.lower().replace(" ", "_")
    response = error_message(status, kind, error.description or error.name)
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    logger.exception("request failed", exc_info=error, extra={"action": "request"})
    return error_message(500, "internal_error", "Something went wrong; the log says what.")
