"""The vector store: a protocol in `base`, Qdrant behind `open_store`."""

from __future__ import annotations

from pathlib import Path

from celeriac.errors import ConfigurationError
from celeriac.store.base import VectorStore

__all__ = ["open_store"]

MEMORY = ":memory:"


def open_store(
    url: str | None = None,
    path: Path | None = None,
    api_key: str | None = None,
    timeout: float = 30.0,
) -> VectorStore:
    """Open the server at `url`, else local mode in the folder `path`, or in memory for ":memory:".

    Nothing is asked of a server yet, so it need not run. `timeout` is in seconds, for one request.

    Raises:
        ConfigurationError: neither is given, or another process has the folder open.
    """
    from celeriac.store.opening import open_local, open_server

    if url == MEMORY:
        return open_local(None)
    if url:
        return open_server(url, api_key, timeout)
    if path is None:
        raise ConfigurationError("no vector store is configured; set CELERIAC_QDRANT_URL")
    return open_local(path)
