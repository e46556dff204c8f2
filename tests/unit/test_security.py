"""The section `security` of the configuration file, addresses, and the format of secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeriac.configuration import load_configuration
from celeriac.configuration.security import Issuer, Security, secure_url
from celeriac.errors import ConfigurationError
from celeriac.security.limits import network
from celeriac.security.secrets import Secret, SecretKind


def load(folder: Path, text: str) -> Security:
    file = folder / "celeriac.yaml"
    file.write_text(text, "utf-8")
    return load_configuration(file, {}).security


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


def test_without_the_section_only_keys_are_accepted(tmp_path: Path) -> None:
    assert load(tmp_path, "") == load(tmp_path, "security: {}") == Security()
    assert load_configuration(None, {}).security == Security()


def test_issuers_are_declared(tmp_path: Path) -> None:
    security = load(
        tmp_path,
        """
security:
  issuers:
    - {issuer: "https://login.example.com/", audience: celeriac}
    - issuer: http://127.0.0.1:8080/realms/shop
      audience: celeriac
      jwks_url: http://localhost:8080/keys
      tenant_claim: https://shop.example/tenant
      tenants: [acme, globex]
      algorithms: [PS256]
  requests_per_minute: null
  failures_per_minute: 10
  token_lifetime: 600
  trusted_proxies: 1
""",
    )

    assert security.issuers == (
        Issuer("https://login.example.com/", "celeriac"),
        Issuer(
            "http://127.0.0.1:8080/realms/shop",
            "celeriac",
            "http://localhost:8080/keys",
            "https://shop.example/tenant",
            frozenset({"acme", "globex"}),
            ("PS256",),
        ),
    )
    assert (security.requests_per_minute, security.failures_per_minute) == (None, 10)
    assert (security.token_lifetime, security.trusted_proxies) == (600, 1)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{issuer: []}", "1: security.issuer: unknown key 'issuer'; did you mean 'issuers'?"),
        ("{issuers: [{audience: a}]}", "1: security.issuers[0].issuer: is required, and missing"),
        (
            "{issuers: [{issuer: 'https://a', audience: a, jwks: x}]}",
            "1: security.issuers[0].jwks: unknown key 'jwks'; did you mean 'jwks_url'?",
        ),
        (
            "{issuers: [{issuer: 'http://login.example.com', audience: a}]}",
            "1: security.issuers[0].issuer: must be an https URL; http is for this machine alone",
        ),
        (
            "{issuers: [{issuer: 'https://a', audience: a, algorithms: [HS256]}]}",
            "1: security.issuers[0].algorithms[0]: must be one of: RS256, RS384, RS512, PS256, "
            "PS384, PS512, ES256, ES384, ES512; it is 'HS256', did you mean 'RS256'?",
        ),
        (
            "{issuers: [{issuer: 'https://a', audience: a, algorithms: []}]}",
            "1: security.issuers[0].algorithms: must name at least one algorithm",
        ),
        (
            "{issuers: [{issuer: 'https://a', audience: a, tenants: ['*']}]}",
            "1: security.issuers[0].tenants[0]: a tenant's name has 3 to 16 lower-case letters "
            "and digits and begins with a letter; it is '*'",
        ),
        (
            "{issuers: [{issuer: 'https://a', audience: a}, {issuer: 'https://a', audience: b}]}",
            "1: security.issuers[1].issuer: is listed twice",
        ),
        (
            "{requests_per_minute: 0}",
            "1: security.requests_per_minute: must be at least 1; it is 0",
        ),
        (
            "{token_lifetime: 10}",
            "1: security.token_lifetime: must be at least 60 and at most 86400; it is 10",
        ),
        ("7", "1: security: must be a mapping; it is 7"),
    ],
)
def test_complaints(tmp_path: Path, section: str, expected: str) -> None:
    assert complaint(tmp_path, f"security: {section}\n") == f"celeriac.yaml:{expected}"


@pytest.mark.parametrize(
    ("url", "secure"),
    [
        ("https://login.example.com", True),
        ("https://192.0.2.1:8443/x", True),
        ("http://localhost:8080", True),
        ("http://[::1]:8080", True),
        ("http://127.8.8.8", True),
        ("http://192.0.2.1", False),
        ("http://localhost.example.com", False),
        ("https://", False),
        ("https://a:b", False),
        ("ftp://localhost", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_keys_come_over_lines_that_nobody_can_change(url: str, secure: bool) -> None:
    assert secure_url(url) is secure


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", None),
        (None, None),
        ("unknown", None),
    ],
)
def test_what_an_address_is_counted_under(address: str | None, expected: str | None) -> None:
    assert network(address) == expected


def test_a_secret_is_what_it_says_and_shows_it_to_nobody() -> None:
    secret = Secret.new(SecretKind.API_KEY)

    assert Secret.parse(secret.reveal()) == secret
    assert secret.reveal().startswith(f"clr_{secret.id}_")
    assert len(bytes.fromhex(secret.secret)) == 32
    assert secret.secret not in repr(secret)
    assert secret.secret not in secret.digest
    assert secret.matches(secret.digest)
    assert not secret.matches(Secret.new(SecretKind.API_KEY).digest)
    assert not secret.matches(None)


@pytest.mark.parametrize(
    "text", ["", "clr_", "clr_0_0", f"clx_{'0' * 16}_{'0' * 64}", f"clr_{'0' * 16}_{'0' * 64}\n"]
)
def test_other_texts_are_no_secrets(text: str) -> None:
    assert Secret.parse(text) is None
