"""API keys, and the access tokens that they were exchanged for. No secret is kept, only digests."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, delete, or_, select, update

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.tables import access_tokens, api_keys
from celeriac.errors import ConfigurationError, NotFound
from celeriac.security.secrets import Secret, SecretKind

USE_INTERVAL = 60.0
"""Seconds between two writes of when a key was last used."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A row of the table `api_keys` without what is secret. Times are Unix seconds by the
    database's clock."""

    id: str
    name: str
    tenants: tuple[str, ...]
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None
    last_used_at: float | None
    """To the minute."""
    revoked_at: float | None
    previous_until: float | None
    """Until when the secret before the last rotation is accepted too."""

    def state(self, now: float) -> str:
        """active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        expired = self.expires_at is not None and self.expires_at <= now
        return "expired" if expired else "active"

    def used_lately(self, now: float) -> bool:
        """Whether it is too early to record another use."""
        return self.last_used_at is not None and now - self.last_used_at < USE_INTERVAL


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key as a request finds it."""

    key: ApiKey
    now: float
    """By the database's clock."""
    digest: str = field(repr=False)
    previous_digest: str | None = field(repr=False)

    @property
    def state(self) -> str:
        """active, expired or revoked."""
        return self.key.state(self.now)

    def accepts(self, secret: Secret) -> bool:
        """Whether the secret is the key's, whatever its state."""
        if secret.matches(self.digest):
            return True
        until = self.key.previous_until
        return secret.matches(self.previous_digest) and until is not None and self.now < until


@dataclass(frozen=True, slots=True)
class FoundToken:
    """An access token as a request finds it, with the key it was given for."""

    key: ApiKey
    now: float
    scopes: tuple[str, ...]
    expires_at: float
    digest: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """An access token that has just been made."""

    secret: Secret
    expires_in: int
    """Seconds."""


class ApiKeys:
    """Rows of the tables `api_keys` and `access_tokens`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        *,
        tenants: Collection[str],
        scopes: Collection[str],
        name: str = "",
        lifetime: float | None = None,
    ) -> tuple[ApiKey, Secret]:
        """A new key and its secret, which is not to be had again; `lifetime` in seconds."""
        secret = Secret.new(SecretKind.API_KEY)
        statement = (
            api_keys.insert()
            .values(
                id=secret.id,
                name=name,
                digest=secret.digest,
                tenants=sorted(set(tenants)),
                scopes=sorted(set(scopes)),
                created_at=epoch_now(),
                expires_at=_after(lifetime),
            )
            .returning(api_keys)
        )
        with self._database.write() as connection:
            return _key(connection.execute(statement).one()), secret

    def all(self) -> list[FoundKey]:
        """Every key, the newest first."""
        query = select(api_keys, epoch_now().label("now")).order_by(api_keys.c.created_at.desc())
        with self._database.read() as connection:
            return [_found(row) for row in connection.execute(query)]

    def find(self, key_id: str) -> FoundKey | None:
        """The key as it is now."""
        query = select(api_keys, epoch_now().label("now")).where(api_keys.c.id == key_id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return _found(row) if row else None

    def find_token(self, token_id: str) -> FoundToken | None:
        """The access token and its key as they are now."""
        query = (
            select(
                api_keys,
                access_tokens.c.scopes.label("token_scopes"),
                access_tokens.c.digest.label("token_digest"),
                access_tokens.c.expires_at.label("token_expires_at"),
                epoch_now().label("now"),
            )
            .join(access_tokens, access_tokens.c.key_id == api_keys.c.id)
            .where(access_tokens.c.id == token_id)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        scopes = tuple(row.token_scopes)
        return FoundToken(_key(row), row.now, scopes, row.token_expires_at, row.token_digest)

    def used(self, key_id: str) -> None:
        """Record that the key was used; written once a minute at most."""
        last = api_keys.c.last_used_at
        stale = or_(last.is_(None), last < epoch_now() - USE_INTERVAL)
        statement = (
            update(api_keys).where(api_keys.c.id == key_id, stale).values(last_used_at=epoch_now())
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def rotate(
        self, key_id: str, *, overlap: float, lifetime: float | None = None
    ) -> tuple[ApiKey, Secret]:
        """Give the key another secret; the one before goes on for `overlap` seconds.

        `lifetime`, seconds from now, becomes the key's; it keeps its own where None. A secret from
        before the last rotation ends at once, and access tokens end with the overlap.

        Raises:
            NotFound: there is no such key.
            ConfigurationError: the key is revoked, or has expired and gets no new lifetime.
        """
        self._require_rotatable(key_id, lifetime)
        secret = Secret.new(SecretKind.API_KEY, key_id)
        values: dict[str, Any] = {
            "digest": secret.digest,
            "previous_digest": api_keys.c.digest,
            "previous_until": epoch_now() + overlap,
        }
        if lifetime is not None:
            values["expires_at"] = _after(lifetime)
        rotate = (
            update(api_keys)
            .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            .values(**values)
            .returning(api_keys)
        )
        with self._database.write() as connection:
            row = connection.execute(rotate).one_or_none()
            if row is None:
                raise _revoked(key_id)
            connection.execute(_end_tokens(key_id, overlap))
        return _key(row), secret

    def _require_rotatable(self, key_id: str, lifetime: float | None) -> None:
        found = self._required(key_id)
        if found.state == "revoked":
            raise _revoked(key_id)
        if found.state == "expired" and lifetime is None:
            raise ConfigurationError(
                f"The key {key_id} has expired; give it a new lifetime: --expires 90d."
            )

    def revoke(self, key_id: str) -> ApiKey:
        """End a key and its access tokens; the row stays, for the record. Again is no error.

        Raises:
            NotFound: there is no such key.
        """
        statement = (
            update(api_keys)
            .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=epoch_now())
        )
        with self._database.write() as connection:
            connection.execute(statement)
            connection.execute(delete(access_tokens).where(access_tokens.c.key_id == key_id))
        return self._required(key_id).key

    def _required(self, key_id: str) -> FoundKey:
        found = self.find(key_id)
        if found is None:
            raise NotFound(f"There is no key {key_id!r}; see 'celeriac keys list'.")
        return found

    def issue_token(
        self, key_id: str, scopes: Collection[str], lifetime: float
    ) -> IssuedToken | None:
        """An access token for a key, ending with it at the latest; None where the key has ended.

        Tokens that have expired are removed on the way.
        """
        found = self.find(key_id)
        if found is None or found.state != "active":
            return None
        ends = min(found.now + lifetime, found.key.expires_at or float("inf"))
        secret = Secret.new(SecretKind.ACCESS_TOKEN)
        with self._database.write() as connection:
            connection.execute(
                delete(access_tokens).where(access_tokens.c.expires_at < epoch_now())
            )
            connection.execute(
                access_tokens.insert().values(
                    id=secret.id,
                    key_id=key_id,
                    digest=secret.digest,
                    scopes=sorted(set(scopes)),
                    expires_at=ends,
                )
            )
        return IssuedToken(secret, max(1, int(ends - found.now)))


def _after(seconds: float | None) -> Any:
    return None if seconds is None else epoch_now() + seconds


def _end_tokens(key_id: str, overlap: float) -> Any:
    """Access tokens were given for the secret that ends."""
    ends = epoch_now() + overlap
    return (
        update(access_tokens)
        .where(access_tokens.c.key_id == key_id, access_tokens.c.expires_at > ends)
        .values(expires_at=ends)
    )


def _revoked(key_id: str) -> ConfigurationError:
    return ConfigurationError(f"The key {key_id} is revoked; make another: celeriac keys create.")


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        tenants=tuple(row.tenants),
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        previous_until=row.previous_until,
    )


def _found(row: Row[Any]) -> FoundKey:
    return FoundKey(_key(row), row.now, row.digest, row.previous_digest)
