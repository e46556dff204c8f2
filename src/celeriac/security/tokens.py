"""JSON Web Tokens of identity providers."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jws import JWSRegistry

from celeriac.configuration.security import Issuer
from celeriac.errors import EXPIRED, Unauthenticated
from celeriac.security.keysets import IssuerKeys
from celeriac.security.principal import Principal
from celeriac.security.secrets import digest_of

LEEWAY = 60
"""Seconds that the issuer's clock may be off."""
MAX_LENGTH = 8192
"""Characters of a token."""
MAX_HEADER = 4096
FAR = 2**53
"""Unix seconds beyond any use; a token may carry a larger number than floats can hold."""

_TYPES = ("jwt", "at+jwt", "application/at+jwt")
_PARTS = 3


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token that is what it says."""

    principal: Principal
    expires_at: float
    """Unix seconds, leeway included."""


class TokenVerifier:
    """Verifies tokens of the configured issuers."""

    def __init__(
        self, issuers: Collection[Issuer], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuers = {
            issuer.issuer: _IssuerTokens(issuer, IssuerKeys(issuer, clock)) for issuer in issuers
        }

    def verify(self, token: str) -> VerifiedToken:
        """Who presents the token.

        Raises:
            Unauthenticated: it is not valid; the message says why.
            IssuerUnavailable: its issuer's keys cannot be had.
        """
        header, claims = _unverified(token)
        issuer = claims.get("iss")
        tokens = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if tokens is None:
            raise _invalid("its issuer is not one that this service trusts")
        return tokens.verify(token, header)


class _IssuerTokens:
    def __init__(self, issuer: Issuer, keys: IssuerKeys) -> None:
        self._issuer = issuer
        self._keys = keys
        # Extension headers are for those who know them; what is critical is still refused.
        self._registry = JWSRegistry(algorithms=issuer.algorithms, strict_check_header=False)
        self._registry.max_header_length = MAX_HEADER
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": issuer.issuer},
            aud={"essential": True, "value": issuer.audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    def verify(self, token: str, header: Mapping[str, Any]) -> VerifiedToken:
        claims = self._verified(token, header)
        try:
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise Unauthenticated("The access token has expired.", EXPIRED) from None
        except (MissingClaimError, InvalidClaimError) as error:
            raise _invalid(f"its claim {error.claim} is missing or is not as it must be") from None
        return VerifiedToken(self._principal(claims), min(claims["exp"], FAR) + LEEWAY)

    def _verified(self, token: str, header: Mapping[str, Any]) -> dict[str, Any]:
        """The claims of a token whose signature is the issuer's."""
        # Only these parts of the header count: a key that the token itself brings or points to
        # (jwk, jku, x5c, x5u) proves nothing.
        kid, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ", "JWT")
        if algorithm not in self._issuer.algorithms:
            raise _invalid("it is not signed with an algorithm that is accepted for its issuer")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise _invalid("it is not an access token (typ)")
        if kid is not None and not isinstance(kid, str):
            raise _invalid("its kid is not text")
        keys = self._keys.for_key(kid)
        try:
            return jwt.decode(token, keys, registry=self._registry).claims
        except (JoseError, ValueError, TypeError, RecursionError):
            raise _invalid("its signature is not one of its issuer's keys") from None

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        named = frozenset(filter(str.strip, _texts(claims.get(self._issuer.tenant_claim))))
        allowed = self._issuer.tenants
        scopes = (*_words(claims.get("scope")), *_words(claims.get("scp")))
        subject: str = claims["sub"]
        return Principal(
            subject=subject,
            tenants=named if allowed is None else named & allowed,
            scopes=frozenset(scopes),
            credential=digest_of(f"{self._issuer.issuer}\n{subject}"),
        )


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as they are written, believed by nobody: they say whose key to try."""
    if len(token) > MAX_LENGTH:
        raise _invalid(f"it is longer than {MAX_LENGTH} characters")
    parts = token.split(".")
    if len(parts) != _PARTS:
        raise Unauthenticated("This is neither a key nor a token that this service knows.")
    return _object(parts[0]), _object(parts[1])


def _object(part: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _invalid("it cannot be read")
    return found


def _words(value: object) -> list[str]:
    """The words of a text, or of a list of texts: providers write scopes either way."""
    return [word for text in _texts(value) for word in text.split()]


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def _invalid(why: str) -> Unauthenticated:
    return Unauthenticated(f"The access token is not valid: {why}.")
