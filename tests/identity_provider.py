"""A real OpenID provider on loopback: its configuration, its keys, and tokens good and forged."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey
from rest_server import Request, Response, RestServer, rest_server

AUDIENCE = "celeriac"
DISCOVERY = "/.well-known/openid-configuration"

Claims = dict[str, Any]


def rsa_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})


@dataclass
class Provider:
    """Signs with `keys[0]` and publishes all of `keys`; a test may change either at any time."""

    server: RestServer
    keys: list[Key] = field(default_factory=lambda: [rsa_key("first")])
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Goes over what its OpenID configuration says."""
    extra_keys: list[object] = field(default_factory=list)
    """Published beside its own."""
    down: bool = False

    @property
    def issuer(self) -> str:
        return self.server.url

    def respond(self, request: Request) -> Response:
        if self.down:
            return Response({"error": "down"}, status=503)
        if request.path == DISCOVERY:
            known = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}
            return Response({**known, **self.configuration})
        if request.path == "/jwks":
            public = [key.as_dict(private=False) for key in self.keys]
            return Response({"keys": [*self.extra_keys, *public]})
        return Response({}, status=404)

    @property
    def fetches(self) -> int:
        """How often its keys were asked for."""
        return len(self.server.to("/jwks"))

    def claims(self, **changes: Any) -> Claims:
        """Good ones; a change to None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "robot",
            "iat": now,
            "exp": now + 600,
            "tenant": "acme",
            "scope": "ai.agent_read ai.agent_manage",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """A token with these claims, signed with the first key."""
        return self.signed(self.claims(**changes), self.keys[0], header)

    def signed(self, claims: Claims, key: Key, header: Mapping[str, Any] | None = None) -> str:
        algorithm = "ES256" if isinstance(key, ECKey) else "RS256"
        header = {"alg": algorithm, "kid": key.kid, **(header or {})}
        header = {name: value for name, value in header.items() if value is not None}
        return jwt.encode(header, claims, key, algorithms=[header["alg"]])

    def token_with(self, header: Mapping[str, Any]) -> str:
        """A token with this header over the usual one, be it one that the library refuses."""
        key = self.keys[0]
        assert isinstance(key, RSAKey)
        assert key.private_key is not None
        head = {"alg": "RS256", "kid": key.kid, **header}
        signed = f"{_part(head)}.{_part(self.claims())}"
        return f"{signed}.{_base64(key.private_key.sign(signed.encode(), PKCS1v15(), SHA256()))}"

    def rotate(self, kid: str) -> None:
        """Sign with another key and forget the one before."""
        self.keys = [rsa_key(kid)]

    def unsigned(self, **changes: Any) -> str:
        """With `alg: none`."""
        return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(self.claims(**changes))}."

    def signed_with_public_key(self) -> str:
        """HS256, the published key as the shared secret: the confusion of algorithms."""
        key = self.keys[0]
        signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': key.kid})}.{_part(self.claims())}"
        digest = hmac.new(key.as_pem(private=False), signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{_base64(digest)}"


def tampered(token: str, **changes: Any) -> str:
    """The token with other claims and the same signature."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"{header}.{_part({**claims, **changes})}.{signature}"


@contextlib.contextmanager
def identity_provider() -> Iterator[Provider]:
    with rest_server(lambda _: Response()) as server:
        provider = Provider(server)
        server.respond = provider.respond
        yield provider


def _part(value: object) -> str:
    return _base64(json.dumps(value).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
