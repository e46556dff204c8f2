"""Secrets that celeriac gives out: API keys and access tokens.

    clr_5d0c1f2e9a7b4c38_<64 hexadecimal digits>      an API key
    clt_...                                           an access token

The prefix says what it is, to people and to scanners of source code; the id is looked up, the
secret has 256 random bits. Only the secret's SHA-256 is kept: there is nothing to guess that a
slow hash would protect.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

ID_BYTES = 8
SECRET_BYTES = 32

_FORMAT = re.compile(r"(?P<kind>clr|clt)_(?P<id>[0-9a-f]{16})_(?P<secret>[0-9a-f]{64})\Z")


class SecretKind(StrEnum):
    """What a secret is; its prefix."""

    API_KEY = "clr"
    ACCESS_TOKEN = "clt"


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret in its parts."""

    kind: SecretKind
    id: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls, kind: SecretKind, id: str | None = None) -> Secret:
        """A random one; under this id, or under a random one too."""
        return cls(kind, id or secrets.token_hex(ID_BYTES), secrets.token_hex(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Secret | None:
        """The parts of a text that has the format; None for any other."""
        match = _FORMAT.match(text)
        return cls(SecretKind(match["kind"]), match["id"], match["secret"]) if match else None

    def reveal(self) -> str:
        """As it is presented."""
        return f"{self.kind}_{self.id}_{self.secret}"

    @property
    def digest(self) -> str:
        """What is kept of it."""
        return digest_of(self.secret)

    def matches(self, digest: str | None) -> bool:
        """Whether its digest is this one, compared in constant time."""
        return digest is not None and hmac.compare_digest(self.digest, digest)


def digest_of(secret: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
