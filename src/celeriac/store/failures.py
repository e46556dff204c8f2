"""The one place where Qdrant's errors become celeriac's."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from celeriac.errors import (
    CeleriacError,
    CollectionMissing,
    ConfigurationError,
    PermanentError,
    StoreMismatch,
    StoreUnavailable,
)

_REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_PERMANENT = {
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
}
_LOCAL_NOT_FOUND = re.compile(r"Collection .* not found", re.DOTALL)


@contextmanager
def server_errors(address: str) -> Iterator[None]:
    """Raise celeriac's errors for a server's; `address` stands in messages and holds no secret."""
    try:
        yield
    except grpc.RpcError as error:
        raise _of_status(error.code(), error.details() or "", address) from error
    except ResourceExhaustedResponse as error:
        raise StoreUnavailable(
            f"Qdrant at {address} limits the rate of requests: {error}",
            retry_after=float(error.retry_after_s),
        ) from error


@contextmanager
def local_errors(place: str) -> Iterator[None]:
    """Raise celeriac's errors for local mode's: ValueError, and what a disk or SQLite says."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"the vector store in {place} failed: {error}") from error
    except ValueError as error:
        if _LOCAL_NOT_FOUND.search(str(error)):
            raise CollectionMissing(f"the vector store in {place}: {error}") from error
        raise StoreMismatch(f"the vector store in {place} does not take this: {error}") from error


def already_exists(error: Exception) -> bool:
    """Whether creating failed because another worker was faster."""
    if isinstance(error, grpc.RpcError):
        return error.code() is grpc.StatusCode.ALREADY_EXISTS
    return isinstance(error, ValueError) and "already exists" in str(error)


def _of_status(status: grpc.StatusCode, detail: str, address: str) -> CeleriacError:
    if status in _REFUSED:
        return ConfigurationError(
            f"Qdrant at {address} refuses access ({detail}); check CELERIAC_QDRANT_API_KEY"
        )
    if status is grpc.StatusCode.NOT_FOUND:
        return CollectionMissing(f"Qdrant at {address}: {detail}")
    if status is grpc.StatusCode.INVALID_ARGUMENT:
        return StoreMismatch(f"Qdrant at {address} does not take this: {detail}")
    if status in _PERMANENT:
        return PermanentError(f"Qdrant at {address} refuses the request: {detail}")
    return StoreUnavailable(
        f"Qdrant at {address} cannot be reached or did not do as asked "
        f"({status.name}: {detail}); check CELERIAC_QDRANT_URL and that the server runs"
    )
