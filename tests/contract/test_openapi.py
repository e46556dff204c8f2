"""The OpenAPI document of our own: valid, complete, and a page that needs no other host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from api import create_app
from api.authorization import scope_of
from api.docs import FROM_PACKAGE, OURS
from celeriac.runtime import Runtime
from celeriac.settings import Settings

Json = dict[str, Any]
HOST = "https://celeriac.example"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """The application; nothing that it depends on runs."""
    home = tmp_path_factory.mktemp("openapi")
    return create_app(Runtime(Settings.load({"CELERIAC_HOME": str(home)})))


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="module")
def document(client: FlaskClient) -> Json:
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    found: Json = answer.get_json()
    return found


def operations(document: Json) -> Iterator[tuple[str, str, Json, Json]]:
    """Path, method, path item and operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, item, operation


def test_it_is_valid(document: Json) -> None:
    assert document["openapi"].startswith("3.1")
    errors = OpenAPIV31SpecValidator(document).iter_errors()
    assert [f"{list(error.path)}: {error.message}" for error in errors] == []


def test_no_route_is_missing(app: Flask, document: Json) -> None:
    routes = {
        (re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith("console.")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, method, _, _ in operations(document)} == routes


def test_texts_of_a_form_with_files_are_not_told_from_numbers(document: Json) -> None:
    properties = document["components"]["schemas"]["BatchNewFile"]["properties"]
    assert properties["file"] == {**properties["file"], "type": "string", "format": "binary"}
    assert "type" not in properties["name"]
    assert properties["name"]["maxLength"] > 0


def test_every_operation_is_described(document: Json) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    seen: set[str] = set()
    for path, method, item, operation in operations(document):
        where = f"{method} {path}"
        assert operation["operationId"] not in seen, where
        seen.add(operation["operationId"])
        assert operation["summary"].endswith("."), where
        assert "\n" not in operation["summary"], where
        assert set(operation["tags"]) <= tags, where
        assert any(status.startswith("2") for status in operation["responses"]), where
        named = {parameter["name"] for parameter in item.get("parameters", [])}
        assert named == set(re.findall(r"{(\w+)}", path)), where
        assert all(parameter["description"] for parameter in item.get("parameters", [])), where


def test_credentials_and_their_errors_are_those_of_the_routes(app: Flask, document: Json) -> None:
    with app.app_context():
        scopes = {name.replace(".", "_"): scope_of(name) for name in app.view_functions}
    for path, method, _, operation in operations(document):
        scope = scopes[operation["operationId"]]
        wanted = [] if scope is None else [{"ApiKey": [scope]}, {"Bearer": [scope]}]
        assert operation["security"] == wanted, f"{method} {path}"
        if scope is not None:
            assert scope in operation["description"]
            assert {"401", "403", "429", "503"} <= operation["responses"].keys(), path


@pytest.mark.parametrize(
    ("path", "status", "schema"),
    [
        ("/ai-rag-indexer/{tenant}/{entity_type}/reindex", "400", "ErrorMessage"),
        ("/ai-rag-indexer/{tenant}/{entity_type}/reindex", "401", "ErrorMessageFault"),
        ("/api/v1/control/knowledge-bases", "422", "HTTPValidationError"),
        ("/api/v1/control/knowledge-bases", "403", "ControlError"),
        ("/v1/voiceai/knowledge-base/rag-index", "422", "HTTPValidationError"),
        ("/v1/voiceai/knowledge-base/rag-index", "401", "BatchError"),
    ],
)
def test_errors_have_the_shape_of_their_contract(
    document: Json, path: str, status: str, schema: str
) -> None:
    ref = document["paths"][path]["post"]["responses"][status]["$ref"]
    response = document["components"]["responses"][ref.rpartition("/")[2]]
    found = response["content"]["application/json"]["schema"]["$ref"]
    assert found == f"#/components/schemas/{schema}"


def test_what_is_not_there_has_no_body_in_the_control_contract(document: Json) -> None:
    item = document["paths"]["/api/v1/control/knowledge-bases/{knowledge_base_id}"]
    ref = item["get"]["responses"]["404"]["$ref"]
    assert "content" not in document["components"]["responses"][ref.rpartition("/")[2]]


def test_every_component_is_used(document: Json) -> None:
    text = str(document)
    for kind in ("schemas", "responses"):
        for name in document["components"][kind]:
            assert f"'#/components/{kind}/{name}'" in text, name


def test_the_page_asks_no_other_host(client: FlaskClient) -> None:
    page = client.get("/docs")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "http" not in policy
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 4
    script = client.get(f"/docs/{OURS}").text
    links += re.findall(r'url: "([^"]+)"', script)
    for link in links:
        found = urljoin(f"{HOST}/docs", link)
        assert found.startswith(HOST), link
        with client.get(found.removeprefix(HOST)) as answer:
            assert answer.status_code == 200, link
    assert "<script>" not in page.text


def test_its_files_come_from_the_package(client: FlaskClient) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
    for name in FROM_PACKAGE:
        with client.get(f"/docs/{name}") as answer:
            assert answer.status_code == 200, name
            assert answer.mimetype == types[Path(name).suffix]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            if name.endswith(".css"):
                assert re.findall(r"@import|url\(\s*['\"]?https?:", answer.text) == []
    assert client.get("/docs/nosuch.js").status_code == 404
