"""One table from errors to what they are in HTTP; each contract says it in a shape of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import ValidationError
from werkzeug.exceptions import HTTPException

from celeriac.errors import (
    MISSING,
    CeleriacError,
    ConfigurationError,
    Conflict,
    DependencyUnavailable,
    EmptyDocument,
    Forbidden,
    ForbiddenAddress,
    NotFound,
    RateLimited,
    TooLarge,
    TransientError,
    Unauthenticated,
    UnreadableDocument,
    WorkerTimeout,
)

logger = logging.getLogger(__name__)

RETRY_AFTER = 5
"""Seconds a client is asked to wait when a service is away."""
INTERNAL = 500
PARTS = {"json": "body", "multipart": "body", "form": "body", "headers": "header"}
"""Parts of a request as webargs calls them, and as the contracts do."""


@dataclass(frozen=True, slots=True)
class Row:
    """What an error is in HTTP."""

    error: type[CeleriacError]
    kind: str
    reindex: int
    """The status in the reindex contract and in what is ours."""
    other: int
    """The status in the control and the batch contract."""


TABLE = (
    Row(Unauthenticated, "unauthorized", 401, 401),
    Row(Forbidden, "forbidden", 403, 403),
    Row(NotFound, "not_found", 404, 404),
    Row(Conflict, "conflict", 409, 409),
    Row(TooLarge, "too_large", 413, 413),
    Row(EmptyDocument, "empty_document", 400, 422),
    Row(UnreadableDocument, "unreadable_document", 400, 422),
    Row(ForbiddenAddress, "forbidden_address", 400, 422),
    Row(ConfigurationError, "bad_request", 400, 422),
    Row(RateLimited, "too_many_requests", 429, 429),
    Row(WorkerTimeout, "worker_timeout", 504, 504),
    Row(DependencyUnavailable, "service_unavailable", 503, 503),
    Row(TransientError, "service_unavailable", 503, 503),
    Row(CeleriacError, "internal_error", INTERNAL, INTERNAL),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong with a request, in no contract's shape yet."""

    error: Exception
    kind: str
    message: str
    reindex_status: int
    other_status: int
    fields: tuple[tuple[tuple[str | int, ...], str], ...] = ()
    """Of a request that is not valid: where (`body`, `query` and so on first), and what."""
    headers: Mapping[str, str] = field(default_factory=dict)


class Invalid(ValidationError):
    """A request that is not valid, in a part of it: `body`, `query`, `path`, `header`, `form`."""

    def __init__(self, messages: Any, where: str = "body") -> None:
        super().__init__(messages)
        self.where = where


def problem_of(error: Exception) -> Problem:
    """The problem that an exception stands for."""
    match error:
        case CeleriacError():
            return _celeriac_problem(error)
        case ValidationError():
            where = getattr(error, "where", "body")
            fields = tuple(((where, *path), text) for path, text in _flat(error.messages))
            message = "The request is not valid."
            return Problem(error, "validation_error", message, 400, 422, fields)
        case HTTPException():
            data = getattr(error, "data", None)
            if data and "messages" in data:
                return _refused_arguments(error, data["messages"])
            kind = error.name.lower().replace(" ", "_")
            status = error.code or INTERNAL
            headers = {name: value for name, value in error.get_headers() if name == "Allow"}
            message = error.description or error.name
            return Problem(error, kind, message, status, status, headers=headers)
    logger.exception("request failed", exc_info=error, extra={"action": "request"})
    message = "Something went wrong; the log says what."
    return Problem(error, "internal_error", message, INTERNAL, INTERNAL)


def _refused_arguments(error: HTTPException, messages: Mapping[str, Any]) -> Problem:
    """What the schemas of a request's parts refused: messages by part."""
    fields = tuple(
        ((PARTS.get(part, part), *path), text)
        for part, found in messages.items()
        for path, text in _flat(found)
    )
    return Problem(error, "validation_error", "The request is not valid.", 400, 422, fields)


def _celeriac_problem(error: CeleriacError) -> Problem:
    row = row_of(type(error))
    if row.reindex >= INTERNAL:
        about = {"action": "request", "status": row.reindex, "error": str(error)}
        logger.warning("request failed", extra=about)
    return Problem(
        error, row.kind, str(error), row.reindex, row.other, headers=dict(_headers(error))
    )


def row_of(error: type[CeleriacError]) -> Row:
    """What errors of this class are in HTTP."""
    return next(row for row in TABLE if issubclass(error, row.error))


def _headers(error: CeleriacError) -> Mapping[str, str]:
    match error:
        case Unauthenticated():
            # RFC 6750: a request without any credential is told the scheme and nothing else.
            reason = "" if error.code == MISSING else ', error="invalid_token"'
            return {"WWW-Authenticate": f'Bearer realm="celeriac"{reason}'}
        case Forbidden() if error.scope is not None:
            reason = f', error="insufficient_scope", scope="{error.scope}"'
            return {"WWW-Authenticate": f'Bearer realm="celeriac"{reason}'}
        case RateLimited():
            return {"Retry-After": str(math.ceil(error.retry_after or RETRY_AFTER))}
    return {}


Place = tuple[str | int, ...]


def _flat(messages: Any, path: Place = ()) -> list[tuple[Place, str]]:
    if isinstance(messages, dict):
        return [
            pair
            for key, value in messages.items()
            for pair in _flat(value, path if key == "_schema" else (*path, key))
        ]
    return [(path, str(message)) for message in messages]
