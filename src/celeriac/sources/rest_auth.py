"""How requests to a REST source are authenticated. Secrets stay out of messages and reprs."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol

import httpx

from celeriac.errors import SourceError
from celeriac.sources.rest_client import Refused, RestClient, shown

EARLIEST_RENEWAL = 60.0
"""Seconds before its end at which a token is renewed, at most..."""
RENEWAL_SHARE = 0.1
"""...and for tokens of a short life this part of it."""


class Credentials(Protocol):
    """What authenticates requests. Thread-safe."""

    def headers(self) -> Mapping[str, str]:
        """The headers to send; errors as of `RestClient.send` where they have to be fetched."""
        ...

    def renew(self, refused: Mapping[str, str]) -> bool:
        """After a 401 to these headers: whether `headers` would now give others."""
        ...


@dataclass(frozen=True, slots=True)
class FixedCredentials:
    """Headers that stay the same."""

    fixed: Mapping[str, str] = field(repr=False)

    def headers(self) -> Mapping[str, str]:
        return self.fixed

    def renew(self, refused: Mapping[str, str]) -> bool:  # noqa: ARG002 - the protocol's
        return False


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float
    """On the monotonic clock."""


class ClientCredentials:
    """OAuth 2 client credentials (RFC 6749, section 4.4); the token is renewed before it ends."""

    def __init__(
        self,
        client: RestClient,
        token_url: str,
        form: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._url = httpx.URL(token_url)
        self._form = dict(form)
        self._clock = clock
        self._token: _Token | None = None
        self._lock = Lock()

    def headers(self) -> Mapping[str, str]:
        with self._lock:  # one thread fetches, the others wait for its token
            if self._token is None or self._clock() >= self._token.renew_at:
                self._token = self._fetch()
            return {"Authorization": f"Bearer {self._token.value}"}

    def renew(self, refused: Mapping[str, str]) -> bool:
        with self._lock:
            if self._token and refused.get("Authorization") == f"Bearer {self._token.value}":
                self._token = None
        return True

    def _fetch(self) -> _Token:
        asked_at = self._clock()
        where = shown(self._url)
        request = self._client.request(
            "POST", self._url, headers={"Accept": "application/json"}, form=self._form
        )
        try:
            answer = self._client.send(request)
        except Refused as error:
            raise SourceError(
                f"{where} gave no token (status {error.status}); check `client_id`, "
                "`client_secret` and `scope` of the source's `auth`."
            ) from error
        value = answer.body.get("access_token") if isinstance(answer.body, dict) else None
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise SourceError(f"{where} answered without an `access_token`; check `token_url`.")
        life = _seconds(answer.body.get("expires_in"))
        return _Token(value, asked_at + life - min(EARLIEST_RENEWAL, RENEWAL_SHARE * life))


def credentials(auth: Mapping[str, Any] | None, client: RestClient) -> Credentials:
    """What loaded options of `auth` describe."""
    match auth:
        case None:
            return FixedCredentials({})
        case {"kind": "bearer", "token": str(token)}:
            return FixedCredentials({"Authorization": f"Bearer {token}"})
        case {"kind": "api_key", "header": str(header), "value": str(value)}:
            return FixedCredentials({header: value})
        case {"kind": "basic", "username": str(username), "password": str(password)}:
            pair = base64.b64encode(f"{username}:{password}".encode()).decode()
            return FixedCredentials({"Authorization": f"Basic {pair}"})
        case _:
            form = {
                "grant_type": "client_credentials",
                "client_id": auth["client_id"],
                "client_secret": auth["client_secret"],
            }
            if auth["scope"]:
                form["scope"] = auth["scope"]
            return ClientCredentials(client, auth["token_url"], form)


def _seconds(expires_in: object) -> float:
    """A token's life; one that does not say is used until it is refused."""
    try:
        return max(0.0, float(str(expires_in)))
    except ValueError:
        return float("inf")
