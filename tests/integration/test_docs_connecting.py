"""What docs/connecting.md declares is valid, and lists and indexes what it says."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rest_server import Request, Response, rest_server
from word_documents import word

from api import create_app
from celeriac.catalog.jobs import JobState
from celeriac.configuration import EntityType
from celeriac.inline import Inline
from celeriac.runtime import Runtime
from celeriac.settings import Settings
from celeriac.sources.registry import source_kinds

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "connecting.md").read_text("utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
VARIABLES = {
    "S3_KEY": "k",
    "S3_SECRET": "s",
    "API_TOKEN": "token",
    "API_KEY": "key",
    "API_PASSWORD": "password",
    "CLIENT_SECRET": "secret",
}
PRODUCTS = "sku;name;description;price;stock\nA-1;Möhre;Eine Rübe.;1.5;7\nA-2;Rübe;Noch eine.;2;0\n"
ENTITIES = 250
"""That the REST API has, more than two pages of each kind."""


def declared_in(block: str) -> list[str]:
    return list(yaml.safe_load(block)["tenants"]["acme"]["entity_types"])


def is_local(block: str) -> bool:
    return "rest" not in block and "s3://" not in block


LOCAL = [(block, name) for block in BLOCKS if is_local(block) for name in declared_in(block)]
ANSWERED = [(block, name) for block in BLOCKS if "rest" in block for name in declared_in(block)]


def opened(folder: Path, block: str, **environ: str) -> Runtime:
    """A runtime on this declaration; the default model costs nothing here."""
    file = folder / "celeriac.yaml"
    file.write_text(block + "models: {all-minilm-l6-v2: {engine: stub}}\n", "utf-8")
    return Runtime(Settings.load({"CELERIAC_CONFIG": str(file), **VARIABLES, **environ}))


def list_all(runtime: Runtime, declared: EntityType) -> list[str]:
    """The ids that the source lists."""
    source, ids, cursor = runtime.source(declared), [], None
    while True:
        page = source.page(cursor)
        assert page.failures == ()
        ids += [one.id for one in page.entities]
        if (cursor := page.next_cursor) is None:
            return ids


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the declarations over local files read."""
    article = {"id": 1, "title": "Soup", "body": {"en": "Boil it."}, "published": "2026-01-31"}
    (tmp_path / "articles").mkdir()
    (tmp_path / "articles" / "a.jsonl").write_text(json.dumps(article) + "\n", "utf-8")
    (tmp_path / "products.csv").write_text(PRODUCTS, "cp1252")
    reviews = [{"review_id": "r1", "headline": "Good", "review": "A good root.", "stars": 5}]
    pq.write_table(pa.Table.from_pylist(reviews), tmp_path / "reviews.parquet")
    (tmp_path / "handbook").mkdir()
    (tmp_path / "handbook" / "soup.md").write_text("# Soup\n\nBoil it.", "utf-8")
    (tmp_path / "handbook" / "stew.docx").write_bytes(word("Boil it for longer."))
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.executescript(
            """
            CREATE TABLE tickets (id INTEGER PRIMARY KEY, subject TEXT, body TEXT);
            INSERT INTO tickets VALUES (1, 'Late', 'Where is it?'), (2, 'Broken', 'It is.');
            CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT);
            INSERT INTO customers VALUES (7, 'Ada');
            CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, customer INTEGER);
            INSERT INTO orders VALUES (1, 'Ring twice.', 7);
            """
        )
    return tmp_path


EXPECTED = {"article": 1, "product": 2, "review": 1, "handbook": 2, "ticket": 2, "order": 1}


def test_every_kind_of_source_paging_and_authentication_is_shown() -> None:
    sources = [
        one["source"]
        for block in BLOCKS
        for one in yaml.safe_load(block)["tenants"]["acme"]["entity_types"].values()
    ]
    kinds = {one["kind"] for one in sources}
    paging = {one["pagination"]["kind"] for one in sources if "pagination" in one}
    auth = {one["auth"]["kind"] for one in sources if "auth" in one}

    assert kinds == {"files", "rest", "sql"}
    assert paging == {"page", "offset", "cursor", "link", "none"}
    assert auth == {"bearer", "api_key", "basic", "oauth2"}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_declaration_is_valid(tmp_path: Path, block: str) -> None:
    runtime = opened(tmp_path, block)

    declared = runtime.settings.configuration.tenants["acme"].entity_types
    for one in declared.values():
        runtime.source(one)  # which connects nowhere
    runtime.close()

    assert list(declared) == declared_in(block)
    assert runtime.settings.unknown_variables == ()


@pytest.mark.parametrize(("block", "name"), LOCAL)
def test_what_is_on_this_machine_is_indexed(
    folder: Path, redis_url: str, block: str, name: str
) -> None:
    runtime = opened(
        folder,
        block,
        CELERIAC_HOME=str(folder),
        CELERIAC_REDIS_URL=redis_url,
        CELERIAC_DATABASE_URL=f"sqlite:///{folder / 'catalog.sqlite'}",
    )

    job = Inline(runtime).reindex("acme", name)
    runtime.close()

    assert (job.state, job.message) == (JobState.SUCCEEDED, "")
    assert (job.counters.indexed, job.counters.failed) == (EXPECTED[name], 0)


class Api:
    """Answers as the page says that the APIs of its declarations do."""

    def __init__(self) -> None:
        self.url = ""
        self.items = [{"id": f"e{number}", "name": "x"} for number in range(ENTITIES)]

    def __call__(self, request: Request) -> Response:
        answer = getattr(self, request.path.strip("/").partition(".")[0])
        found: Response = answer(request)
        return found

    def part(self, start: int, size: str) -> list[Any]:
        return self.items[start : start + int(size)]

    def products(self, asked: Request) -> Response:
        size = asked.param("per_page")
        return Response({"data": self.part((int(asked.param("page")) - 1) * int(size), size)})

    def orders(self, asked: Request) -> Response:
        assert asked.param("status") == "open"
        return Response(self.part(int(asked.param("skip")), asked.param("take")))

    def tickets(self, asked: Request) -> Response:
        start, size = int(asked.param("after", "0")), asked.param("limit")
        end = start + int(size)
        meta = {"next": str(end)} if end < ENTITIES else {}
        return Response({"results": self.part(start, size), "meta": meta})

    def notes(self, asked: Request) -> Response:
        start = int(asked.param("cursor", "0"))
        headers = {"X-Next-Cursor": str(start + 100)} if start + 100 < ENTITIES else {}
        return Response(self.part(start, "100"), headers=headers)

    def issues(self, asked: Request) -> Response:
        start, size = int(asked.param("from", "0")), asked.param("per_page")
        end = start + int(size)
        link = f'<{self.url}/issues?per_page={size}&from={end}>; rel="next"'
        return Response(self.part(start, size), headers={"Link": link} if end < ENTITIES else {})

    def faq(self, _: Request) -> Response:
        return Response({"questions": [{**one, "slug": one["id"]} for one in self.items]})

    def a(self, asked: Request) -> Response:
        return self.allowed(asked.headers["authorization"] == "Bearer token", asked)

    def b(self, asked: Request) -> Response:
        return self.allowed(asked.headers["x-api-key"] == "key", asked)

    def c(self, asked: Request) -> Response:
        basic = base64.b64encode(b"celeriac:password").decode()
        return self.allowed(asked.headers["authorization"] == f"Basic {basic}", asked)

    def d(self, asked: Request) -> Response:
        known = asked.headers["authorization"] == "Bearer granted"
        return self.allowed(known and asked.headers["accept-language"] == "en", asked)

    def allowed(self, allowed: bool, asked: Request) -> Response:
        if not allowed:
            return Response(status=401)
        size = asked.param("pageSize")
        return Response(self.part((int(asked.param("pageNumber")) - 1) * int(size), size))

    def oauth(self, asked: Request) -> Response:
        assert b"scope=products.read" in asked.body
        return Response({"access_token": "granted", "token_type": "Bearer", "expires_in": 60})


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    with rest_server(api) as server:
        api.url = server.url
        yield api


@pytest.mark.parametrize(("block", "name"), ANSWERED)
def test_an_api_that_answers_so_is_listed_to_its_end(
    tmp_path: Path, api: Api, block: str, name: str
) -> None:
    block = block.replace("https://api.example.com", api.url)
    block = block.replace("https://login.example.com/oauth/token", f"{api.url}/oauth")
    runtime = opened(tmp_path, block)

    listed = list_all(runtime, runtime.entity_type("acme", name))
    runtime.close()

    assert sorted(listed) == sorted(one["id"] for one in api.items)


def test_which_listings_are_read_twice(tmp_path: Path) -> None:
    rows = dict(re.findall(r"^\| `(\w+)`.*\| (once|twice) \|$", PAGE, re.MULTILINE))
    (block,) = (one for one in BLOCKS if "pagination" in one)
    runtime = opened(tmp_path, block)
    stable = {}
    for name in declared_in(block):
        declared = runtime.entity_type("acme", name)
        stable[declared.source["pagination"]["kind"]] = runtime.source(declared).stable_listing
    runtime.close()

    assert {kind: "once" if one else "twice" for kind, one in stable.items()} == rows


def test_a_kind_of_ones_own_is_found_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (name, target) = re.findall(r'^(\w+) = "(turnips:\w+)"$', PAGE, re.MULTILINE)[0]
    (tmp_path / "turnips.py").write_text(code, "utf-8")
    info = tmp_path / "turnips-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: turnips\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[celeriac.sources]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "turnips", raising=False)
    assert "turnips" in source_kinds()

    block = (
        "tenants: {acme: {entity_types: {root: {source: {kind: turnips}, text_fields: [name]}}}}"
    )
    runtime = opened(tmp_path, block + "\n")
    listed = list_all(runtime, runtime.entity_type("acme", "root"))
    runtime.close()

    assert listed == [f"t{number}" for number in range(250)]


def test_the_paths_of_uploads_are_routes() -> None:
    routes = {str(rule) for rule in create_app(Runtime(Settings.load({}))).url_map.iter_rules()}
    (base,) = re.findall(r"BASE=localhost:8080(\S+)", PAGE)

    for name in re.findall(r"\$BASE(/[\w-]+)", PAGE):
        assert base + name in routes
