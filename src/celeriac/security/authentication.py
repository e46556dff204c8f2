"""From what a request presents to the principal behind it."""

from __future__ import annotations

import hmac
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from celeriac.catalog.api_keys import ApiKey, ApiKeys
from celeriac.configuration.security import Issuer
from celeriac.errors import EXPIRED, INVALID, CatalogUnavailable, RateLimited, Unauthenticated
from celeriac.security.limits import RateLimits, network
from celeriac.security.principal import BOOTSTRAP, Principal, tenants_of
from celeriac.security.secrets import Secret, SecretKind, digest_of
from celeriac.security.tokens import TokenVerifier

logger = logging.getLogger(__name__)

KEY_TRUST = 5.0
"""Seconds for which a key that was found valid is not looked up again: so late at most a
revocation takes effect in each process."""
TOKEN_TRUST = 60.0
"""The same of an identity provider's token, whose signature is verified; not beyond its end."""
CACHED = 4096
"""Credentials remembered at most."""


@dataclass(frozen=True, slots=True)
class _Accepted:
    principal: Principal
    until: float
    """On the monotonic clock."""


class Authenticator:
    """Tells who presents a credential. Thread-safe; opens the catalog when it is first needed."""

    def __init__(
        self,
        *,
        bootstrap_key: str | None,
        issuers: Collection[Issuer],
        keys: Callable[[], ApiKeys],
        limits: Callable[[], RateLimits],
        failures_per_minute: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bootstrap = digest_of(bootstrap_key) if bootstrap_key else None
        self._tokens = TokenVerifier(issuers, clock)
        self._keys = keys
        self._limits = limits
        self._failures_per_minute = failures_per_minute
        self._clock = clock
        self._accepted: OrderedDict[str, _Accepted] = OrderedDict()
        self._lock = threading.Lock()

    def authenticate(self, presented: str, address: str | None) -> Principal:
        """The principal behind what a request from this address presents.

        Raises:
            Unauthenticated: there is none.
            RateLimited: too much from this address was not valid of late. What was valid before
                is not refused for it.
            DependencyUnavailable: the catalog or the token's issuer is away.
        """
        digest = digest_of(presented)
        if self._bootstrap is not None and hmac.compare_digest(digest, self._bootstrap):
            return BOOTSTRAP
        known = self._recall(digest)
        if known is not None and self._clock() < known.until:
            return known.principal
        failures = f"failures:{network(address)}" if network(address) else None
        if known is None and failures is not None:
            self._limits().check(failures, self._failures_per_minute)
        try:
            accepted = self._verified(presented)
        except Unauthenticated as error:
            self._refused(digest, failures, error)
            raise
        self._remember(digest, accepted)
        return accepted.principal

    def _verified(self, presented: str) -> _Accepted:
        secret = Secret.parse(presented)
        if secret is None:
            token = self._tokens.verify(presented)
            return self._trusted(token.principal, TOKEN_TRUST, token.expires_at - time.time())
        return self._key(secret) if secret.kind == SecretKind.API_KEY else self._token(secret)

    def _key(self, secret: Secret) -> _Accepted:
        found = self._keys().find(secret.id)
        if found is None or not found.accepts(secret):
            raise Unauthenticated("The API key is not valid.")
        return self._active(found.key, found.key.scopes, found.now)

    def _token(self, secret: Secret) -> _Accepted:
        found = self._keys().find_token(secret.id)
        if found is None or not secret.matches(found.digest):
            raise Unauthenticated("The access token is not valid, or expired some time ago.")
        if found.expires_at <= found.now:
            raise Unauthenticated("The access token has expired.", EXPIRED)
        return self._active(found.key, found.scopes, found.now, found.expires_at)

    def _active(
        self, key: ApiKey, scopes: Collection[str], now: float, ends: float = math.inf
    ) -> _Accepted:
        """What a key stands for that is in force; its state is told only to who has the secret."""
        state = key.state(now)
        if state != "active":
            code = EXPIRED if state == "expired" else INVALID
            raise Unauthenticated(f"The API key {key.id} is {state}.", code)
        self._use(key, now)
        ends = min(ends, key.expires_at or math.inf)
        return self._trusted(_principal(key, scopes), KEY_TRUST, ends - now)

    def _trusted(self, principal: Principal, *seconds: float) -> _Accepted:
        return _Accepted(principal, self._clock() + min(seconds))

    def _use(self, key: ApiKey, now: float) -> None:
        if key.used_lately(now):
            return
        try:
            self._keys().used(key.id)
        except CatalogUnavailable as error:
            logger.warning("key's use not recorded", extra={"action": "key", "error": str(error)})

    def _refused(self, digest: str, failures: str | None, error: Unauthenticated) -> None:
        with self._lock:
            self._accepted.pop(digest, None)
        logger.warning(
            "authentication failed",
            extra={"action": "authenticate", "counted": failures, "error": str(error)},
        )
        if failures is not None:
            try:
                self._limits().spend(failures, self._failures_per_minute)
            except RateLimited:
                return  # others were faster; this one gets its answer

    def _recall(self, digest: str) -> _Accepted | None:
        with self._lock:
            known = self._accepted.get(digest)
            if known is not None:
                self._accepted.move_to_end(digest)
            return known

    def _remember(self, digest: str, accepted: _Accepted) -> None:
        with self._lock:
            self._accepted[digest] = accepted
            self._accepted.move_to_end(digest)
            while len(self._accepted) > CACHED:
                self._accepted.popitem(last=False)


def _principal(key: ApiKey, scopes: Collection[str]) -> Principal:
    return Principal(
        subject=f"key:{key.id}",
        tenants=tenants_of(key.tenants),
        scopes=frozenset(scopes),
        credential=key.id,
        key_id=key.id,
    )
