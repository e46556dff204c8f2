"""Documents at URLs that tenants give."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

from celeriac.documents import READABLE, media_type_of
from celeriac.errors import (
    ConfigurationError,
    EmptyDocument,
    SourceUnavailable,
    TooLarge,
    UnreadableDocument,
)
from celeriac.public_network import Network, PublicTransport

TIMEOUT = 10.0
"""Seconds to wait for a connection, and for each part of an answer."""
WHOLE = 20.0
"""Seconds for everything together, redirects included."""
MAX_REDIRECTS = 5
HEADERS = {"User-Agent": "celeriac", "Accept": "text/html, text/plain, text/markdown, */*;q=0.1"}


@dataclass(frozen=True, slots=True)
class WebDocument:
    """What was found at a URL."""

    url: str
    """Where it was in the end, after redirects."""
    content: bytes
    media_type: str
    """With its `charset`, where the server names one."""

    @property
    def name(self) -> str:
        """The last part of its path, or its host."""
        url = httpx.URL(self.url)
        return unquote(url.path.rstrip("/").rpartition("/")[2]) or url.host


def fetch(url: str, allowed: Sequence[Network] = (), *, max_bytes: int) -> WebDocument:
    """What is at a URL on the public internet, or in a network that is allowed.

    Raises:
        ConfigurationError: it is no http or https URL, or the server refuses it.
        ForbiddenAddress: it, or a redirect of it, leads into an internal network.
        SourceUnavailable: it does not answer as it should for now.
        TooLarge, EmptyDocument, UnreadableDocument: of its content.
    """
    deadline = time.monotonic() + WHOLE
    with httpx.Client(
        transport=PublicTransport(allowed), timeout=TIMEOUT, headers=HEADERS, trust_env=False
    ) as client:
        place = _checked(url)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with client.stream("GET", place) as answer:
                    if not answer.is_redirect:
                        return _document(answer, deadline, max_bytes)
                    place = _checked(str(place.join(answer.headers.get("Location", ""))))
            except httpx.HTTPError as error:
                raise SourceUnavailable(f"{place.host} does not answer: {error}") from None
    raise ConfigurationError(f"The URL redirects more than {MAX_REDIRECTS} times.")


def _checked(url: str) -> httpx.URL:
    try:
        place = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"The URL is not valid: {error}") from None
    if place.scheme not in ("http", "https") or not place.host:
        raise ConfigurationError("The URL must begin with http:// or https:// and a host.")
    return place.copy_with(userinfo=b"", fragment=None)


def _document(answer: httpx.Response, deadline: float, max_bytes: int) -> WebDocument:
    if answer.is_server_error:
        raise SourceUnavailable(f"{answer.url.host} answers {answer.status_code} for now.")
    if not answer.is_success:
        raise ConfigurationError(f"{answer.url.host} answers {answer.status_code} to this URL.")
    content = bytearray()
    for part in answer.iter_bytes():
        content += part
        if len(content) > max_bytes:
            raise TooLarge(f"The document has more than {max_bytes} bytes, which is the most.")
        if time.monotonic() > deadline:
            raise SourceUnavailable(f"{answer.url.host} sends too slowly.")
    if not content.strip():
        raise EmptyDocument
    return WebDocument(str(answer.url), bytes(content), _media_type(answer))


def _media_type(answer: httpx.Response) -> str:
    declared = answer.headers.get("Content-Type", "").strip()
    if declared.partition(";")[0].strip().lower() in READABLE:
        return str(declared)
    by_name = media_type_of(answer.url.path)
    if by_name is None:
        raise UnreadableDocument(
            f"Documents of type {declared or 'unknown'!r} cannot be read; "
            f"{', '.join(sorted(READABLE))} can."
        )
    return by_name
