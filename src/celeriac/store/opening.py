"""Opening the store: a connection to a server, or local mode in a folder."""

from __future__ import annotations

import logging
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from qdrant_client import QdrantClient, grpc

from celeriac.errors import ConfigurationError
from celeriac.store.collections import Collections
from celeriac.store.failures import local_errors, server_errors
from celeriac.store.qdrant import QdrantStore
from celeriac.store.readers import LocalReader, ServerReader
from celeriac.store.writers import LocalWriter, ServerWriter

PING_SECONDS = 3.0
_DEFAULT_PORT = 6333

# A server that is back is found again within two seconds, a connection that a network has dropped
# in silence within forty. The minimal backoff is also how long connecting may take.
_GRPC_OPTIONS = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 5000,
    "grpc.max_reconnect_backoff_ms": 2000,
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
}

_log = logging.getLogger(__name__)


def open_server(url: str, api_key: str | None = None, timeout: float = 30.0) -> QdrantStore:
    """Connect to a server, lazily; `timeout` is the seconds one request may take.

    gRPC is expected one port above the URL's (6333 where it has none);
    `?grpc_port=` at the URL's end names another.

    Raises:
        ConfigurationError: the URL is not one of a server.
    """
    address, grpc_port = address_of(url)
    client = _server_client(address, grpc_port, api_key, timeout)
    # The channels are made here, by one thread; they connect with the first call.
    _ = client.grpc_points, client.grpc_collections

    def ping() -> None:
        request = grpc.CollectionExistsRequest(collection_name="celeriac")
        client.grpc_collections.CollectionExists(request, timeout=min(timeout, PING_SECONDS))

    return QdrantStore(
        client,
        guard=partial(server_errors, f"{address} (gRPC on port {grpc_port})"),
        writer=ServerWriter(client, timeout),
        reader=ServerReader(client, timeout),
        ping=ping,
        collections=Collections(client, indexed=True),
        approximate=True,
    )


def open_local(folder: Path | None) -> QdrantStore:
    """Open local mode in a folder that no other process has open, or in memory for None.

    Raises:
        ConfigurationError: another process has the folder open.
    """
    if folder is None:
        client = QdrantClient(":memory:", force_disable_check_same_thread=True)
        created = None
    else:
        client = _local_client(folder)
        created = partial(_log_ahead, folder)
    turn = threading.RLock()  # local mode is not safe to call from several threads

    @contextmanager
    def guard() -> Iterator[None]:
        with turn, local_errors(str(folder or "memory")):
            yield

    return QdrantStore(
        client,
        guard=guard,
        writer=LocalWriter(client),
        reader=LocalReader(client),
        ping=client.get_collections,
        collections=Collections(client, indexed=False, created=created),
        approximate=False,
    )


def address_of(url: str) -> tuple[str, int]:
    """The URL without its secrets, and the port of gRPC."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORT
        grpc_port = int(parse_qs(parts.query).get("grpc_port", [str(port + 1)])[0])
    except ValueError as error:
        raise ConfigurationError(f"CELERIAC_QDRANT_URL has no valid port: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            "CELERIAC_QDRANT_URL is not the URL of a server; it looks like http://localhost:6333"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}", grpc_port


def _server_client(
    address: str, grpc_port: int, api_key: str | None, timeout: float
) -> QdrantClient:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
        client = QdrantClient(
            url=address,
            grpc_port=grpc_port,
            prefer_grpc=True,
            api_key=api_key,
            timeout=max(1, round(timeout)),
            grpc_options=dict(_GRPC_OPTIONS),
            check_compatibility=False,
        )
    if api_key and address.startswith("http:"):
        _log.warning("the API key travels to Qdrant at %s without encryption", address)
    return client


def _local_client(folder: Path) -> QdrantClient:
    try:
        with local_errors(str(folder)):
            return QdrantClient(path=str(folder), force_disable_check_same_thread=True)
    except RuntimeError as error:
        raise ConfigurationError(
            f"the vector store in {folder} is open in another process; stop that one, or run "
            "a Qdrant server for several processes and set CELERIAC_QDRANT_URL"
        ) from error


def _log_ahead(folder: Path, collection: str) -> None:
    """Switch a collection's file to a write-ahead log, for good.

    Local mode commits point by point; a commit then takes one wait for the disk in place of three.
    """
    file = folder / "collection" / collection / "storage.sqlite"
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
