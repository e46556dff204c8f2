"""Snapshots of a Qdrant server's collections, through its REST API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from celeriac.errors import Conflict, NotFound, StoreUnavailable
from celeriac.store.opening import address_of

TIMEOUT = httpx.Timeout(30.0, read=3600.0, write=3600.0)
"""Seconds; a snapshot of a large collection takes minutes to make."""


class Snapshots:
    """Each method raises StoreUnavailable where the server does not do as asked."""

    def __init__(self, url: str, api_key: str | None) -> None:
        headers = {"api-key": api_key} if api_key else {}
        self._address, _ = address_of(url)
        self._client = httpx.Client(base_url=self._address, headers=headers, timeout=TIMEOUT)

    def save(self, collection: str, file: Path) -> None:
        """Write a snapshot of a collection, made now; none is left on the server.

        Raises:
            NotFound: there is no such collection.
        """
        base = f"/collections/{quote(collection, safe='')}/snapshots"
        name = self._ask("POST", base, params={"wait": "true"})["name"]
        one = f"{base}/{quote(name, safe='')}"
        try:
            with self._answers(), self._client.stream("GET", one) as answer:
                answer.raise_for_status()
                with file.open("wb") as written:
                    for part in answer.iter_bytes():
                        written.write(part)
        finally:
            self._ask("DELETE", one, params={"wait": "true"})

    def recover(self, collection: str, file: Path, *, overwrite: bool) -> None:
        """Have a collection be what a snapshot holds.

        Raises:
            Conflict: there is one, and it is not to be overwritten.
        """
        base = f"/collections/{quote(collection, safe='')}"
        if not overwrite and self._ask("GET", f"{base}/exists")["exists"]:
            raise Conflict(
                f"Qdrant has a collection {collection!r} already; name another server in "
                "CELERIAC_QDRANT_URL, or give --overwrite to lose what is there."
            )
        with file.open("rb") as snapshot:
            self._ask(
                "POST",
                f"{base}/snapshots/upload",
                params={"wait": "true", "priority": "snapshot"},
                files={"snapshot": (file.name, snapshot)},
            )

    def _ask(self, method: str, path: str, **parts: Any) -> Any:
        with self._answers():
            answer = self._client.request(method, path, **parts)
            if answer.status_code == HTTPStatus.NOT_FOUND:
                raise NotFound(f"Qdrant at {self._address}: {answer.text}")
            answer.raise_for_status()
            return answer.json()["result"]

    @contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise StoreUnavailable(
                f"Qdrant at {self._address} cannot be reached or did not do as asked ({error}); "
                "check CELERIAC_QDRANT_URL and that the server runs."
            ) from error

    def close(self) -> None:
        self._client.close()
