"""The section `security`: whose tokens are accepted, and how often anybody may ask."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from urllib.parse import urlsplit

from marshmallow import Schema, ValidationError, fields, post_load
from marshmallow.validate import Length, OneOf, Range

from celeriac.configuration.fields import NetworkAddress, WholeNumber
from celeriac.configuration.names import TENANT_NAME

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
)
"""Asymmetric ones alone: a public key must never pass for a shared secret."""
DEFAULT_ALGORITHMS = ("RS256", "ES256")


@dataclass(frozen=True, slots=True)
class Issuer:
    """An identity provider whose tokens are accepted."""

    issuer: str
    """The token's `iss`, to the letter."""
    audience: str
    """What has to be in the token's `aud`."""
    jwks_url: str | None = None
    """Where its keys are; None: where its OpenID configuration says."""
    tenant_claim: str = "tenant"
    tenants: frozenset[str] | None = None
    """The tenants it may speak for; None: whatever its tokens say."""
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS


@dataclass(frozen=True, slots=True)
class Security:
    """The whole section."""

    issuers: tuple[Issuer, ...] = ()
    token_lifetime: int = 3600
    """Seconds."""
    requests_per_minute: int | None = 6000
    """Of one credential; None: without limit."""
    failures_per_minute: int | None = 60
    """Of one address; None: without limit."""
    trusted_proxies: int = 0
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks, beside the public internet, that tenants' URLs may lead into."""


def secure_url(text: str) -> bool:
    """Whether keys may come from there: over an open line they could be anybody's."""
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        return False
    local = url.scheme == "http" and host is not None and _is_this_machine(host)
    return local or (url.scheme == "https" and bool(host))


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_secure_url(text: str) -> None:
    if not secure_url(text):
        raise ValidationError("must be an https URL; http is for this machine alone")


def _distinct_issuers(issuers: Sequence[Issuer]) -> None:
    names = [issuer.issuer for issuer in issuers]
    repeated = {
        position: {"issuer": ["is listed twice"]}
        for position, name in enumerate(names)
        if name in names[:position]
    }
    if repeated:
        raise ValidationError(repeated)


class IssuerSchema(Schema):
    """One identity provider."""

    issuer = fields.String(
        required=True,
        validate=_require_secure_url,
        metadata={"description": "The tokens' `iss`, to the letter; an https URL."},
    )
    audience = fields.String(
        required=True,
        validate=Length(min=1),
        metadata={"description": "What has to be in the tokens' `aud`: this service's name there."},
    )
    jwks_url = fields.String(
        load_default=None,
        validate=_require_secure_url,
        metadata={
            "description": "Where its public keys are. Not given: where its "
            "`/.well-known/openid-configuration` says."
        },
    )
    tenant_claim = fields.String(
        load_default="tenant",
        validate=Length(min=1),
        metadata={"description": "The claim that names the tenant, or lists several."},
    )
    tenants = fields.List(
        fields.String(validate=TENANT_NAME),
        load_default=None,
        validate=Length(min=1, error="must name at least one tenant"),
        metadata={
            "value": "list of names",
            "description": "The tenants that it may speak for. Not given: any that its tokens "
            "name.",
        },
    )
    algorithms = fields.List(
        fields.String(validate=OneOf(ALGORITHMS)),
        load_default=lambda: list(DEFAULT_ALGORITHMS),
        validate=Length(min=1, error="must name at least one algorithm"),
        metadata={
            "value": f"list of {', '.join(f'`{name}`' for name in ALGORITHMS)}",
            "description": "What its tokens may be signed with. Not given: "
            f"{' and '.join(f'`{name}`' for name in DEFAULT_ALGORITHMS)}.",
        },
    )

    @post_load
    def _build(self, data: Mapping[str, Any], **_: Any) -> Issuer:
        tenants = data["tenants"]
        return Issuer(
            issuer=data["issuer"],
            audience=data["audience"],
            jwks_url=data["jwks_url"],
            tenant_claim=data["tenant_claim"],
            tenants=None if tenants is None else frozenset(tenants),
            algorithms=tuple(data["algorithms"]),
        )


class SecuritySchema(Schema):
    """The section `security`."""

    issuers = fields.List(
        fields.Nested(IssuerSchema),
        load_default=list,
        validate=_distinct_issuers,
        metadata={
            "description": "Identity providers whose tokens are accepted; see [Issuers](#issuers)."
        },
    )
    token_lifetime = WholeNumber(
        load_default=3600,
        validate=Range(60, 86_400),
        metadata={"description": "Seconds for which a token of `/oauth/token` is valid."},
    )
    requests_per_minute = WholeNumber(
        load_default=6000,
        allow_none=True,
        validate=Range(min=1),
        metadata={
            "description": "Requests of one credential; as many may come at once. `null`: without "
            "limit."
        },
    )
    failures_per_minute = WholeNumber(
        load_default=60,
        allow_none=True,
        validate=Range(min=1),
        metadata={
            "description": "Failed authentications of one address, or of one IPv6 network (/64). "
            "`null`: without limit."
        },
    )
    trusted_proxies = WholeNumber(
        load_default=0,
        validate=Range(0, 10),
        metadata={
            "description": "Proxies before the API that append to `X-Forwarded-For`: that many "
            "entries of it are believed."
        },
    )

    allowed_networks = fields.List(
        NetworkAddress(),
        load_default=list,
        metadata={
            "value": "list of networks",
            "description": "Networks, such as `10.1.0.0/16`, into which URLs may lead that tenants "
            "give by API (documents, data sources). Others than these and the public internet are "
            "refused.",
        },
    )

    @post_load
    def _build(self, data: Mapping[str, Any], **_: Any) -> Security:
        lists = {name: tuple(data[name]) for name in ("issuers", "allowed_networks")}
        return Security(**{**data, **lists})
