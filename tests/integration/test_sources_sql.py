"""Tables and queries of real databases: SQLite and PostgreSQL."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import servers
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listings import close_opened, list_all, list_anew, opened, pages_of
from sqlalchemy.engine import make_url

from celeriac.errors import SourceError, SourceUnavailable
from celeriac.sources import databases
from celeriac.sources.base import Source
from celeriac.sources.registry import build_source

PRODUCTS = [{"id": number, "name": f"product {number} – ü"} for number in range(1, 26)]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_opened()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    sqlite3.connect(tmp_path / "shop.db").close()
    (tmp_path / "shop.db").touch()
    return f"sqlite:///{tmp_path / 'shop.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    found: str = request.getfixturevalue(f"{request.param}_url")
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


def products(url: str, rows: list[dict[str, Any]] | None = None) -> None:
    run(
        url,
        "CREATE TABLE products (id integer PRIMARY KEY, name text)",
        "INSERT INTO products VALUES (:id, :name)",
        rows=PRODUCTS if rows is None else rows,
    )


def sql(url: str, **options: Any) -> Source:
    if "query" not in options:
        options.setdefault("table", "products")
    return opened(build_source({"kind": "sql", "url": url, **options}))


def failures_of(source: Source) -> list[str]:
    return [failure.message for failure in list_all(source).failures]


# Pages


@pytest.mark.parametrize("page_size", [1, 7, 24, 25, 26, 500])
def test_every_row_is_listed_once_in_order(url: str, page_size: int) -> None:
    products(url)

    pages = list(pages_of(sql(url, page_size=page_size)))

    assert [dict(entity.fields) for page in pages for entity in page.entities] == PRODUCTS
    assert [page.failures for page in pages] == [()] * len(pages)
    assert len(pages) == -(-25 // page_size)
    assert [page.total for page in pages] == [25] + [None] * (len(pages) - 1)
    assert all(page.bytes_read > 0 for page in pages)


def test_another_process_goes_on_where_the_cursor_says(url: str) -> None:
    products(url)
    listed = list_anew(lambda: sql(url, page_size=4))
    assert listed.ids == [str(product["id"]) for product in PRODUCTS]


def test_an_empty_table_has_no_entities(url: str) -> None:
    run(url, "CREATE TABLE products (id integer PRIMARY KEY)")
    page = sql(url).page(None)
    assert (page.entities, page.failures, page.next_cursor, page.total) == ((), (), None, 0)


def test_several_threads_read_pages_of_one_source(url: str) -> None:
    products(url)
    source = sql(url, page_size=3)
    pages = list(pages_of(source))
    cursors = [None, *(page.next_cursor for page in pages[:-1])] * 5
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.page, cursors)) == pages * 5


def test_rows_that_come_and_go_do_not_hide_the_others(url: str) -> None:
    products(url)
    source = sql(url, page_size=5)
    pages = pages_of(source)
    first = next(pages)

    run(url, "DELETE FROM products WHERE id IN (1, 2, 3, 10)")
    run(url, "INSERT INTO products VALUES (-1, 'before'), (100, 'behind')")
    rest = [entity.id for page in pages for entity in page.entities]

    assert [entity.id for entity in first.entities] == ["1", "2", "3", "4", "5"]
    assert rest == [str(number) for number in [*range(6, 10), *range(11, 26), 100]]


def test_a_page_ends_when_it_has_read_enough(url: str) -> None:
    products(url, [{"id": number, "name": "x" * 700_000} for number in range(7)])
    pages = list(pages_of(sql(url)))
    assert [len(page.entities) for page in pages] == [3, 3, 1]


def test_pages_grow_with_what_is_listed_before_them(url: str) -> None:
    products(url, [{"id": number, "name": "x"} for number in range(1_200)])
    lengths = [len(page.entities) for page in pages_of(sql(url))]
    assert lengths == [100] * 9 + [112, 126, 62]


# Tables, queries and keys


def test_a_query_is_listed_like_a_table(url: str) -> None:
    products(url)
    query = """
        SELECT id * 10 AS code, 'a:b :name 100% ' || name AS label
        FROM products WHERE id % 2 = 0 ORDER BY name LIMIT 1000;
    """
    source = sql(url, query=query, id="code", page_size=5)
    listed = list_all(source)
    assert listed.ids == [str(number * 10) for number in range(2, 26, 2)]
    assert listed.entities[0].fields["label"] == "a:b :name 100% product 2 – ü"


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
def test_rows_with_equal_keys_are_all_listed(url: str, page_size: int) -> None:
    run(
        url,
        "CREATE TABLE products (code text PRIMARY KEY, changed integer NOT NULL)",
        "INSERT INTO products VALUES (:code, :changed)",
        rows=[{"code": f"c{number:02}", "changed": number // 4} for number in range(18)],
    )
    listed = list_anew(lambda: sql(url, id="code", key="changed", page_size=page_size))
    assert listed.ids == [f"c{number:02}" for number in range(18)]


@pytest.mark.parametrize("page_size", [1, 3, 100])
def test_rows_without_a_key_are_counted_once(url: str, page_size: int) -> None:
    rows = [{"id": number if number % 3 else None, "name": None} for number in range(12)]
    run(
        url,
        "CREATE TABLE products (id bigint, name text)",
        "INSERT INTO products VALUES (:id, :name)",
        rows=rows,
    )
    listed = list_anew(lambda: sql(url, page_size=page_size))
    assert listed.ids == ["1", "2", "4", "5", "7", "8", "10", "11"]
    assert listed.failed == [(None, "MissingId")]
    assert (
        "products: 4 rows have no value in 'id' and cannot be listed" in listed.failures[0].message
    )


def test_a_missing_id_counts_where_another_column_is_the_key(url: str) -> None:
    run(
        url,
        "CREATE TABLE products (id text, n integer)",
        "INSERT INTO products VALUES ('a', 1), (NULL, 1), ('b', NULL), ('c', 2)",
    )
    listed = list_all(sql(url, key="n", page_size=1))
    assert listed.ids == ["a", "c"]
    assert "2 rows have no value in 'n' or 'id'" in listed.failures[0].message


def test_ids_that_cannot_be_ids_are_failures(url: str) -> None:
    run(
        url,
        "CREATE TABLE products (id text, n integer PRIMARY KEY)",
        "INSERT INTO products VALUES ('a', 1), ('', 2), ('a', 3), ('" + "x" * 600 + "', 4)",
    )
    listed = list_all(sql(url, key="n"))
    assert listed.ids == ["a"]
    assert listed.failed == [(None, "MissingId"), ("a", "DuplicateId"), (None, "MissingId")]
    assert "products, row with n '2' has no id" in listed.failures[0].message


NAMES = ["Ä", "a", "A", "b", "Z", "z", "é", "e", "_", "a b", "ab", "a-b", "10", "9", "ß", "", " "]


@pytest.mark.parametrize("page_size", [1, 3])
def test_text_keys_follow_the_databases_own_order(url: str, page_size: int) -> None:
    run(
        url,
        "CREATE TABLE products (id text PRIMARY KEY)",
        "INSERT INTO products VALUES (:id)",
        rows=[{"id": name} for name in NAMES],
    )
    assert set(list_anew(lambda: sql(url, page_size=page_size)).ids) == {
        name for name in NAMES if name.strip()
    }


def test_a_collation_that_ignores_case_loses_no_row(postgres_url: str) -> None:
    run(
        postgres_url,
        "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', "
        "deterministic = false)",
        'CREATE TABLE products (id text COLLATE "de-x-icu" PRIMARY KEY, '
        "grouped text COLLATE nocase)",
        "INSERT INTO products VALUES (:id, :id)",
        rows=[{"id": name} for name in NAMES if name.strip()],
    )
    for options in ({}, {"key": "grouped"}):
        listed = list_anew(lambda options=options: sql(postgres_url, page_size=2, **options))
        assert sorted(listed.ids) == sorted(name for name in NAMES if name.strip())


@pytest.mark.parametrize("page_size", [1, 2, 3])
def test_ids_that_the_database_takes_for_equal_are_not_lost(
    sqlite_url: str, page_size: int
) -> None:
    """A query's result, or a table without a primary key, may hold several such."""
    run(
        sqlite_url,
        "CREATE TABLE products (id text COLLATE NOCASE)",
        "INSERT INTO products VALUES ('a'), ('A'), ('b'), ('B'), ('b'), ('c')",
    )
    with pytest.raises(SourceError, match=r"'id' .* takes for equal.*set the source's `key`"):
        list_anew(lambda: sql(sqlite_url, page_size=page_size))


@given(names=st.sets(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
                             min_size=1, max_size=5), max_size=15),
       size=st.integers(1, 4))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_can_be_a_key(tmp_path: Path, names: set[str], size: int) -> None:
    path = tmp_path / f"{uuid.uuid4().hex}.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE products (id TEXT PRIMARY KEY)")
    database.executemany("INSERT INTO products VALUES (?)", [(name,) for name in names])
    database.commit()
    database.close()

    listed = list_anew(lambda: sql(f"sqlite:///{path}", page_size=size))

    assert set(listed.ids) == {name for name in names if name.strip()}
    assert len(listed.ids) + len(listed.failures) == len(names)


KEYS: list[tuple[str, list[Any]]] = [
    ("bigint", [-(2**63), -1, 0, 2**31, 2**40, 2**63 - 1]),
    ("smallint", [-5, 1, 300]),
    ("numeric(20, 2)", [Decimal("-1.50"), Decimal("0"), Decimal("2"), Decimal("123456789012.34")]),
    ("uuid", [uuid.UUID(int=number << 90) for number in range(6)]),
    ("date", [dt.date(1, 1, 1), dt.date(2025, 11, 21), dt.date(9999, 12, 31)]),
    ("timestamp", [dt.datetime(2025, 1, 1, 0, 0, 0, micro) for micro in (0, 1, 999_999)]),
    (
        "timestamptz",
        [
            dt.datetime(2025, 1, 1, hour, tzinfo=dt.timezone(dt.timedelta(hours=5)))
            for hour in (1, 2)
        ],
    ),
    ("bytea", [b"", b"\x00", b"\xff\x00"]),
    ("varchar(10)", ["a", "b", "ü"]),
]


@pytest.mark.parametrize(("kind", "keys"), KEYS, ids=[kind for kind, _ in KEYS])
def test_keys_may_be_of_many_types(postgres_url: str, kind: str, keys: list[Any]) -> None:
    run(
        postgres_url,
        f"CREATE TABLE products (k {kind} PRIMARY KEY, id integer)",
        "INSERT INTO products VALUES (:k, :id)",
        rows=[{"k": key, "id": number} for number, key in enumerate(keys)],
    )
    listed = list_anew(lambda: sql(postgres_url, key="k", page_size=1))
    assert listed.ids == [str(number) for number in range(len(keys))]


def test_times_beyond_the_end_can_be_keys_and_values(postgres_url: str) -> None:
    run(
        postgres_url,
        "CREATE TABLE products (id text PRIMARY KEY, until timestamptz, day date)",
        "INSERT INTO products VALUES ('a', '-infinity', '0044-03-15 BC'), "
        "('b', '2025-11-21 12:00+00', '2025-11-21'), ('c', 'infinity', '12345-01-01')",
    )
    run(postgres_url, "ALTER ROLE CURRENT_USER SET timezone TO 'UTC'")
    listed = list_anew(lambda: sql(postgres_url, key="until", page_size=1))
    assert [(e.id, e.fields["until"], e.fields["day"]) for e in listed.entities] == [
        ("a", "-infinity", "0044-03-15 BC"),
        ("b", "2025-11-21T12:00:00+00", "2025-11-21"),
        ("c", "infinity", "12345-01-01"),
    ]


def test_an_enum_can_be_a_key(postgres_url: str) -> None:
    run(
        postgres_url,
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
        "CREATE TABLE products (id mood PRIMARY KEY)",
        "INSERT INTO products VALUES ('happy'), ('sad'), ('ok')",
    )
    assert list_anew(lambda: sql(postgres_url, page_size=1)).ids == ["sad", "ok", "happy"]


@pytest.mark.parametrize("column", ["price", "flag"])
def test_a_key_that_cannot_be_gone_on_from_is_an_error(postgres_url: str, column: str) -> None:
    run(
        postgres_url,
        "CREATE TABLE products (id integer, price real, flag boolean)",
        "INSERT INTO products VALUES (1, 0.1, true), (2, 0.2, false)",
    )
    with pytest.raises(SourceError, match=rf"Column '{column}' holds (float|bool).*`key`"):
        list_all(sql(postgres_url, key=column, page_size=1))


def test_names_keep_their_case_and_their_schema(postgres_url: str) -> None:
    run(
        postgres_url,
        'CREATE SCHEMA "Shop"',
        'CREATE TABLE "Shop"."Order" ("Id" integer, "select" text)',
        "INSERT INTO \"Shop\".\"Order\" VALUES (1, 'x'), (2, 'y')",
    )
    listed = list_all(sql(postgres_url, table="Shop.Order", id="Id", key="select", page_size=1))
    assert listed.ids == ["1", "2"]


# Values


def test_values_are_plain(postgres_url: str) -> None:
    run(
        postgres_url,
        """CREATE TABLE products (id integer, day date, at timestamp, "time" time, price numeric,
           ratio double precision, data jsonb, doc json, tags text[], raw bytea, flag boolean,
           nothing text, code uuid, address inet, span interval)""",
        """INSERT INTO products VALUES (1, '2025-11-21', '2025-11-21 12:30:00.5', '24:00', 12.50,
           1.5, '{"en": ["x"]}', '[1]', '{a,b}', '\\x00ff', true, NULL,
           '00000000-0000-0000-0000-000000000007', '10.0.0.1', '1 day 02:00')""".replace(
            ":", r"\:"
        ),
    )
    (entity,) = list_all(sql(postgres_url)).entities
    assert dict(entity.fields) == {
        "id": 1,
        "day": "2025-11-21",
        "at": "2025-11-21T12:30:00.5",
        "time": "24:00:00",
        "price": Decimal("12.50"),
        "ratio": 1.5,
        "data": {"en": ["x"]},
        "doc": [1],
        "tags": ["a", "b"],
        "raw": b"\x00\xff",
        "flag": True,
        "nothing": None,
        "code": "00000000-0000-0000-0000-000000000007",
        "address": "10.0.0.1",
        "span": "1 day 02:00:00",
    }


def test_json_columns_of_sqlite_tables_are_parsed(sqlite_url: str) -> None:
    run(
        sqlite_url,
        "CREATE TABLE products (id integer, data JSON, plain TEXT)",
        "INSERT INTO products VALUES (1, :data, :data), (2, 'broken {', NULL), (3, NULL, NULL)",
        rows=[{"data": json.dumps({"name": {"en": "root"}})}],
    )
    listed = list_all(sql(sqlite_url))
    assert [entity.fields["data"] for entity in listed.entities] == [
        {"name": {"en": "root"}},
        "broken {",
        None,
    ]
    assert listed.entities[0].fields["plain"] == '{"name": {"en": "root"}}'


def test_text_that_is_not_utf8_spoils_its_own_row_alone(sqlite_url: str) -> None:
    run(
        sqlite_url,
        "CREATE TABLE products (id integer PRIMARY KEY, name text)",
        "INSERT INTO products VALUES (1, 'ok'), (2, CAST(x'4bf6' AS TEXT)), (3, 'fine')",
    )
    listed = list_all(sql(sqlite_url))
    assert [entity.fields["name"] for entity in listed.entities] == ["ok", "K\udcf6", "fine"]


# Reading only


def test_nothing_can_be_written(url: str) -> None:
    products(url)
    engine = databases.connect(url)
    with (
        pytest.raises(SourceError, match=r"read-?only"),
        databases.reading(engine) as connection,
    ):
        connection.exec_driver_sql("DELETE FROM products")
    engine.dispose()
    assert len(list_all(sql(url)).ids) == 25


def test_a_query_that_writes_is_refused(postgres_url: str) -> None:
    products(postgres_url)
    run(
        postgres_url,
        "CREATE FUNCTION sow() RETURNS integer LANGUAGE sql AS "
        "'INSERT INTO products VALUES (99, NULL) RETURNING id'",
    )
    with pytest.raises(SourceError, match="read-only transaction"):
        sql(postgres_url, query="SELECT sow() AS id").page(None)


# Errors


@pytest.mark.parametrize(
    "options",
    [
        {"table": "vegetables"},
        {"id": "code"},
        {"key": "code"},
        {"query": "SELEC id FROM products"},
        {"query": "SELECT id FROM vegetables"},
        {"query": "SELECT id FROM products WHERE (", "page_size": 1},
    ],
)
def test_what_the_database_refuses_is_an_error_in_its_words(
    url: str, options: dict[str, Any]
) -> None:
    products(url)
    with pytest.raises(SourceError, match=r"vegetables|code|SELEC|syntax|incomplete"):
        sql(url, **options).page(None)


def test_a_database_that_is_not_there_may_come_back() -> None:
    (port,) = servers.free_ports(1)
    url = f"postgresql+psycopg://reader:s3cret@127.0.0.1:{port}/shop"
    with pytest.raises(SourceUnavailable, match=rf"postgresql://127.0.0.1:{port}/shop") as caught:
        sql(url).page(None)
    assert "s3cret" not in str(caught.value)


def test_a_database_that_restarts_is_read_on(tmp_path: Path) -> None:
    with servers.postgres(tmp_path) as server:
        server.restart()  # skips where the server is not ours
        products(server.url)
        source = sql(server.url, page_size=20)
        first = source.page(None)

        server.kill()
        with pytest.raises(SourceUnavailable):
            source.page(first.next_cursor)
        server.start()

        assert len(source.page(first.next_cursor).entities) == 5
        source.close()


def test_a_sqlite_file_that_is_missing_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no\.db does not exist; check the source's `url`"):
        sql(f"sqlite:///{tmp_path / 'no.db'}").page(None)
    assert not (tmp_path / "no.db").exists()


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database" * 100)
    with pytest.raises(SourceError, match="file is not a database"):
        sql(f"sqlite:///{tmp_path / 'x.db'}").page(None)


def test_a_locked_database_may_be_free_later(sqlite_url: str) -> None:
    products(sqlite_url)
    writer = sqlite3.connect(make_url(sqlite_url).database or "", isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(SourceUnavailable, match="locked"):
            sql(f"{sqlite_url}?timeout=0.1").page(None)
    finally:
        writer.close()
    assert len(list_all(sql(sqlite_url)).ids) == 25


@pytest.mark.parametrize(
    "cursor", ['{"keys": []}', '{"keys": [["int", "x"]]}', '{"keys": 7}', '{"page": 2}', "x"]
)
def test_a_cursor_taken_under_other_options_is_an_error(sqlite_url: str, cursor: str) -> None:
    products(sqlite_url)
    with pytest.raises(SourceError, match="options have changed"):
        sql(sqlite_url).page(cursor)


def test_a_source_can_be_closed_and_read_again(url: str) -> None:
    products(url)
    source = sql(url)
    first = source.page(None)
    source.close()
    assert source.page(None) == first
