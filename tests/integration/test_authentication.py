"""Who a credential stands for: keys and tokens of the catalog, tokens of a real OpenID provider,
and what must not pass for either."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import servers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identity_provider import AUDIENCE, Provider, identity_provider, rsa_key, tampered
from joserfc.jwk import ECKey, OctKey, RSAKey
from rest_server import Request, Response

from celeriac.catalog import Catalog
from celeriac.catalog.api_keys import ApiKey
from celeriac.configuration.security import Issuer
from celeriac.errors import (
    EXPIRED,
    CatalogUnavailable,
    ConfigurationError,
    IssuerUnavailable,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from celeriac.runtime import connect_redis
from celeriac.security.authentication import KEY_TRUST, TOKEN_TRUST, Authenticator
from celeriac.security.keysets import KEEP, PAUSE, REFRESH_AFTER
from celeriac.security.limits import PAUSE as LIMIT_PAUSE
from celeriac.security.limits import RateLimits
from celeriac.security.principal import BOOTSTRAP, Principal, Scope
from celeriac.security.secrets import Secret, SecretKind
from celeriac.security.tokens import LEEWAY, MAX_LENGTH

BOOTSTRAP_KEY = "bootstrap-key-of-the-tests"
ADDRESS = "192.0.2.7"
DAY = 86_400.0


class Clock:
    """Goes on when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class House:
    """An authenticator on a catalog, Redis and an identity provider, and the hands to change
    them."""

    def __init__(self, catalog: Catalog, limits: RateLimits, provider: Provider) -> None:
        self.catalog = catalog
        self.limits = limits
        self.provider = provider
        self.clock = Clock()
        self.failures_per_minute = 1000
        self.authenticator = self.replica()

    def replica(self, **issuer: Any) -> Authenticator:
        """An authenticator such as another process has; with changes to the issuer."""
        declared = Issuer(**{"issuer": self.provider.issuer, "audience": AUDIENCE, **issuer})
        return Authenticator(
            bootstrap_key=BOOTSTRAP_KEY,
            issuers=[declared],
            keys=lambda: self.catalog.api_keys,
            limits=lambda: self.limits,
            failures_per_minute=self.failures_per_minute,
            clock=self.clock,
        )

    def key(self, lifetime: float | None = None) -> tuple[ApiKey, Secret]:
        return self.catalog.api_keys.create(
            tenants=["acme"], scopes=[Scope.AGENT_READ], lifetime=lifetime
        )

    def ask(self, presented: str, address: str | None = ADDRESS) -> Principal:
        return self.authenticator.authenticate(presented, address)

    def refusal(self, presented: str) -> Unauthenticated:
        with pytest.raises(Unauthenticated) as caught:
            self.ask(presented)
        return caught.value


@pytest.fixture
def provider() -> Iterator[Provider]:
    with identity_provider() as provider:
        yield provider


@pytest.fixture
def house(database_url: str, redis_url: str, provider: Provider) -> Iterator[House]:
    catalog, limits = Catalog(database_url), RateLimits(connect_redis(redis_url))
    catalog.migrate()
    yield House(catalog, limits, provider)
    catalog.close()
    limits.close()


@pytest.fixture
def tokens(tmp_path: Path, redis_url: str, provider: Provider) -> Iterator[House]:
    """A house for what has nothing to do with the kind of database."""
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    limits = RateLimits(connect_redis(redis_url))
    catalog.migrate()
    yield House(catalog, limits, provider)
    catalog.close()
    limits.close()


def test_the_bootstrap_key_reaches_everything(house: House) -> None:
    principal = house.ask(BOOTSTRAP_KEY)

    assert principal == BOOTSTRAP
    assert principal.reaches("anybody")
    assert principal.scopes == set(Scope)
    house.refusal(BOOTSTRAP_KEY[:-1])


def test_a_key_reaches_its_tenants_and_no_others(house: House) -> None:
    key, secret = house.key()

    principal = house.ask(secret.reveal())

    assert principal.scopes == {"ai.agent_read"}
    assert principal.reaches("acme")
    assert not principal.reaches("globex")
    assert principal.key_id == key.id


def test_a_key_may_be_of_every_tenant(house: House) -> None:
    _, secret = house.catalog.api_keys.create(tenants=["*"], scopes=[Scope.AGENT_READ])

    assert house.ask(secret.reveal()).reaches("anybody")


def test_only_the_digest_of_a_secret_is_kept(house: House) -> None:
    key, secret = house.key()
    token = house.catalog.api_keys.issue_token(key.id, key.scopes, 60)
    assert token is not None

    with house.catalog.database.read() as connection:
        rows = [
            *connection.exec_driver_sql("SELECT * FROM api_keys").all(),
            *connection.exec_driver_sql("SELECT * FROM access_tokens").all(),
        ]

    kept = repr(rows)
    assert secret.digest in kept
    assert secret.secret not in kept
    assert token.secret.secret not in kept


def test_what_looks_like_a_key_and_is_none_is_told_nothing(house: House) -> None:
    key, secret = house.key()
    others = [
        Secret.new(SecretKind.API_KEY, key.id),
        Secret.new(SecretKind.API_KEY),
        Secret(SecretKind.ACCESS_TOKEN, key.id, secret.secret),
        Secret(SecretKind.API_KEY, key.id, secret.digest),
    ]

    messages = [str(house.refusal(other.reveal())) for other in others]

    assert len({messages[0], messages[1], messages[3]}) == 1
    assert key.id not in "".join(messages)
    for altered in (secret.reveal().upper(), secret.reveal() + "0", f" {secret.reveal()}\n"):
        house.refusal(altered)


def test_a_key_ends_with_its_life(house: House) -> None:
    _, secret = house.key(lifetime=0)

    refusal = house.refusal(secret.reveal())

    assert (refusal.code, "expired" in str(refusal)) == (EXPIRED, True)


def test_a_key_is_not_trusted_beyond_its_life(house: House) -> None:
    _key, secret = house.key(lifetime=DAY)
    house.ask(secret.reveal())
    with house.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE api_keys SET expires_at = 1")

    house.clock.now += KEY_TRUST

    assert house.refusal(secret.reveal()).code == EXPIRED


def test_a_revoked_key_is_refused_once_it_is_looked_up_again(house: House) -> None:
    key, secret = house.key()
    house.ask(secret.reveal())
    house.catalog.api_keys.revoke(key.id)

    house.ask(secret.reveal())
    house.clock.now += KEY_TRUST

    assert "revoked" in str(house.refusal(secret.reveal()))
    assert house.catalog.api_keys.revoke(key.id).revoked_at is not None
    with pytest.raises(NotFound):
        house.catalog.api_keys.revoke("0" * 16)


def test_both_secrets_of_a_rotated_key_are_good_while_they_overlap(house: House) -> None:
    key, first = house.key()
    rotated, second = house.catalog.api_keys.rotate(key.id, overlap=DAY)

    assert rotated.id == key.id
    for secret in (first, second):
        assert house.ask(secret.reveal()).key_id == key.id


def test_without_an_overlap_the_secret_before_ends_at_once(house: House) -> None:
    key, first = house.key()
    token = house.catalog.api_keys.issue_token(key.id, key.scopes, 600)
    assert token is not None
    _, second = house.catalog.api_keys.rotate(key.id, overlap=0)

    house.refusal(first.reveal())
    house.refusal(token.secret.reveal())
    assert house.ask(second.reveal()).key_id == key.id


def test_a_second_rotation_ends_the_first_secret(house: House) -> None:
    key, first = house.key()
    _, second = house.catalog.api_keys.rotate(key.id, overlap=DAY)
    _, third = house.catalog.api_keys.rotate(key.id, overlap=DAY)

    house.refusal(first.reveal())
    for secret in (second, third):
        house.ask(secret.reveal())


def test_a_key_that_has_ended_is_not_rotated(house: House) -> None:
    revoked, _ = house.key()
    house.catalog.api_keys.revoke(revoked.id)
    expired, _ = house.key(lifetime=0)

    for key, message in ((revoked, "revoked"), (expired, "--expires")):
        with pytest.raises(ConfigurationError, match=message):
            house.catalog.api_keys.rotate(key.id, overlap=0)
    with pytest.raises(NotFound, match="keys list"):
        house.catalog.api_keys.rotate("0" * 16, overlap=0)
    _, secret = house.catalog.api_keys.rotate(expired.id, overlap=0, lifetime=DAY)
    house.ask(secret.reveal())


def test_a_token_stands_for_its_key_with_fewer_scopes(house: House) -> None:
    key, _ = house.catalog.api_keys.create(
        tenants=["acme", "globex"], scopes=[Scope.AGENT_READ, Scope.AGENT_MANAGE]
    )
    issued = house.catalog.api_keys.issue_token(key.id, [Scope.AGENT_READ], 600)
    assert issued is not None

    principal = house.ask(issued.secret.reveal())

    assert principal.scopes == {"ai.agent_read"}
    assert principal.tenants == {"acme", "globex"}
    assert (principal.key_id, principal.credential) == (key.id, key.id)
    assert 590 <= issued.expires_in <= 600


def test_a_token_ends_with_its_life_and_with_its_key(house: House) -> None:
    key, _ = house.key(lifetime=300)
    gone = house.catalog.api_keys.issue_token(key.id, key.scopes, -1)
    token = house.catalog.api_keys.issue_token(key.id, key.scopes, 3600)
    assert gone is not None
    assert token is not None

    assert token.expires_in <= 300
    assert house.refusal(gone.secret.reveal()).code
    house.ask(token.secret.reveal())
    house.catalog.api_keys.revoke(key.id)
    house.clock.now += KEY_TRUST
    house.refusal(token.secret.reveal())
    assert house.catalog.api_keys.issue_token(key.id, key.scopes, 3600) is None


def test_tokens_that_have_expired_do_not_pile_up(house: House) -> None:
    key, _ = house.key()
    for _number in range(5):
        house.catalog.api_keys.issue_token(key.id, key.scopes, -1)
    house.catalog.api_keys.issue_token(key.id, key.scopes, 60)

    with house.catalog.database.read() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM access_tokens").scalar_one()

    assert count == 1


def test_when_a_key_was_last_used_is_written_once_a_minute(house: House) -> None:
    key, secret = house.key()

    def last_used() -> float | None:
        found = house.catalog.api_keys.find(key.id)
        assert found is not None
        return found.key.last_used_at

    assert last_used() is None
    house.ask(secret.reveal())
    first = last_used()
    assert first is not None
    house.clock.now += KEY_TRUST
    house.ask(secret.reveal())
    assert last_used() == first
    with house.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE api_keys SET last_used_at = last_used_at - 61")
    house.clock.now += KEY_TRUST
    house.ask(secret.reveal())
    assert last_used() != first - 61


def test_many_threads_find_one_key(house: House) -> None:
    key, secret = house.key()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: house.ask(secret.reveal()).key_id, range(64)))

    assert found == {key.id}


def test_a_catalog_that_is_away_says_nothing_about_a_key(
    redis_url: str, provider: Provider
) -> None:
    catalog = Catalog("postgresql://nobody@127.0.0.1:1/none")
    limits = RateLimits(connect_redis(redis_url))
    house = House(catalog, limits, provider)

    with pytest.raises(CatalogUnavailable):
        house.ask(Secret.new(SecretKind.API_KEY).reveal())

    assert house.ask(BOOTSTRAP_KEY) == BOOTSTRAP
    house.ask(provider.token())
    limits.close()


# Tokens of an identity provider


def test_a_token_of_the_provider_says_who_which_tenant_and_what(tokens: House) -> None:
    principal = tokens.ask(tokens.provider.token())

    assert principal.subject == "robot"
    assert principal.tenants == {"acme"}
    assert principal.scopes == {"ai.agent_read", "ai.agent_manage"}
    assert principal.key_id is None


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": None, "scp": ["ai.agent_read", "x"]}, {"ai.agent_read", "x"}),
        ({"scope": None, "scp": "ai.agent_read x"}, {"ai.agent_read", "x"}),
        ({"scope": None}, set()),
        ({"scope": {"ai.agent_read": True}}, set()),
        ({"scope": 7}, set()),
    ],
)
def test_scopes_are_read_from_either_claim(
    tokens: House, claims: dict[str, Any], scopes: set[str]
) -> None:
    assert tokens.ask(tokens.provider.token(**claims)).scopes == scopes


@pytest.mark.parametrize(
    ("tenant", "tenants"),
    [
        (["acme", "globex"], {"acme", "globex"}),
        (None, set()),
        ({"acme": 1}, set()),
        ([["acme"]], set()),
    ],
)
def test_the_tenant_claim_is_a_name_or_a_list(
    tokens: House, tenant: object, tenants: set[str]
) -> None:
    assert tokens.ask(tokens.provider.token(tenant=tenant)).tenants == tenants


def test_a_provider_cannot_name_every_tenant(tokens: House) -> None:
    principal = tokens.ask(tokens.provider.token(tenant="*"))

    assert principal.tenants == {"*"}
    assert not principal.reaches("acme")


def test_the_claim_and_the_tenants_of_an_issuer_are_configured(tokens: House) -> None:
    authenticator = tokens.replica(
        tenant_claim="https://shop.example/tenant", tenants=frozenset({"acme"})
    )
    claims = {"tenant": "globex", "https://shop.example/tenant": ["acme", "initech"]}

    principal = authenticator.authenticate(tokens.provider.token(**claims), ADDRESS)

    assert principal.tenants == {"acme"}


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://elsewhere.example"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"iss": ["x"]}, "issuer"),
        ({"aud": "another-service"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": {"celeriac": 1}}, "aud"),
        ({"exp": None}, "exp"),
        ({"exp": "2099-01-01"}, "exp"),
        ({"exp": True}, "exp"),
        ({"nbf": 32_503_680_000}, "nbf"),
        ({"iat": 32_503_680_000}, "iat"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": ["robot"]}, "sub"),
    ],
)
def test_a_claim_that_is_wrong_is_named(tokens: House, claims: dict[str, Any], why: str) -> None:
    refusal = tokens.refusal(tokens.provider.token(**claims))

    assert why in str(refusal)
    assert refusal.code == "oauth.v2.InvalidAccessToken"


def test_one_of_several_audiences_is_enough(tokens: House) -> None:
    tokens.ask(tokens.provider.token(aud=["another", AUDIENCE]))


def test_the_leeway_is_a_minute(tokens: House) -> None:
    now = tokens.provider.claims()["iat"]
    tokens.ask(tokens.provider.token(exp=now - LEEWAY + 20))
    tokens.ask(tokens.provider.token(nbf=now + LEEWAY - 20))

    refusal = tokens.refusal(tokens.provider.token(exp=now - LEEWAY - 1))

    assert refusal.code == EXPIRED


def test_an_expiry_beyond_all_numbers_is_no_error(tokens: House) -> None:
    tokens.ask(tokens.provider.token(exp=10**400))


def test_a_token_that_nobody_signed_is_refused(tokens: House) -> None:
    assert "algorithm" in str(tokens.refusal(tokens.provider.unsigned()))


def test_the_public_key_is_no_shared_secret(tokens: House) -> None:
    tokens.ask(tokens.provider.token())

    assert "algorithm" in str(tokens.refusal(tokens.provider.signed_with_public_key()))


def test_claims_that_were_changed_are_refused(tokens: House) -> None:
    token = tokens.provider.token()
    tokens.ask(token)

    assert "signature" in str(tokens.refusal(tampered(token, tenant="globex")))


def test_a_key_of_the_same_id_that_is_not_the_providers_is_refused(tokens: House) -> None:
    provider = tokens.provider

    assert "signature" in str(tokens.refusal(provider.signed(provider.claims(), rsa_key("first"))))


@pytest.mark.parametrize("header", ["jku", "x5u", "jwk"])
def test_a_token_cannot_bring_its_own_key(tokens: House, header: str) -> None:
    mine = rsa_key("first")
    asked: list[Request] = []
    with identity_provider() as attacker:
        attacker.keys = [mine]
        value: object = f"{attacker.issuer}/jwks"
        if header == "jwk":
            value = mine.as_dict(private=False)
        forged = tokens.provider.signed(tokens.provider.claims(), mine, {header: value})
        tokens.refusal(forged)
        asked = attacker.server.requests

    assert asked == []


def test_an_algorithm_that_is_not_pinned_is_refused(tokens: House) -> None:
    assert "algorithm" in str(tokens.refusal(tokens.provider.token(header={"alg": "PS256"})))
    authenticator = tokens.replica(algorithms=("PS256",))
    tokens.provider.keys = [RSAKey.generate_key(2048, {"kid": "pss"})]
    authenticator.authenticate(tokens.provider.token(header={"alg": "PS256"}), ADDRESS)


def test_elliptic_curves_are_welcome(tokens: House) -> None:
    tokens.provider.keys = [ECKey.generate_key("P-256", {"kid": "curve"})]

    tokens.ask(tokens.provider.token())


@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "JWT", None])
def test_types_of_access_tokens(tokens: House, kind: str | None) -> None:
    tokens.ask(tokens.provider.token(header={"typ": kind} if kind else None))


@pytest.mark.parametrize(
    "header",
    [{"typ": "logout+jwt"}, {"crit": ["exp"]}, {"crit": ["b64"], "b64": False}],
)
def test_other_headers_that_matter_are_refused(tokens: House, header: dict[str, Any]) -> None:
    tokens.refusal(tokens.provider.token_with(header))


def test_headers_that_do_not_matter_are_ignored(tokens: House) -> None:
    tokens.ask(tokens.provider.token_with({"nonce": "x", "x5t": "y"}))


def test_a_huge_token_is_refused_unread(tokens: House) -> None:
    token = tokens.provider.token(padding="x" * MAX_LENGTH)

    assert str(MAX_LENGTH) in str(tokens.refusal(token))
    assert tokens.provider.server.requests == []


def test_a_deeply_nested_token_is_refused(tokens: House) -> None:
    nested = base64.urlsafe_b64encode(b'{"iss":' + b"[" * 4000).decode().rstrip("=")

    tokens.refusal(f"{nested}.{nested}.x")


PARTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["eyJhbGciOiJub25lIn0", "e30", "W10", "MQ", "ImFsZyI", "eyJpc3MiOm51bGx9", "", "clr", "_"]
    ),
)


@given(st.one_of(st.text(max_size=60), st.lists(PARTS, min_size=1, max_size=4).map(".".join)))
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_presented_is_refused_and_nothing_else_happens(
    tokens: House, presented: str
) -> None:
    with pytest.raises((Unauthenticated, RateLimited)):
        tokens.ask(presented)


def test_a_token_is_believed_without_another_look_for_a_while(tokens: House) -> None:
    token = tokens.provider.token()
    tokens.ask(token)
    tokens.provider.rotate("second")
    tokens.clock.now += TOKEN_TRUST - 1

    tokens.ask(token)


# The provider's keys


def test_keys_are_fetched_once_for_many_tokens(tokens: House) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: tokens.ask(tokens.provider.token(n=number)), range(32)))

    assert tokens.provider.fetches == 1


def test_a_configured_address_of_the_keys_needs_no_discovery(tokens: House) -> None:
    authenticator = tokens.replica(jwks_url=f"{tokens.provider.issuer}/jwks")

    authenticator.authenticate(tokens.provider.token(), ADDRESS)

    assert [request.path for request in tokens.provider.server.requests] == ["/jwks"]


def test_a_rotated_key_is_found(tokens: House) -> None:
    tokens.ask(tokens.provider.token())
    before = tokens.provider.token(n=1)
    tokens.provider.rotate("second")

    tokens.clock.now += PAUSE
    tokens.ask(tokens.provider.token())

    assert "signature" in str(tokens.refusal(before))


def test_tokens_that_name_unknown_keys_do_not_make_us_ask_more_often(tokens: House) -> None:
    tokens.ask(tokens.provider.token())
    stranger = rsa_key("stranger")
    for number in range(20):
        tokens.refusal(tokens.provider.signed(tokens.provider.claims(n=number), stranger))
    assert tokens.provider.fetches == 1

    tokens.clock.now += PAUSE
    for number in range(20):
        tokens.refusal(tokens.provider.signed(tokens.provider.claims(n=-number), stranger))

    assert tokens.provider.fetches == 2


def test_a_token_without_a_key_id_is_good_where_one_key_is_for_signatures(tokens: House) -> None:
    sealing = RSAKey.generate_key(2048, {"kid": "sealing", "use": "enc"})
    tokens.provider.extra_keys = [sealing.as_dict(private=False)]
    tokens.ask(tokens.provider.token(header={"kid": None}))
    tokens.provider.keys.append(rsa_key("second"))
    tokens.clock.now += REFRESH_AFTER

    tokens.refusal(tokens.provider.token(header={"kid": None}, n=1))


def test_keys_are_fetched_again_when_they_are_old(tokens: House) -> None:
    tokens.ask(tokens.provider.token())
    tokens.provider.rotate("first")
    tokens.clock.now += REFRESH_AFTER

    tokens.ask(tokens.provider.token(n=1))

    assert tokens.provider.fetches == 2


def test_old_keys_serve_for_a_day_while_the_provider_is_down(tokens: House) -> None:
    tokens.ask(tokens.provider.token())
    tokens.provider.down = True
    tokens.clock.now += REFRESH_AFTER
    tokens.ask(tokens.provider.token(n=1))

    tokens.clock.now += KEEP
    with pytest.raises(IssuerUnavailable):
        tokens.ask(tokens.provider.token(n=2))

    tokens.provider.down = False
    tokens.clock.now += PAUSE
    tokens.ask(tokens.provider.token(n=3))


def test_a_provider_that_was_never_reached_is_not_the_tokens_fault(tokens: House) -> None:
    tokens.provider.down = True
    for number in range(5):
        with pytest.raises(IssuerUnavailable):
            tokens.ask(tokens.provider.token(n=number))

    assert len(tokens.provider.server.requests) == 1


@pytest.mark.parametrize(
    "configuration",
    [
        {"issuer": "https://elsewhere.example"},
        {"issuer": None},
        {"jwks_uri": "http://192.0.2.1/jwks"},
        {"jwks_uri": 7},
        {"jwks_uri": None},
    ],
)
def test_a_configuration_that_cannot_be_trusted_is_not(
    tokens: House, configuration: dict[str, Any]
) -> None:
    tokens.provider.configuration = configuration

    with pytest.raises(IssuerUnavailable):
        tokens.ask(tokens.provider.token())


@pytest.mark.parametrize(
    "response",
    [
        Response([]),
        Response({"keys": {}}),
        Response({"keys": []}),
        Response(b"{"),
        Response(b"[" * 100_000),
        Response(b" " * 300_000),
        Response(status=302, headers={"Location": "/jwks"}),
    ],
)
def test_keys_that_cannot_be_read_are_an_outage(tokens: House, response: Response) -> None:
    tokens.provider.server.respond = lambda _: response

    with pytest.raises(IssuerUnavailable):
        tokens.ask(tokens.provider.token())


@pytest.mark.filterwarnings("ignore:Key size should be")
def test_keys_that_are_of_no_use_are_left_out(tokens: House) -> None:
    small = RSAKey.generate_key(1024, {"kid": "small"})
    secret = OctKey.generate_key(256, {"kid": "secret"})
    sealing = RSAKey.generate_key(2048, {"kid": "sealing", "use": "enc"})
    tokens.provider.extra_keys = [
        small.as_dict(private=False),
        secret.as_dict(private=True),
        sealing.as_dict(private=False),
        {"kty": "RSA", "kid": "broken", "n": "!", "e": 7},
        {"kty": "AKP", "kid": "later"},
        "nothing",
    ]
    tokens.ask(tokens.provider.token())

    claims = tokens.provider.claims()
    for key in (small, RSAKey.import_key(sealing.as_dict(private=True), {"use": "sig"})):
        tokens.refusal(tokens.provider.signed(claims, key))
    tokens.refusal(tokens.provider.signed(claims, secret, {"alg": "HS256"}))


# Failures by address


def test_an_address_that_fails_too_often_has_to_wait(house: House) -> None:
    house.failures_per_minute = 2
    house.authenticator = house.replica()
    for _number in range(2):
        house.refusal(Secret.new(SecretKind.API_KEY).reveal())

    with pytest.raises(RateLimited) as caught:
        house.ask(Secret.new(SecretKind.API_KEY).reveal())

    assert caught.value.retry_after is not None
    assert 1 <= caught.value.retry_after <= 60
    _, secret = house.key()
    house.ask(secret.reveal(), "192.0.2.8")
    with pytest.raises(RateLimited):  # another process counts with it
        house.replica().authenticate(secret.reveal(), ADDRESS)


def test_what_was_good_before_is_not_refused_for_an_address_that_fails(house: House) -> None:
    house.failures_per_minute = 2
    house.authenticator = house.replica()
    _, secret = house.key()
    house.ask(secret.reveal())
    for _number in range(2):
        house.refusal(Secret.new(SecretKind.API_KEY).reveal())

    house.clock.now += KEY_TRUST
    house.ask(secret.reveal())
    assert house.ask(BOOTSTRAP_KEY) == BOOTSTRAP


def test_neighbours_in_an_ipv6_network_count_as_one(tokens: House) -> None:
    tokens.failures_per_minute = 2
    tokens.authenticator = tokens.replica()
    for number in range(2):
        with pytest.raises(Unauthenticated):
            tokens.ask("wrong", f"2001:db8::{number}")

    with pytest.raises(RateLimited):
        tokens.ask("wrong", "2001:db8::ffff")
    with pytest.raises(Unauthenticated):
        tokens.ask("wrong", "2001:db8:0:1::1")


def test_without_redis_nothing_is_limited_and_it_is_asked_again_later(
    tmp_path: Path, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    catalog.migrate()
    (tmp_path / "redis").mkdir()
    clock = Clock()
    with servers.redis(tmp_path / "redis") as redis, caplog.at_level(logging.WARNING):
        limits = RateLimits(connect_redis(redis.url, 0.5), clock)
        limits.spend("one", 1)
        redis.stop()
        for _number in range(3):
            limits.spend("one", 1)
        assert [record.message for record in caplog.records] == ["requests are not limited"]
        redis.start()
        clock.now += LIMIT_PAUSE
        limits.spend("other", 1)
        with pytest.raises(RateLimited):
            limits.spend("other", 1)
        limits.close()
    catalog.close()


def test_a_limit_allows_so_many_at_once_and_no_more(redis_url: str) -> None:
    limits = RateLimits(connect_redis(redis_url))

    def allowed(_number: int) -> bool:
        try:
            limits.spend("credential", 30)
        except RateLimited:
            return False
        return True

    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        count = sum(pool.map(allowed, range(60)))

    # One more every two seconds, on a machine that is so slow.
    assert 30 <= count <= 30 + (time.monotonic() - started) / 2 + 1
    limits.spend("another", 30)
    limits.spend("credential", None)
    limits.close()


def test_no_secret_is_logged(tokens: House, caplog: pytest.LogCaptureFixture) -> None:
    key, secret = tokens.key()
    tokens.catalog.api_keys.revoke(key.id)
    wrong = tokens.provider.token(aud="other")
    with caplog.at_level(logging.DEBUG):
        tokens.refusal(secret.reveal())
        tokens.refusal(wrong)
        tokens.refusal("a-wrong-password")

    logged = "\n".join(str(vars(record)) for record in caplog.records)
    assert "authentication failed" in logged
    for text in (secret.secret, wrong, wrong.split(".")[2], "a-wrong-password"):
        assert text not in logged
