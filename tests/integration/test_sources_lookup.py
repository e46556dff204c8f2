"""Entities looked up by their ids: in real databases, and on a real HTTP server."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import sqlalchemy as sa
from listings import close_opened, list_all, opened
from marshmallow import ValidationError
from rest_server import Request, Response, RestServer, rest_server

from celeriac.errors import SourceError, SourceUnavailable
from celeriac.model import Page
from celeriac.sources.base import LookupSource, look_up
from celeriac.sources.registry import build_source, load_options


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_opened()


def lookup_source(options: Mapping[str, Any]) -> LookupSource:
    source = opened(build_source(options))
    assert isinstance(source, LookupSource)
    return source


def fields_of(page: Page) -> dict[str, Mapping[str, Any]]:
    return {entity.id: entity.fields for entity in page.entities}


def assert_as_listed(source: LookupSource, gone: list[str]) -> None:
    """Each entity of the listing is looked up as it is listed; `gone` are not there."""
    listed = list_all(source)
    found = look_up(source, [*gone, *listed.ids])
    assert fields_of(found) == {entity.id: entity.fields for entity in listed.entities}
    assert len(found.entities) == len(listed.entities) > 0
    assert found.gone == tuple(gone)
    assert found.next_cursor is None


def test_files_are_not_looked_up(tmp_path: Path) -> None:
    source = opened(build_source({"kind": "files", "path": str(tmp_path)}))
    assert not isinstance(source, LookupSource)


# Databases


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        sqlite3.connect(tmp_path / "shop.db").close()
        (tmp_path / "shop.db").touch()
        return f"sqlite:///{tmp_path / 'shop.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


def run(url: str, *statements: str, rows: list[dict[str, Any]] | None = None) -> None:
    """Execute statements, the last one with each row."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements[:-1]:
            connection.exec_driver_sql(statement)
        last = sa.text(statements[-1])
        connection.execute(last, rows) if rows is not None else connection.execute(last)
    engine.dispose()


def sql(url: str, **options: Any) -> LookupSource:
    if "query" not in options:
        options.setdefault("table", "products")
    return lookup_source({"kind": "sql", "url": url, **options})


NUMBERS = ["7", "-7", "0", "2147483648", "9223372036854775807"]
ABSENT = ["8", "07", "+7", "7.0", "seven", "", "9" * 30, "a'; --", "1_000", " 7"]


@pytest.mark.parametrize("kind", ["bigint", "integer", "text", "varchar(40)"])
def test_rows_are_looked_up_as_they_are_listed(url: str, kind: str) -> None:
    ids = NUMBERS if kind != "integer" else NUMBERS[:3]
    values = ids if kind in ("text", "varchar(40)") else [int(one) for one in ids]
    run(
        url,
        f"CREATE TABLE products (id {kind} PRIMARY KEY, name text)",
        "INSERT INTO products VALUES (:id, :name)",
        rows=[{"id": value, "name": f"product {value} – ü"} for value in values],
    )
    assert_as_listed(sql(url), ABSENT)


def test_text_ids_of_every_shape_are_looked_up(url: str) -> None:
    ids = ["a", "A", "Ä", "a b", "007", "7", "1e3", "x" * 512, "%", "'", "null"]
    run(
        url,
        "CREATE TABLE products (id text PRIMARY KEY)",
        "INSERT INTO products VALUES (:id)",
        rows=[{"id": one} for one in ids],
    )
    assert_as_listed(sql(url), ["00", "b", "1000", "x" * 511])


def test_what_the_database_takes_for_equal_is_not_the_same_entity(url: str) -> None:
    if url.startswith("sqlite"):
        column = "text COLLATE NOCASE"
    else:
        run(
            url,
            "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', "
            "deterministic = false)",
        )
        column = "text COLLATE nocase"
    run(
        url,
        f"CREATE TABLE products (id {column})",
        "INSERT INTO products VALUES (:id)",
        rows=[{"id": "Alpha"}, {"id": "beta"}],
    )
    found = look_up(sql(url), ["alpha", "beta"])
    assert (list(fields_of(found)), found.gone) == (["beta"], ("alpha",))


def test_a_query_is_looked_up_like_a_table(url: str) -> None:
    run(
        url,
        "CREATE TABLE products (id integer PRIMARY KEY, name text)",
        "INSERT INTO products VALUES (:id, :name)",
        rows=[{"id": number, "name": f"product {number}"} for number in range(1, 26)],
    )
    query = "SELECT id * 10 AS code, 'a:b ' || name AS label FROM products WHERE id % 2 = 0;"
    assert_as_listed(sql(url, query=query, id="code"), ["10", "30", "2", "x"])


def test_what_the_listing_leaves_out_is_not_found(url: str) -> None:
    run(
        url,
        "CREATE TABLE products (id text, changed integer)",
        "INSERT INTO products VALUES ('a', 1), ('b', NULL), ('c', 2), (NULL, 3)",
    )
    assert_as_listed(sql(url, key="changed"), ["b"])


def test_of_several_rows_with_one_id_the_listings_first_is_found(url: str) -> None:
    run(
        url,
        "CREATE TABLE products (id text, n integer)",
        "INSERT INTO products VALUES ('a', 3), ('a', 1), ('a', 2), ('b', 5)",
    )
    source = sql(url, key="n")
    assert fields_of(look_up(source, ["a"])) == {"a": {"id": "a", "n": 1}}
    assert fields_of(source.page(None))["a"]["n"] == 1


def test_an_empty_table_has_none_of_them(url: str) -> None:
    run(url, "CREATE TABLE products (id bigint)")
    assert look_up(sql(url), ["1", "a"]).gone == ("1", "a")


@pytest.mark.parametrize(
    ("kind", "ids", "gone"),
    [
        ("uuid", [str(uuid.UUID(int=number << 90)) for number in range(3)], ["x", "0" * 36]),
        ("double precision", ["1", "-5", "4503599627370496"], ["2", "9" * 400, "1.0"]),
        ("date", ["2025-11-21"], ["2025-11-22"]),
        ("timestamp", ["2025-11-21T12:30:00.5"], ["2025-11-21T12:30:00"]),
        ("char(3)", ["ab ", "abc"], ["xyz"]),
    ],
)
def test_ids_of_many_types(postgres_url: str, kind: str, ids: list[str], gone: list[str]) -> None:
    run(
        postgres_url,
        f"CREATE TABLE products (id {kind} PRIMARY KEY)",
        f"INSERT INTO products SELECT CAST(CAST(:id AS text) AS {kind})",
        rows=[{"id": one} for one in ids],
    )
    assert_as_listed(sql(postgres_url), gone)


def test_values_are_plain_and_json_is_parsed(url: str) -> None:
    run(
        url,
        "CREATE TABLE products (id integer, data json, at timestamp)",
        "INSERT INTO products VALUES (1, :data, '2025-11-21 12:30:00')",
        rows=[{"data": '{"name": {"en": "root"}}'}],
    )
    assert_as_listed(sql(url), [])
    assert look_up(sql(url), ["1"]).entities[0].fields["data"] == {"name": {"en": "root"}}


def test_a_lookup_uses_the_primary_key(postgres_url: str) -> None:
    run(
        postgres_url,
        "CREATE TABLE products (id integer PRIMARY KEY, name text)",
        "INSERT INTO products SELECT n, 'x' FROM generate_series(1, 20000) AS n",
    )
    run(postgres_url, "ANALYZE products")
    source = sql(postgres_url)
    statements: list[str] = []
    sa.event.listen(
        source._engine,  # type: ignore[attr-defined]
        "before_cursor_execute",
        lambda _c, cursor, statement, parameters, *_: statements.append(
            cursor.connection.execute(f"EXPLAIN {statement}", parameters).fetchall().__repr__()
        ),
    )
    assert len(look_up(source, [str(number) for number in range(100, 200)]).entities) == 100
    assert "Index" in statements[-1]


def test_a_database_that_refuses_is_an_error(url: str) -> None:
    run(url, "CREATE TABLE products (id integer)")
    with pytest.raises(SourceError, match="vegetables"):
        look_up(sql(url, table="vegetables"), ["1"])


# HTTP


class Shop:
    """An API with a listing and items."""

    def __init__(self) -> None:
        self.items: dict[str, Any] = {
            "1": {"id": 1, "name": {"en": "one"}},
            "a/b c": {"id": "a/b c", "name": {"de": "ü"}},
            "..": {"id": "..", "name": "dots"},
            "?x=1#y": {"id": "?x=1#y", "name": "query"},
        }

    def respond(self, request: Request) -> Response:
        if request.path == "/products":
            return Response(list(self.items.values()))
        return self.item(unquote(request.path.removeprefix("/products/")))

    def item(self, identity: str) -> Response:
        if identity not in self.items:
            return Response({"error": "no such product"}, status=404)
        return Response(self.items[identity])


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def server(shop: Shop) -> Iterator[RestServer]:
    with rest_server(shop.respond) as running:
        yield running
        close_opened()


def rest(server: RestServer, **options: Any) -> LookupSource:
    return lookup_source(
        {
            "kind": "rest",
            "url": f"{server.url}/products",
            "item_url": f"{server.url}/products/{{id}}",
            **options,
        }
    )


def test_items_are_looked_up_as_they_are_listed(server: RestServer) -> None:
    assert_as_listed(rest(server), ["2", "a", "a%2Fb c", ""])


def test_a_source_without_item_urls_is_not_looked_up(server: RestServer) -> None:
    source = opened(build_source({"kind": "rest", "url": f"{server.url}/products"}))
    assert not isinstance(source, LookupSource)


def test_an_id_may_stand_in_the_query(server: RestServer, shop: Shop) -> None:
    server.respond = lambda request: shop.item(request.param("id"))
    source = rest(server, item_url=f"{server.url}/product?v=2&id={{id}}", params={"lang": "all"})
    found = look_up(source, ["a/b c", "?x=1#y", "b"])
    assert (set(fields_of(found)), found.gone) == ({"a/b c", "?x=1#y"}, ("b",))
    assert {request.path for request in server.requests} == {"/product"}
    assert all((one.param("v"), one.param("lang")) == ("2", "all") for one in server.requests)


def test_an_item_may_stand_inside_the_answer(server: RestServer) -> None:
    server.respond = lambda _: Response({"data": {"product": {"id": 1, "name": "one"}}})
    found = look_up(rest(server, item="data.product"), ["1"])
    assert fields_of(found) == {"1": {"id": 1, "name": "one"}}
    with pytest.raises(SourceError, match=r"without 'result'; check the source's `item`"):
        look_up(rest(server, item="result"), ["1"])


def test_lookups_are_authenticated_and_tried_again_like_listings(
    server: RestServer, shop: Shop
) -> None:
    failures = [Response(status=503), Response(status=429, headers={"Retry-After": "0"})]

    def respond(request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer key":
            return Response(status=401)
        return failures.pop() if failures else shop.respond(request)

    server.respond = respond
    auth = {"kind": "bearer", "token": "key"}
    assert list(fields_of(look_up(rest(server, auth=auth), ["1"]))) == ["1"]
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 400, 500])
def test_what_is_refused_is_not_gone(server: RestServer, status: int) -> None:
    server.respond = lambda _: Response(status=status)
    with pytest.raises((SourceError, SourceUnavailable), match=str(status)):
        look_up(rest(server, max_attempts=1), ["1"])


@pytest.mark.parametrize("status", [404, 410])
def test_what_was_removed_is_gone(server: RestServer, status: int) -> None:
    server.respond = lambda _: Response(status=status)
    assert look_up(rest(server), ["1", "2"]).gone == ("1", "2")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([{"id": 1}], "UnreadableDocument"),
        (None, "UnreadableDocument"),
        ({"name": "no id"}, "MissingId"),
        ({"id": 2, "name": "another"}, "UnreadableDocument"),
    ],
)
def test_an_answer_that_is_not_the_item_is_a_failure_of_this_one(
    server: RestServer, shop: Shop, body: Any, error: str
) -> None:
    shop.items = {"1": body, "3": {"id": 3}}
    found = look_up(rest(server), ["1", "3"])
    assert list(fields_of(found)) == ["3"]
    assert [(one.entity_id, one.error_class) for one in found.failures] == [("1", error)]
    assert found.gone == ()


@pytest.mark.parametrize(
    "options",
    [
        {"item_url": "https://api.example.com/products"},
        {"item_url": "https://{id}.example.com/products"},
        {"item_url": "https://{id}/products/{id}"},
        {"item_url": "products/{id}"},
        {"item": "data"},
    ],
)
def test_an_item_url_has_to_hold_the_id(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        load_options({"kind": "rest", "url": "https://api.example.com/products", **options})
    assert list(caught.value.messages) == list(options)  # type: ignore[arg-type]
