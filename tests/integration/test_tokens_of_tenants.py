"""Tokens of an identity provider on the paths of the control and the batch contract, which name no
tenant: the token says whose the request is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from application import MISSING, Open, Site
from identity_provider import AUDIENCE, Provider, identity_provider, rsa_key, tampered
from werkzeug.test import TestResponse

from celeriac.security.tokens import LEEWAY

READ, MANAGE = "ai.agent_read", "ai.agent_manage"


@dataclass
class Door:
    """A contract as users of an identity provider meet it."""

    site: Site
    provider: Provider
    listing: str
    """What reading asks for."""
    one: str
    """A path with the place of an id."""
    made: dict[str, Any]
    """What makes one, at the listing's path or the one beside it."""
    making: str
    theirs: str
    """Another tenant's id."""

    def read(self, token: str) -> TestResponse:
        return self.site.ask("GET", self.listing, token)

    def make(self, token: str) -> TestResponse:
        return self.site.ask("POST", self.making, token, self.made)


CONTROL, VOICE = "/api/v1/control/knowledge-bases", "/v1/voiceai/knowledge-base"
NEW_BASE = {
    "name": "kb",
    "index_refresh_policy": {"policy_type": "MANUAL"},
    "data_origin_type": "LOCAL_FILES",
}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with identity_provider() as provider:
        yield provider


@pytest.fixture(params=["control", "batch"])
def door(request: pytest.FixtureRequest, open_site: Open, provider: Provider) -> Door:
    site = open_site(
        issuers=[{"issuer": provider.issuer, "audience": AUDIENCE}], failures_per_minute=None
    )
    if request.param == "control":
        theirs = site.knowledge("globex")["knowledge_base_id"]
        return Door(site, provider, CONTROL, f"{CONTROL}/%s", NEW_BASE, CONTROL, theirs)
    theirs = site.voice("globex")["document_id"]
    new = {"text": "A text.", "name": "note"}
    return Door(site, provider, VOICE, f"{VOICE}/%s", new, f"{VOICE}/text", theirs)


def message_of(answer: TestResponse) -> str:
    """What a refusal says, in the shape of either contract."""
    assert answer.json is not None
    detail = answer.json["detail"]
    return str(detail["message"] if isinstance(detail, dict) else detail)


def test_a_token_reads_and_makes_what_its_tenant_has(door: Door) -> None:
    token = door.provider.token()
    made = door.make(token)
    assert made.status_code in (200, 201), made.text
    assert made.json is not None
    answer = door.site.ask("GET", door.one % made.json["id"], token)
    assert answer.status_code == 200
    assert made.json["id"] in door.read(token).text
    assert door.theirs not in door.read(token).text


def test_another_tenants_id_is_as_one_that_is_not_there(door: Door) -> None:
    token = door.provider.token()
    for method in ("GET", "PATCH", "DELETE"):
        body = {"name": "x"} if method == "PATCH" else None
        theirs, missing = (
            door.site.ask(method, door.one % one, token, body) for one in (door.theirs, MISSING)
        )
        assert theirs.status_code == missing.status_code == 404
        assert theirs.text.replace(door.theirs, MISSING) == missing.text
    mine = door.site.ask("GET", door.one % door.theirs, door.provider.token(tenant="globex"))
    assert mine.status_code == 200


def test_a_scope_that_is_missing_is_named(door: Door) -> None:
    reader, maker = door.provider.token(scope=READ), door.provider.token(scope=MANAGE)
    assert door.read(reader).status_code == 200
    assert door.make(maker).status_code in (200, 201)
    for answer, scope in ((door.make(reader), MANAGE), (door.read(maker), READ)):
        assert answer.status_code == 403
        assert f'error="insufficient_scope", scope="{scope}"' in answer.headers["WWW-Authenticate"]
        assert scope in message_of(answer)


def test_a_token_of_no_tenant_reaches_nothing(door: Door) -> None:
    for tenant in (None, [], "", {"name": "acme"}):
        answer = door.read(door.provider.token(tenant=tenant))
        assert answer.status_code == 403, tenant


def test_a_token_of_several_tenants_names_one(door: Door) -> None:
    token = door.provider.token(tenant=["acme", "initech"])
    assert door.read(token).status_code == 422
    named = {"Authorization": f"Bearer {token}"}
    for tenant, status in (("acme", 200), ("globex", 403)):
        answer = door.site.client.get(door.listing, headers={**named, "x-tenant": tenant})
        assert answer.status_code == status


Forged = Callable[[Provider], str]
FORGED: dict[str, Forged] = {
    "expired": lambda one: one.token(exp=1),
    "of another audience": lambda one: one.token(aud="another"),
    "of another issuer": lambda one: one.token(iss="https://elsewhere.example"),
    "not yet good": lambda one: one.token(nbf=one.claims()["iat"] + 10 * LEEWAY),
    "signed by nobody": lambda one: one.unsigned(),
    "signed with the public key": lambda one: one.signed_with_public_key(),
    "signed with a key of its own": lambda one: one.signed(one.claims(), rsa_key("first")),
    "changed": lambda one: tampered(one.token(), tenant="globex"),
    "without an end": lambda one: one.token(exp=None),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=list(FORGED))
def test_a_token_that_is_not_good_is_refused_everywhere(door: Door, forged: Forged) -> None:
    token = forged(door.provider)
    for answer in (door.read(token), door.make(token)):
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        assert token not in answer.text


def test_clocks_may_be_apart_by_the_leeway(door: Door) -> None:
    now = door.provider.claims()["iat"]
    assert door.read(door.provider.token(exp=now - LEEWAY // 2)).status_code == 200
    assert door.read(door.provider.token(exp=now - 2 * LEEWAY)).status_code == 401
    assert door.read(door.provider.token(iat=now + LEEWAY // 2)).status_code == 200
    assert door.read(door.provider.token(iat=now + 10 * LEEWAY)).status_code == 401


def test_many_tokens_of_unknown_keys_ask_the_provider_once(door: Door) -> None:
    """At once, from many threads: one of them fetches, and the others do not ask again."""
    stranger = rsa_key("stranger")
    tokens = [door.provider.signed(door.provider.claims(n=n), stranger) for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        statuses = {answer.status_code for answer in pool.map(door.read, tokens)}
    assert statuses == {401}
    assert door.provider.fetches == 1


def test_a_provider_that_is_away_is_an_outage_and_no_refusal(door: Door) -> None:
    door.provider.down = True
    answer = door.read(door.provider.token())
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert door.provider.issuer not in answer.text


def test_known_keys_serve_while_the_provider_is_away(door: Door) -> None:
    assert door.read(door.provider.token(n=1)).status_code == 200
    door.provider.down = True
    assert door.read(door.provider.token(n=2)).status_code == 200
