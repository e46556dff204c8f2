"""The public keys of one issuer, fetched over HTTP and kept."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, KeySet, RSAKey

from celeriac.configuration.security import Issuer, secure_url
from celeriac.errors import IssuerUnavailable

logger = logging.getLogger(__name__)

REFRESH_AFTER = 600.0
"""Seconds after which the keys are fetched again: so long one that was withdrawn is believed."""
KEEP = 24 * 3600.0
"""Seconds for which keys are used at most while the issuer cannot be reached."""
PAUSE = 30.0
"""Seconds between two attempts, however many tokens name a key that is not there."""
TIMEOUT = 5.0
"""Seconds for one answer of the issuer."""
MAX_BYTES = 262_144
"""Of one answer of the issuer."""
MIN_RSA_BITS = 2048


class _Unusable(Exception):
    """The issuer did not give its keys; the message is for the log."""


class IssuerKeys:
    """Keys by id. Thread-safe; fetches nothing until a key is asked for."""

    def __init__(self, issuer: Issuer, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched_at = self._tried_at = -float("inf")

    def for_key(self, kid: str | None) -> KeySet:
        """The issuer's keys, fetched again where they are old or the one of this id is missing.

        Raises:
            IssuerUnavailable: there are none.
        """
        held = self._holds(kid)
        if held and self._age() < REFRESH_AFTER:
            return self._current()
        # Who finds the key does not wait for somebody else's fetch.
        if self._lock.acquire(blocking=not held):
            try:
                self._refresh(kid)
            finally:
                self._lock.release()
        return self._current()

    def _refresh(self, kid: str | None) -> None:
        fresh = self._holds(kid) and self._age() < REFRESH_AFTER
        if fresh or self._clock() - self._tried_at < PAUSE:
            return
        self._tried_at = self._clock()
        try:
            self._keys = _fetch(self._issuer)
            self._fetched_at = self._tried_at
        except _Unusable as error:
            logger.warning(
                "issuer's keys not fetched",
                extra={"action": "jwks", "issuer": self._issuer.issuer, "error": str(error)},
            )

    def _current(self) -> KeySet:
        if self._keys is None or self._age() > KEEP:
            raise IssuerUnavailable
        return self._keys

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _holds(self, kid: str | None) -> bool:
        keys = self._keys.keys if self._keys else []
        return any(key.kid == kid for key in keys) or (kid is None and len(keys) == 1)


def _fetch(issuer: Issuer) -> KeySet:
    with httpx.Client(timeout=TIMEOUT, headers={"Accept": "application/json"}) as client:
        url = issuer.jwks_url or _discovered(client, issuer.issuer)
        found = _json(client, url).get("keys")
    listed = found if isinstance(found, list) else []
    keys: list[Key] = [key for key in map(_usable, listed) if key is not None]
    if not keys:
        raise _Unusable(f"{url} has no RSA or EC key for signatures")
    return KeySet(keys)


def _discovered(client: httpx.Client, issuer: str) -> str:
    """Where the OpenID configuration says the keys are."""
    where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    found = _json(client, where)
    url = found.get("jwks_uri")
    if found.get("issuer") != issuer:
        raise _Unusable(f"{where} is of another issuer; `issuer` has to be the same to the letter")
    if not isinstance(url, str) or not secure_url(url):
        raise _Unusable(f"{where} names no https `jwks_uri`")
    return url


def _json(client: httpx.Client, url: str) -> Mapping[str, Any]:
    try:
        with client.stream("GET", url) as answer:
            if answer.status_code != HTTPStatus.OK:
                raise _Unusable(f"{url} answered {answer.status_code}")
            found = json.loads(_body(answer.iter_bytes(), url))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
        raise _Unusable(f"{url}: {type(error).__name__}: {error}") from error
    if not isinstance(found, Mapping):
        raise _Unusable(f"{url} answered something else than a JSON object")
    return found


def _body(parts: Iterable[bytes], url: str) -> bytes:
    deadline = time.monotonic() + 2 * TIMEOUT
    body = bytearray()
    for part in parts:
        body += part
        if len(body) > MAX_BYTES or time.monotonic() > deadline:
            raise _Unusable(f"{url} answers too much or too slowly")
    return bytes(body)


def _usable(found: object) -> Key | None:
    """The public half of a key for signatures; None for any other, which others may need."""
    if not isinstance(found, dict) or found.get("use", "sig") != "sig":
        return None
    try:
        key = JWKRegistry.import_key(found)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey):
        return key if key.public_key.key_size >= MIN_RSA_BITS else None
    return key if isinstance(key, ECKey) else None
