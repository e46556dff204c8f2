"""HTTP with JSON answers: attempts, waiting, limits, and errors that keep secrets."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import httpx

from celeriac.errors import SourceError, SourceUnavailable
from celeriac.sources.retry import RetryPolicy, retry_after_seconds

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 120.0
"""For one whole answer, however steadily it trickles in."""
MAX_REDIRECTS = 5

_BUSY = frozenset({408, 425, 429})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SERVER_ERROR = 500
_REMEDIES = {
    400: "check the source's `params` and `pagination`",
    401: "check the source's `auth`: the credentials are missing, wrong or expired",
    403: "check the source's `auth`: the credentials lack a right or scope",
    404: "check the source's `url`",
    406: "check the source's `headers`",
    410: "check the source's `url`",
    413: "lower the source's `page_size`",
    414: "shorten the source's `params`",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer of status 2xx."""

    url: httpx.URL
    """Where it came from, after redirects."""
    body: Any
    headers: httpx.Headers
    bytes_read: int
    """Of the body, decompressed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one answer may take."""

    timeout: float
    """Seconds for a connection, and between two parts of an answer."""
    max_response_bytes: int


class Refused(SourceError):
    """The server refused the request for good."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class RestClient:
    """Sends requests and repeats those that may succeed later. Thread-safe."""

    def __init__(
        self,
        limits: Limits,
        policy: RetryPolicy,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        logging.getLogger("httpx").addFilter(_hide_query)
        timeout = httpx.Timeout(limits.timeout, connect=min(limits.timeout, CONNECT_SECONDS))
        self._http = httpx.Client(timeout=timeout, follow_redirects=False, transport=transport)
        self._limits = limits
        self._policy = policy
        self._sleep = sleep

    def request(
        self,
        method: str,
        url: httpx.URL,
        *,
        headers: Mapping[str, str],
        params: httpx.QueryParams | None = None,
        form: Mapping[str, str] | None = None,
    ) -> httpx.Request:
        """A request to `send`; `params` replace those of the URL."""
        return self._http.build_request(method, url, headers=headers, params=params, data=form)

    def send(self, request: httpx.Request) -> Answer:
        """The answer to a request that may be repeated.

        Raises:
            SourceUnavailable: every attempt failed in a way that may pass; `retry_after` is what
                the server asked for last.
            Refused: with a status that will not pass.
            SourceError: a redirect to another origin, or too large an answer.
        """
        attempts, began = 0, time.monotonic()
        while True:
            attempts += 1
            try:
                return self._follow(request)
            except SourceUnavailable as error:
                jitter = random.random()  # noqa: S311 - spreads load
                elapsed = time.monotonic() - began
                delay = self._policy.delay(attempts, elapsed, error.retry_after, jitter)
                if delay is None:
                    raise SourceUnavailable(
                        f"{error} ({attempts} attempts)", retry_after=error.retry_after
                    ) from error
            self._sleep(delay)

    def close(self) -> None:
        self._http.close()

    def _follow(self, request: httpx.Request) -> Answer:
        for _ in range(MAX_REDIRECTS):
            answer = self._attempt(request)
            if isinstance(answer, Answer):
                return answer
            request = _redirected(request, answer)
        raise SourceError(f"{shown(request.url)} redirects without end; check the source's `url`.")

    def _attempt(self, request: httpx.Request) -> Answer | str:
        """The answer, or where the server redirects to."""
        where = shown(request.url)
        try:
            response = self._http.send(request, stream=True)
            try:
                if response.status_code in _REDIRECTS:
                    return str(response.headers.get("Location", ""))
                _check_status(response, where)
                content = self._read(response, where)
            finally:
                response.close()
        except httpx.TimeoutException as error:
            raise SourceUnavailable(
                f"{where} did not answer within {self._limits.timeout:g} s."
            ) from error
        except httpx.LocalProtocolError:
            raise SourceError(
                f"The request for {where} is not valid HTTP; check the source's `headers` and "
                "`auth` for characters that cannot stand in a header."
            ) from None  # the cause quotes the header
        except httpx.TransportError as error:
            raise SourceUnavailable(
                f"{where} cannot be reached, or broke off: {error or type(error).__name__}."
            ) from error
        return Answer(
            request.url, _parsed(response, content, where), response.headers, len(content)
        )

    def _read(self, response: httpx.Response, where: str) -> bytes:
        content = bytearray()
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            for part in response.iter_bytes():
                content += part
                if len(content) > self._limits.max_response_bytes:
                    raise SourceError(
                        f"{where} sent more than {self._limits.max_response_bytes} bytes; lower "
                        "the source's `page_size` or raise its `max_response_bytes`."
                    )
                if time.monotonic() > deadline:
                    raise SourceUnavailable(f"{where} took more than {ANSWER_SECONDS:g} s.")
        except httpx.DecodingError as error:
            raise SourceUnavailable(f"{where} sent a broken compression: {error}.") from error
        return bytes(content)


def shown(url: httpx.URL) -> str:
    """A URL as messages may show it: without user, password, query and fragment."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether scheme, host and port agree (RFC 6454)."""
    return (one.scheme, one.host, _port(one)) == (other.scheme, other.host, _port(other))


def _port(url: httpx.URL) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)


def _check_status(response: httpx.Response, where: str) -> None:
    status = response.status_code
    said = f"{where} answered {status} {response.reason_phrase}".rstrip()
    if status in _BUSY or status >= _SERVER_ERROR:
        raise SourceUnavailable(f"{said}.", retry_after=retry_after_seconds(response.headers))
    if not response.is_success:
        remedy = _REMEDIES.get(status, "check the source's `url` and `params`")
        raise Refused(f"{said}; {remedy}.", status)


def _redirected(request: httpx.Request, location: str) -> httpx.Request:
    """The request to where a redirect within the origin leads; its headers go along."""
    where = shown(request.url)
    try:
        target = httpx.URL(urljoin(str(request.url), location))
    except (httpx.InvalidURL, ValueError):
        raise SourceError(f"{where} redirects to what is no URL.") from None
    if not location or not same_origin(request.url, target):
        raise SourceError(
            f"{where} redirects to another origin, {shown(target)}, which is not followed with "
            "credentials; if that is the right place, set it as the source's `url`."
        )
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
    return httpx.Request(request.method, target, headers=headers, content=request.content)


def _parsed(response: httpx.Response, content: bytes, where: str) -> Any:
    if response.status_code == httpx.codes.NO_CONTENT:
        return []
    try:
        return _loaded(content)
    except RecursionError:
        raise SourceError(f"{where} sent JSON that is nested too deeply to be read.") from None
    except ValueError as error:
        kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
        raise SourceUnavailable(
            f"{where} sent {len(content)} bytes of {kind} that are not whole JSON: {error}."
        ) from error


def _loaded(content: bytes) -> Any:
    """JSON; bytes that are not UTF-8 become lone surrogates, for one entity's sake."""
    try:
        return json.loads(content)
    except UnicodeDecodeError:
        return json.loads(content.decode("utf-8", "surrogateescape"))


def _hide_query(record: logging.LogRecord) -> bool:
    """Keep the parameters of requests, keys among them, out of httpx's log."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            shown(argument) if isinstance(argument, httpx.URL) else argument
            for argument in record.args
        )
    return True
