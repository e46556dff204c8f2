"""What a request may do: every route of the application, its scope, its tenant, its limits."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from application import BOOTSTRAP_KEY, MISSING, MODEL, Open, Site, bearer
from harness import Messages
from identity_provider import AUDIENCE, Provider, identity_provider
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from api.application import MAX_BODY
from api.authorization import scope_of
from celeriac.catalog.documents import DocumentKind
from celeriac.security.principal import Scope
from celeriac.security.secrets import Secret, SecretKind
from celeriac.voice import VoiceLibrary, new_document

NAMES = {"tenant", "entity_type"}
"""Arguments of a path that are no ids."""
WITHOUT_IDS = {
    "control_knowledge_bases.create_knowledge_base",
    "control_knowledge_bases.list_knowledge_bases",
    "control_data_sources.create_data_source",
    "control_data_sources.list_data_sources",
    "indexes.list_indexes",
    "metrics.get_metrics",
    "rag_indexes.compute_rag_indexes",
    "rag_indexes.get_overview",
    *(f"voice_documents.add_{kind}" for kind in ("text", "url", "file", "folder")),
    "voice_documents.list_documents",
}
"""Routes that name nothing by an id; what they list is tested on its own."""
BODIES: dict[str, dict[str, Any]] = {
    "steering.throttle": {"entities_per_second": 1},
    "steering.priority": {"priority": "low"},
    "control_knowledge_bases.change_knowledge_base": {"name": "x"},
    "control_indexes.create_index": {
        "embeddings_model_endpoint": "stub",
        "text_splitting": "TOKEN",
        "chunk_size": 100,
    },
    "control_indexes.search_index": {"text": "x"},
    "schedules.change_schedule": {"cron": "0 3 * * *"},
    "control_data_sources.link_data_source": {"data_source_id": MISSING},
    "rag_indexes.compute_rag_index": {"model": MODEL},
    "voice_documents.rename_document": {"name": "x"},
}
PUBLIC = {
    *("health.healthz", "health.readyz", "oauth.token"),
    *("docs.get_openapi", "docs.get_docs", "docs.get_docs_asset"),
    *("console.sign_in_page", "console.sign_in", "console.static"),
}


def routes(site: Site) -> Iterator[tuple[str, Rule]]:
    """Every method of every route that asks for a credential."""
    for rule in site.app.url_map.iter_rules():
        if rule.endpoint not in PUBLIC and not rule.endpoint.startswith("console."):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield method, rule


def path_of(rule: Rule, **arguments: str) -> str:
    known = {"tenant": "acme", "entity_type": "article", **arguments}
    path = rule.rule
    for name in rule.arguments:
        path = path.replace(f"<{name}>", known.get(name, MISSING))
    assert "<" not in path, f"{rule.rule}: say in `path_of` what stands for a converter"
    return path


def test_what_is_open_to_everybody_is_named_here(site: Site) -> None:
    with site.app.app_context():
        public = {name for name in site.app.view_functions if scope_of(name) is None}

    assert public == PUBLIC


def test_an_endpoint_that_declares_nothing_keeps_the_application_from_starting(
    monkeypatch: pytest.MonkeyPatch, open_site: Open
) -> None:
    monkeypatch.setattr("api.authorization._declared", {})

    with pytest.raises(RuntimeError, match=r"jobs\.cancel_job.*@requires"):
        open_site()


def test_no_route_answers_without_a_credential(site: Site) -> None:
    for method, rule in routes(site):
        answer = site.ask(method, path_of(rule))
        assert answer.status_code == 401, rule
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="celeriac"'
        assert_refused(answer, rule, 401, "oauth.v2.MissingAccessToken")


def test_no_route_answers_to_an_invalid_credential(open_site: Open) -> None:
    site = open_site(failures_per_minute=1000)
    secret = Secret.new(SecretKind.API_KEY)
    for method, rule in routes(site):
        answer = site.ask(method, path_of(rule), secret)
        assert answer.status_code == 401, rule
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        assert_refused(answer, rule, 401, "oauth.v2.InvalidAccessToken")
        assert secret.secret not in answer.text


def test_every_route_wants_its_scope(site: Site) -> None:
    for method, rule in routes(site):
        with site.app.app_context():
            wanted = scope_of(rule.endpoint)
        assert wanted is not None
        lacking = site.key(*(scope for scope in Scope if scope != wanted))
        answer = site.ask(method, path_of(rule), lacking)
        assert answer.status_code == 403, rule
        assert f'scope="{wanted}"' in answer.headers["WWW-Authenticate"]
        assert_refused(answer, rule, 403)
        assert str(wanted) in answer.text


def test_every_route_keeps_tenants_apart(site: Site) -> None:
    """A tenant in the path must be the credential's; an id of another is as one that is not."""
    key = site.key()
    for method, rule in routes(site):
        if rule.endpoint in WITHOUT_IDS:
            continue
        assert rule.arguments, f"{rule.rule}: test what it lists, and leave it out here"
        if "tenant" in rule.arguments:
            answer = site.ask(method, path_of(rule, tenant="globex"), key)
            assert answer.status_code == 403, rule
            assert answer.json is not None
            assert answer.json.keys() == {"code", "type", "message"}
        names = rule.arguments - NAMES
        if names:
            theirs = ids_of(site, "globex", rule)
            body = BODIES.get(rule.endpoint)
            found = site.ask(method, path_of(rule, **theirs), key, body, **parts_of(rule))
            missing = site.ask(method, path_of(rule), key, body, **parts_of(rule))
            for one in theirs.values():
                assert_same(found, missing, one, status=404)


def test_each_id_alone_of_another_tenant_is_as_one_that_is_not_there(site: Site) -> None:
    """Beside ids that are the asker's own, which a handler might take for enough."""
    key = site.key()
    for method, rule in routes(site):
        names = rule.arguments - NAMES
        mine = ids_of(site, "acme", rule) if names else {}
        theirs = ids_of(site, "globex", rule) if names else {}
        for name in names:
            body = BODIES.get(rule.endpoint)
            asked = (
                site.ask(method, path_of(rule, **{**mine, name: one}), key, body, **parts_of(rule))
                for one in (theirs[name], MISSING)
            )
            assert_same(*asked, theirs[name], status=404)


KNOWLEDGE_BASE = "/api/v1/control/knowledge-bases/{knowledge_base_id}"
VOICE = "/v1/voiceai/knowledge-base"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", f"{KNOWLEDGE_BASE}/data-sources", {"data_source_id": "{data_source_id}"}, 404),
        ("GET", "/api/v1/control/knowledge-bases?after={knowledge_base_id}", None, 200),
        ("GET", "/api/v1/control/knowledge-bases?before={knowledge_base_id}", None, 200),
        ("GET", "/api/v1/control/data-sources?after={data_source_id}", None, 200),
        ("GET", f"{KNOWLEDGE_BASE}/indexes?after={{index_id}}", None, 200),
        (
            "GET",
            f"{KNOWLEDGE_BASE}/indexes/{{index_id}}/documents?after={{document_id}}",
            None,
            200,
        ),
        (
            "GET",
            f"{KNOWLEDGE_BASE}/indexes/{{index_id}}/indexings?after={{indexing_id}}",
            None,
            200,
        ),
        ("POST", f"{VOICE}/text", {"text": "x", "parent_folder_id": "{folder_id}"}, 422),
        ("POST", f"{VOICE}/folder", {"name": "x", "parent_folder_id": "{folder_id}"}, 422),
        ("POST", f"{VOICE}/url", {"url": "http://x.org", "parent_folder_id": "{folder_id}"}, 422),
        ("GET", f"{VOICE}?parent_folder_id={{folder_id}}", None, 200),
        ("GET", f"{VOICE}?cursor={{folder_id}}", None, 200),
    ],
)
def test_an_id_beside_the_path_tells_nothing_of_another_tenant(
    site: Site, method: str, path: str, body: dict[str, str] | None, status: int
) -> None:
    """The last id of the request is another tenant's; what stands before it is the asker's own."""
    mine, theirs = beside(site, "acme"), beside(site, "globex")
    (name,) = re.findall(r"{(\w+)}", str(body or path.partition("?")[2]))
    answers = []
    for one in (theirs[name], MISSING):
        before, _, query = path.partition("?")
        where = f"{before.format(**mine)}?{query.format(**{name: one})}"
        sent = {key: value.format(**{name: one}) for key, value in body.items()} if body else None
        answers.append(site.ask(method, where, site.key(), sent))
    assert_same(*answers, theirs[name], status=status)


def beside(site: Site, tenant: str) -> dict[str, str]:
    """Ids of a tenant's that requests name beside their paths."""
    folder = new_document(DocumentKind.FOLDER, "f")
    library = VoiceLibrary(site.runtime, Messages(), tenant)
    return {**site.knowledge(tenant), "folder_id": library.add(folder).id}


def assert_same(found: TestResponse, missing: TestResponse, theirs: str, status: int) -> None:
    """That two answers differ in the id that was asked for, and in nothing else."""
    found.data = found.data.replace(theirs.encode(), MISSING.encode())
    assert (found.status_code, missing.status_code) == (status, status), found.request.path
    assert found.text == missing.text
    assert list(found.headers) == list(missing.headers)


def parts_of(rule: Rule) -> dict[str, Any]:
    """What a route needs beside a JSON body."""
    if rule.endpoint == "control_documents.upload_document":
        return {"data": {"file": (io.BytesIO(b"some text"), "a.txt")}}
    if rule.endpoint == "voice_documents.list_chunks":
        return {"query_string": {"model": MODEL}}
    return {}


def ids_of(site: Site, tenant: str, rule: Rule) -> dict[str, str]:
    """Ids of what a tenant has, for each argument of a route."""
    if rule.rule.startswith("/v1/voiceai/"):
        found = site.voice(tenant)
    elif rule.rule.startswith("/api/v1/control/"):
        found = site.knowledge(tenant)
    else:
        found = {
            "job_id": site.job(tenant),
            "schedule_id": site.schedule(tenant),
            "check_id": site.check(tenant),
        }
    missing = rule.arguments - NAMES - found.keys()
    assert not missing, f"{rule.rule}: say here how to make {missing} of another tenant"
    return {name: one for name, one in found.items() if name in rule.arguments}


def test_lists_show_what_is_the_tenants_own(site: Site) -> None:
    mine, theirs = site.knowledge("acme"), site.knowledge("globex")
    my_document = site.voice("acme")["document_id"]
    their_document = site.voice("globex")["document_id"]
    key = site.key()

    for path, own, others in (
        ("/api/v1/control/knowledge-bases", "knowledge_base_id", theirs),
        ("/api/v1/control/data-sources", "data_source_id", theirs),
    ):
        text = site.ask("GET", path, key).text
        assert mine[own] in text
        assert others[own] not in text
    listed = site.ask("GET", "/indexes", key)
    assert listed.json is not None
    assert {one["tenant"] for one in listed.json["indexes"]} == {"acme"}
    assert listed.headers["X-Total-Count"] == str(len(listed.json["indexes"]))
    assert site.ask("GET", "/indexes?tenant=globex", key).status_code == 403
    text = site.ask("GET", "/v1/voiceai/knowledge-base", key).text
    assert my_document in text
    assert their_document not in text
    items = [
        {"document_id": one, "create_if_missing": False, "model": MODEL}
        for one in (their_document, MISSING)
    ]
    answer = site.ask("POST", "/v1/voiceai/knowledge-base/rag-index", key, {"items": items}).json
    assert answer is not None
    found = json.loads(json.dumps(answer[their_document]).replace(their_document, MISSING))
    assert found == answer[MISSING]


def assert_refused(answer: TestResponse, rule: Rule, status: int, code: str | None = None) -> None:
    """In the shape of the contract that the route belongs to."""
    assert answer.json is not None
    if rule.rule.startswith("/api/v1/control/"):
        assert answer.json.keys() == {"detail", "code"}
    elif rule.rule.startswith("/v1/voiceai/"):
        assert answer.json["detail"].keys() == {"status", "message"}
    elif status == 401:
        assert answer.json["fault"]["detail"]["errorcode"] == code
    else:
        assert answer.json["code"] == status


def test_what_is_refused_is_not_done(site: Site) -> None:
    theirs = site.job("globex")

    site.ask("POST", f"/jobs/{theirs}/cancel", site.key())

    job = site.runtime.catalog.jobs.get(theirs)
    assert job is not None
    assert job.state == "queued"


def test_own_jobs_are_there_and_the_bootstrap_key_sees_all(site: Site) -> None:
    mine, theirs = site.job("acme"), site.job("globex")

    assert site.ask("GET", f"/jobs/{mine}", site.key(Scope.AGENT_READ)).status_code == 200
    for job in (mine, theirs):
        assert site.client.get(f"/jobs/{job}", headers={"x-api-key": BOOTSTRAP_KEY}).json


def test_a_key_is_accepted_in_either_header(site: Site) -> None:
    job, key = site.job("acme"), site.key().reveal()

    for headers in ({"x-api-key": key}, {"Authorization": f"bearer  {key}"}):
        assert site.client.get(f"/jobs/{job}", headers=headers).status_code == 200
    for headers in ({"Authorization": key}, {"Authorization": f"Basic {key}"}):
        assert site.client.get(f"/jobs/{job}", headers=headers).status_code == 401
    assert site.client.get(f"/jobs/{job}?api_key={key}").status_code == 401


def test_what_is_not_there_is_told_to_nobody_without_a_credential(site: Site) -> None:
    assert site.ask("GET", "/nothing").status_code == 401
    assert site.ask("GET", "/nothing", site.key()).status_code == 404
    assert site.ask("PUT", f"/jobs/{MISSING}", site.key()).status_code == 405


def test_tokens_of_a_provider_are_told_why_they_are_refused(open_site: Open) -> None:
    with identity_provider() as provider:
        site = open_site(issuers=[{"issuer": provider.issuer, "audience": AUDIENCE}])
        job, theirs = site.job("acme"), site.job("globex")
        token = provider.token()

        assert site.ask("GET", f"/jobs/{job}", token).status_code == 200
        assert site.ask("GET", f"/jobs/{theirs}", token).status_code == 404
        assert site.ask("GET", f"/jobs/{job}", provider.token(scope="")).status_code == 403
        expired = site.ask("GET", f"/jobs/{job}", provider.token(exp=1))
        assert expired.json is not None
        assert expired.json["fault"] == {
            "faultstring": "The access token has expired.",
            "detail": {"errorcode": "keymanagement.service.access_token_expired"},
        }
        answer = _away(site, provider, job)

    assert answer.status_code == 200


def _away(site: Site, provider: Provider, job: str) -> TestResponse:
    """A known token while the provider is down."""
    token = provider.token(n=1)
    site.ask("GET", f"/jobs/{job}", token)
    provider.down = True
    return site.ask("GET", f"/jobs/{job}", token)


def test_a_provider_that_is_down_is_an_outage(open_site: Open) -> None:
    with identity_provider() as provider:
        site = open_site(issuers=[{"issuer": provider.issuer, "audience": AUDIENCE}])
        provider.down = True
        answer = site.ask("GET", f"/jobs/{MISSING}", provider.token())

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert provider.issuer not in answer.text


# POST /oauth/token


def grant(site: Site, secret: Secret | None = None, **form: Any) -> TestResponse:
    client = {} if secret is None else {"client_id": secret.id, "client_secret": secret.secret}
    return site.client.post(
        "/oauth/token", data={"grant_type": "client_credentials", **client, **form}
    )


def basic(secret: Secret) -> dict[str, str]:
    pair = base64.b64encode(f"{secret.id}:{secret.secret}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def test_a_key_is_exchanged_for_a_token_that_every_replica_accepts(open_site: Open) -> None:
    site, replica = open_site(), open_site()
    secret, job = site.key(Scope.AGENT_READ, Scope.AGENT_MANAGE), site.job("acme")

    answer = grant(site, secret)

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json
    assert body is not None
    assert body.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["scope"]) == ("Bearer", "ai.agent_manage ai.agent_read")
    assert 3590 <= body["expires_in"] <= 3600
    for one in (site, replica):
        assert one.ask("GET", f"/jobs/{job}", body["access_token"]).status_code == 200
        assert one.ask("GET", f"/jobs/{site.job('globex')}", secret).status_code == 404


def test_a_client_may_use_http_basic_and_ask_for_less(open_site: Open) -> None:
    site = open_site(token_lifetime=90)
    secret, job = site.key(), site.job("acme")
    form = {"grant_type": "client_credentials", "scope": "ai.agent_read"}

    body = site.client.post("/oauth/token", data=form, headers=basic(secret)).json

    assert body is not None
    assert body["scope"] == "ai.agent_read"
    assert body["expires_in"] <= 90
    assert site.ask("GET", f"/jobs/{job}", body["access_token"]).status_code == 200
    assert site.ask("POST", f"/jobs/{job}/cancel", body["access_token"]).status_code == 403


def test_a_token_is_not_exchanged_for_another(site: Site) -> None:
    body = grant(site, site.key()).json
    assert body is not None
    token = Secret.parse(body["access_token"])
    assert token is not None

    assert grant(site, token).status_code == 401


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_secret": "0" * 64}, 401, "invalid_client"),
        ({"client_secret": ""}, 401, "invalid_client"),
        ({"client_id": ""}, 401, "invalid_client"),
        ({"client_id": "a.b", "client_secret": "c.d"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"scope": "ai.agent_read admin"}, 400, "invalid_scope"),
        ({"scope": ["ai.agent_read", "ai.agent_read"]}, 400, "invalid_request"),
    ],
)
def test_a_refused_grant_says_why_as_the_standard_has_it(
    site: Site, form: dict[str, Any], status: int, error: str
) -> None:
    answer = grant(site, site.key(Scope.AGENT_READ), **form)

    assert answer.status_code == status
    assert answer.json is not None
    assert answer.json.keys() == {"error", "error_description"}
    assert answer.json["error"] == error
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_other_ways_to_ask_for_a_token_are_refused(site: Site) -> None:
    secret = site.key()
    form = {"grant_type": "client_credentials"}
    credentials = {"client_id": secret.id, "client_secret": secret.secret}

    both = site.client.post("/oauth/token", data={**form, **credentials}, headers=basic(secret))
    query = site.client.post("/oauth/token", query_string={**form, **credentials})
    body = site.client.post("/oauth/token", json={**form, **credentials})
    broken = site.client.post("/oauth/token", data=form, headers={"Authorization": "Basic !"})
    bootstrap = site.client.post(
        "/oauth/token", data={**form, "client_id": "x", "client_secret": BOOTSTRAP_KEY}
    )

    answers = [both, query, body, broken, bootstrap]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 401, 401]
    assert site.client.get("/oauth/token").status_code == 401


def test_a_revoked_or_expired_key_gets_no_token(site: Site) -> None:
    secret = site.key()
    site.runtime.catalog.api_keys.revoke(secret.id)
    _, ended = site.runtime.catalog.api_keys.create(
        tenants=["acme"], scopes=[Scope.AGENT_READ], lifetime=0
    )

    for one in (secret, ended):
        answer = grant(site, one)
        assert answer.json is not None
        assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")
        assert one.secret not in answer.text


# Limits


def test_a_credential_that_asks_too_often_has_to_wait(open_site: Open) -> None:
    site, replica = open_site(requests_per_minute=2), open_site(requests_per_minute=2)
    secret, other = site.key(), site.key()
    token = grant(site, secret).json
    assert token is not None
    assert replica.ask("GET", f"/jobs/{MISSING}", token["access_token"]).status_code == 404

    answer = site.ask("GET", f"/jobs/{MISSING}", secret)

    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert answer.json is not None
    assert (answer.json["code"], answer.json["type"]) == (429, "too_many_requests")
    assert site.ask("GET", f"/jobs/{MISSING}", other).status_code == 404
    for _number in range(10):
        assert site.ask("GET", f"/jobs/{MISSING}", BOOTSTRAP_KEY).status_code == 404


def test_limits_may_be_lifted(open_site: Open) -> None:
    site = open_site(requests_per_minute=None, failures_per_minute=None)

    for _number in range(10):
        assert site.ask("GET", f"/jobs/{MISSING}", "wrong").status_code == 401


@pytest.mark.parametrize(("proxies", "status"), [(0, 429), (1, 401)])
def test_failures_are_counted_by_the_address_that_the_proxies_tell(
    open_site: Open, proxies: int, status: int
) -> None:
    site = open_site(failures_per_minute=2, trusted_proxies=proxies)

    def fail(address: str) -> int:
        # What stands before the proxy's entry is the client's own invention.
        headers = {"x-api-key": "wrong", "X-Forwarded-For": f"10.0.0.1, {address}"}
        return site.client.get(f"/jobs/{MISSING}", headers=headers).status_code

    assert [fail("192.0.2.1") for _ in range(3)] == [401, 401, 429]
    assert fail("192.0.2.2") == status


def test_the_token_endpoint_counts_failures_too(open_site: Open) -> None:
    site = open_site(failures_per_minute=2)

    answers = [grant(site, Secret.new(SecretKind.API_KEY)).status_code for _ in range(3)]

    assert answers == [401, 401, 429]


def test_while_redis_is_away_requests_that_do_not_need_it_are_answered(
    open_site: Open, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    with servers.redis(tmp_path / "own") as redis:
        site = open_site(redis=redis.url, requests_per_minute=1)
        job, key = site.job("acme"), site.key()
        redis.stop()

        for _number in range(3):
            assert site.ask("GET", f"/jobs/{job}", key).status_code == 200
        redis.start()


# Bodies


def test_a_body_that_is_too_deep_or_too_large_is_refused(site: Site) -> None:
    path, headers = "/ai-rag-indexer/acme/article/search", bearer(site.key())
    json_type = {"content-type": "application/json"}

    deep = site.client.post(path, data="[" * 100_000, headers={**headers, **json_type})
    large = site.client.post(path, data="x" * (MAX_BODY + 1), headers={**headers, **json_type})

    assert (deep.status_code, large.status_code) == (400, 413)


def test_the_console_sends_whoever_is_not_signed_in_to_the_place_where_that_is_done(
    site: Site,
) -> None:
    for method, rule in console_routes(site):
        for credential in (None, site.key()):
            answer = site.ask(method, path_of(rule), credential)
            assert answer.status_code == 303, rule
            assert answer.headers["Location"].startswith("/console/sign-in?")


def test_every_route_of_the_console_wants_its_scope(site: Site) -> None:
    for method, rule in console_routes(site):
        with site.app.app_context():
            wanted = scope_of(rule.endpoint)
        lacking = site.key(*(scope for scope in Scope if scope != wanted)).reveal()
        browser = site.client
        signed_in = browser.post("/console/sign-in", data={"credential": lacking})
        assert signed_in.status_code == 303
        assert browser.open(path_of(rule), method=method).status_code == 403, rule


def console_routes(site: Site) -> Iterator[tuple[str, Rule]]:
    """Every method of every page and button behind the sign-in."""
    for rule in site.app.url_map.iter_rules():
        if rule.endpoint.startswith("console.") and rule.endpoint not in PUBLIC:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield method, rule
