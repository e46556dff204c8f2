"""How requests to a REST source are authenticated."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest
from listings import close_opened, list_all, opened
from rest_server import Request, Response, RestServer, rest_server

from celeriac.errors import SourceError, SourceUnavailable
from celeriac.sources.base import Source
from celeriac.sources.registry import build_source

SECRET = "s3cret-k3y"


@dataclass
class Guarded:
    """An API whose tokens a test makes invalid, beside its token endpoint."""

    expires_in: object = 3600
    refused: set[str] = field(default_factory=set)
    issued: int = 0
    forms: list[dict[str, list[str]]] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        if request.path == "/token":
            return self._issue(request)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token in self.refused or not token.startswith("token-"):
            return Response({"error": "invalid_token"}, status=401)
        number, size = int(request.param("pageNumber")), int(request.param("pageSize"))
        return Response([{"id": n} for n in range(10)][(number - 1) * size : number * size])

    def _issue(self, request: Request) -> Response:
        self.forms.append(parse_qs(request.body.decode()))
        self.issued += 1
        body = {"access_token": f"token-{self.issued}", "token_type": "Bearer"}
        if self.expires_in is not None:
            body["expires_in"] = self.expires_in
        return Response(body)


@pytest.fixture
def api() -> Guarded:
    return Guarded()


@pytest.fixture
def server(api: Guarded) -> Iterator[RestServer]:
    with rest_server(api) as running:
        yield running
        close_opened()


def rest(server: RestServer, auth: dict[str, Any], **options: Any) -> Source:
    options = {"url": f"{server.url}/products", "auth": auth, "page_size": 3, **options}
    return opened(build_source({"kind": "rest", **options}))


def oauth2(server: RestServer, **options: Any) -> Source:
    auth = {
        "kind": "oauth2",
        "token_url": f"{server.url}/token",
        "client_id": "celeriac",
        "client_secret": SECRET,
        "scope": "product.read",
    }
    return rest(server, auth, **options)


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"kind": "bearer", "token": "abc"}, "authorization", "Bearer abc"),
        ({"kind": "api_key", "value": "abc"}, "x-api-key", "abc"),
        ({"kind": "api_key", "header": "X-Token", "value": "abc"}, "x-token", "abc"),
        (
            {"kind": "basic", "username": "user", "password": "pä:ss"},
            "authorization",
            "Basic " + base64.b64encode("user:pä:ss".encode()).decode(),
        ),
    ],
)
def test_fixed_credentials_are_sent_as_a_header(
    server: RestServer, auth: dict[str, str], header: str, value: str
) -> None:
    server.respond = lambda _: Response([])
    rest(server, auth).page(None)
    assert server.requests[0].headers[header] == value


def test_fixed_credentials_that_are_refused_are_not_tried_again(server: RestServer) -> None:
    with pytest.raises(SourceError, match=r"answered 401 Unauthorized; check the source's `auth`"):
        rest(server, {"kind": "bearer", "token": SECRET}).page(None)
    assert len(server.requests) == 1


def test_one_token_serves_a_whole_listing(server: RestServer, api: Guarded) -> None:
    assert list_all(oauth2(server)).ids == [str(number) for number in range(10)]
    assert api.forms == [
        {
            "grant_type": ["client_credentials"],
            "client_id": ["celeriac"],
            "client_secret": [SECRET],
            "scope": ["product.read"],
        }
    ]


def test_a_token_is_renewed_before_it_expires(server: RestServer, api: Guarded) -> None:
    api.expires_in = 0
    list_all(oauth2(server))
    tokens = [request.headers["authorization"] for request in server.to("/products")]
    assert tokens == [f"Bearer token-{number}" for number in range(1, 5)]


def test_a_token_refused_in_the_middle_of_a_listing_is_renewed_once(
    server: RestServer, api: Guarded
) -> None:
    source = oauth2(server)
    first = source.page(None)

    api.refused.add("token-1")
    second = source.page(first.next_cursor)

    assert [entity.id for entity in second.entities] == ["3", "4", "5"]
    assert api.issued == 2
    assert len(server.to("/products")) == 3


def test_a_new_token_that_is_refused_too_is_an_error(server: RestServer, api: Guarded) -> None:
    api.refused |= {"token-1", "token-2"}
    with pytest.raises(SourceError, match="answered 401"):
        oauth2(server).page(None)
    assert api.issued == 2


def test_threads_wait_for_one_token(server: RestServer, api: Guarded) -> None:
    source = oauth2(server)
    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(source.page, [None] * 16))
    assert pages == [pages[0]] * 16
    assert api.issued == 1


@pytest.mark.parametrize("expires_in", [None, "3600", "never"])
def test_a_token_may_not_say_how_long_it_lives(
    server: RestServer, api: Guarded, expires_in: object
) -> None:
    api.expires_in = expires_in
    assert len(list_all(oauth2(server)).ids) == 10
    assert api.issued == 1


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_client_that_gets_no_token_is_an_error_without_its_secret(
    server: RestServer, status: int
) -> None:
    server.respond = lambda _: Response({"error": f"bad {SECRET}"}, status=status)
    with pytest.raises(SourceError, match=rf"/token gave no token \(status {status}\)") as caught:
        oauth2(server).page(None)
    assert "`client_secret`" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body", [[], {}, {"access_token": 7}, {"access_token": "line\nbreak"}, {"access_token": "ü"}]
)
def test_an_answer_without_a_token_is_an_error(server: RestServer, body: object) -> None:
    server.respond = lambda _: Response(body)
    with pytest.raises(SourceError, match="without an `access_token`; check `token_url`"):
        oauth2(server).page(None)


def test_a_token_endpoint_that_is_down_may_come_back(server: RestServer, api: Guarded) -> None:
    answers = [Response(status=503), Response(status=503)]
    server.respond = lambda request: answers.pop() if answers else api(request)
    assert len(oauth2(server).page(None).entities) == 3

    server.respond = lambda _: Response(status=503, headers={"Retry-After": "600"})
    with pytest.raises(SourceUnavailable, match="/token answered 503") as caught:
        oauth2(server).page(None)
    assert caught.value.retry_after == 600


def test_the_secret_is_not_shown(server: RestServer) -> None:
    source = oauth2(server)
    source.page(None)
    assert SECRET not in repr(source)
    assert SECRET not in json.dumps([repr(value) for value in vars(source).values()])
