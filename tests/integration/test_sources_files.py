"""Files on disk: tables of records, and folders of documents."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listings import list_all, list_anew, pages_of
from word_documents import word

from celeriac.errors import SourceError
from celeriac.model import Counters, TextField
from celeriac.sources.base import Source
from celeriac.sources.registry import build_source


def files(path: Path | str, **options: Any) -> Source:
    return build_source({"kind": "files", "path": str(path), **options})


def records(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": number, "text": f"entity {number} – ü" * (number % 7)}
        for number in range(start, start + count)
    ]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=7)


Write = Callable[[Path, list[dict[str, Any]]], None]
TABLES = [
    pytest.param("jsonl", write_jsonl, id="jsonl"),
    pytest.param("csv", write_csv, id="csv"),
    pytest.param("parquet", write_parquet, id="parquet"),
]


# Every format of tables


@pytest.mark.parametrize(("suffix", "write"), TABLES)
@pytest.mark.parametrize("page_size", [1, 7, 20, 21, 100])
def test_every_record_is_listed_once_in_order(
    tmp_path: Path, suffix: str, write: Write, page_size: int
) -> None:
    write(tmp_path / f"a.{suffix}", records(20))

    listed = list_all(files(tmp_path / f"a.{suffix}", page_size=page_size))

    assert listed.ids == [str(number) for number in range(20)]
    assert [entity.fields["text"] for entity in listed.entities] == [
        row["text"] for row in records(20)
    ]
    assert listed.failures == []
    assert listed.pages == -(-20 // page_size)


@pytest.mark.parametrize(("suffix", "write"), TABLES)
def test_another_process_goes_on_where_the_cursor_says(
    tmp_path: Path, suffix: str, write: Write
) -> None:
    write(tmp_path / f"a.{suffix}", records(50))

    listed = list_anew(lambda: files(tmp_path / f"a.{suffix}", page_size=3))

    assert listed.ids == [str(number) for number in range(50)]


@pytest.mark.parametrize(("suffix", "write"), TABLES)
def test_a_page_read_twice_is_the_same(tmp_path: Path, suffix: str, write: Write) -> None:
    write(tmp_path / f"a.{suffix}", records(30))
    source = files(tmp_path / f"a.{suffix}", page_size=4)
    pages = list(pages_of(source))

    cursors = [None, *(page.next_cursor for page in pages[:-1])]

    assert [source.page(cursor) for cursor in cursors] == pages


@pytest.mark.parametrize(("suffix", "write"), TABLES)
def test_several_threads_read_pages_of_one_source(
    tmp_path: Path, suffix: str, write: Write
) -> None:
    write(tmp_path / f"a.{suffix}", records(200))
    source = files(tmp_path / f"a.{suffix}", page_size=10)
    pages = list(pages_of(source))
    cursors = [None, *(page.next_cursor for page in pages[:-1])] * 3

    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(source.page, cursors))

    assert again == pages * 3


@pytest.mark.parametrize(("suffix", "write"), TABLES)
def test_a_file_replaced_in_the_middle_is_noticed(
    tmp_path: Path, suffix: str, write: Write
) -> None:
    path = tmp_path / f"a.{suffix}"
    write(path, records(20))
    source = files(path, page_size=5)
    cursor = source.page(None).next_cursor

    path.unlink()
    write(path, records(21, start=100))

    with pytest.raises(SourceError, match=r"has changed while it was being listed.*start the job"):
        source.page(cursor)


def test_a_parquet_file_replaced_by_one_of_as_many_rows_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, records(20))
    cursor = files(path, page_size=5).page(None).next_cursor
    fresh = tmp_path / "fresh"
    write_parquet(fresh, records(20)[::-1])  # an export in another order
    fresh.replace(path)
    with pytest.raises(SourceError, match=r"has changed while it was being listed.*start the job"):
        files(path, page_size=5).page(cursor)


@pytest.mark.parametrize(("suffix", "write"), TABLES)
def test_the_only_file_vanishing_is_an_error(tmp_path: Path, suffix: str, write: Write) -> None:
    """Whoever replaces it may be between removing the old one and writing the new."""
    path = tmp_path / f"a.{suffix}"
    write(path, records(20))
    source = files(path, page_size=5)
    cursor = source.page(None).next_cursor
    path.unlink()
    with pytest.raises(SourceError, match=r"went away while it was being listed.*start the job"):
        source.page(cursor)


@pytest.mark.parametrize(("suffix", "write"), TABLES)
def test_a_file_that_vanishes_ends_there_and_the_next_follows(
    tmp_path: Path, suffix: str, write: Write
) -> None:
    write(tmp_path / f"a.{suffix}", records(20))
    write(tmp_path / f"b.{suffix}", records(3, start=100))
    source = files(tmp_path, page_size=5)
    cursor = source.page(None).next_cursor

    (tmp_path / f"a.{suffix}").unlink()
    page = source.page(cursor)

    assert [entity.id for entity in page.entities] == ["100", "101", "102"]
    assert page.next_cursor is None


@pytest.mark.parametrize(("suffix", "write"), TABLES)
def test_an_empty_table_has_no_entities(tmp_path: Path, suffix: str, write: Write) -> None:
    write(tmp_path / f"a.{suffix}", [])
    page = files(tmp_path / f"a.{suffix}").page(None)
    assert (page.entities, page.failures, page.next_cursor) == ((), (), None)


def test_an_id_repeated_within_a_page_is_a_failure(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": 1, "n": 1}, {"id": "1", "n": 2}, {"id": 2, "n": 3}])
    listed = list_all(files(tmp_path / "a.jsonl"))
    assert [entity.fields["n"] for entity in listed.entities] == [1, 3]
    assert listed.failed == [("1", "DuplicateId")]


# JSON Lines


def test_lines_may_end_in_any_way_and_be_blank(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"id": 1}\r\n\r\n  \n{"id": 2}\n\n{"id": "\xc3\xbc"}'
    (tmp_path / "a.jsonl").write_bytes(content)
    for size in (1, 2, 10):
        listed = list_all(files(tmp_path / "a.jsonl", page_size=size))
        assert (listed.ids, listed.failures) == (["1", "2", "ü"], [])


POISON = [
    (b'{"id": 1', "is not JSON"),
    (b"[1, 2]", "is a list, not an object"),
    (b'{"id": "\xff"}', "is not utf-8 text"),
    (b'{"text": "no id"}', "has no id"),
    (b'{"id": ' + b"9" * 5000 + b"}", "cannot be read as JSON"),
    (b"[" * 100_000, "cannot be read as JSON"),
    (b'{"id": 1, "text": "' + b"x" * 200_000 + b'"}', "max_entity_bytes allows 150000"),
]


@pytest.mark.parametrize(("line", "complaint"), POISON)
@pytest.mark.parametrize("page_size", [1, 100])
def test_a_line_that_cannot_be_read_does_not_stop_the_others(
    tmp_path: Path, line: bytes, complaint: str, page_size: int
) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id": "a"}\n' + line + b'\n{"id": "b"}\n')

    listed = list_anew(
        lambda: files(tmp_path / "a.jsonl", page_size=page_size, max_entity_bytes=150_000)
    )

    assert listed.ids == ["a", "b"]
    (failure,) = listed.failures
    assert failure.entity_id is None
    assert failure.message.startswith(f"{tmp_path}/a.jsonl:2 ")
    assert complaint in failure.message


def test_a_line_longer_than_allowed_at_the_end_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id": "a"}\n' + b"x" * 500_000)
    listed = list_all(files(tmp_path / "a.jsonl", max_entity_bytes=1000))
    assert listed.ids == ["a"]
    assert "has 500000 bytes" in listed.failures[0].message


def test_lines_added_while_the_listing_runs_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, records(10))
    source = files(path, page_size=4)
    first = source.page(None)

    with path.open("a") as file:
        file.write('{"id": "late"}\n')
    rest = [source.page(first.next_cursor)]
    while rest[-1].next_cursor:
        rest.append(source.page(rest[-1].next_cursor))

    assert [entity.id for page in rest for entity in page.entities][-1] == "late"


def test_a_file_rewritten_in_place_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, records(100))
    source = files(path, page_size=10)
    cursor = source.page(None).next_cursor

    with path.open("r+b") as file:
        file.write(b'{"id": "inserted"}\n' + path.read_bytes())

    with pytest.raises(SourceError, match="has changed"):
        source.page(cursor)


def test_another_encoding_is_an_option(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"id": 1, "text": "Köln"}\n'.encode("cp1252"))
    listed = list_all(files(tmp_path / "a.jsonl", encoding="cp1252"))
    assert listed.entities[0].fields["text"] == "Köln"


def test_a_page_ends_when_it_has_read_enough(tmp_path: Path) -> None:
    rows = [{"id": number, "text": "x" * 700_000} for number in range(7)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    pages = list(pages_of(files(tmp_path / "a.jsonl")))
    assert [len(page.entities) for page in pages] == [3, 3, 1]
    assert sum(page.bytes_read for page in pages) == (tmp_path / "a.jsonl").stat().st_size


def test_pages_grow_with_what_is_listed_before_them(tmp_path: Path) -> None:
    for number, count in enumerate((950, 2_500)):
        write_jsonl(tmp_path / f"{number}.jsonl", records(count, number * 1_000))

    pages = list(pages_of(files(tmp_path / "*.jsonl")))
    bounded = list(pages_of(files(tmp_path / "*.jsonl", page_size=150)))

    lengths = [len(page.entities) for page in pages]
    assert sum(lengths) == sum(len(page.entities) for page in bounded) == 3_450
    assert lengths[:10] == [100] * 8 + [100, 112]
    assert all(0 <= after - before <= 80 for before, after in pairwise(lengths[:-1]))
    assert max(lengths) <= sum(lengths) / 8
    assert max(len(page.entities) for page in bounded) == 150


def test_a_page_reads_its_own_part_of_the_file_alone(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", records(10_100))
    *_, before_last, last = pages_of(files(tmp_path / "a.jsonl"))
    cursor = before_last.next_cursor
    another = files(tmp_path / "a.jsonl")
    size = (tmp_path / "a.jsonl").stat().st_size

    before = bytes_read_by_this_process()
    page = another.page(cursor)

    assert page == last
    assert bytes_read_by_this_process() - before < size / 4


def bytes_read_by_this_process() -> int:
    counters = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in counters)["rchar"])


# CSV


def test_quoted_values_hold_line_breaks_delimiters_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'\xef\xbb\xbfid,text,\r\n1,"two\r\nlines, ""quoted""",x\r\n\r\n2,plain,\r\n"3","\n\n",'
    )
    for size in (1, 2, 10):
        listed = list_anew(lambda size=size: files(path, page_size=size))
        assert [dict(entity.fields) for entity in listed.entities] == [
            {"id": "1", "text": 'two\r\nlines, "quoted"'},
            {"id": "2", "text": "plain"},
            {"id": "3", "text": "\n\n"},
        ]


@pytest.mark.parametrize(
    ("name", "options", "content"),
    [
        ("a.tsv", {}, "id\ttext\n1\ta,b\n"),
        ("a.csv", {"delimiter": ";"}, "id;text\n1;a,b\n"),
        ("a.dat", {"delimiter": "|", "format": "csv"}, "id|text\n1|a,b\n"),
    ],
)
def test_the_delimiter_is_the_names_or_an_option(
    tmp_path: Path, name: str, options: dict[str, str], content: str
) -> None:
    (tmp_path / name).write_text(content)
    (entity,) = list_all(files(tmp_path / name, **options)).entities
    assert dict(entity.fields) == {"id": "1", "text": "a,b"}


@pytest.mark.parametrize(
    ("record", "failures"),
    [
        (b"1", ["has 1 values; the header has 2"]),
        (b"1,a,b", ["has 3 values; the header has 2"]),
        (b"1,\xff\xfe", ["not utf-8 text"]),
        (b',"no id"', ["has no id"]),
        (b'1,"stray" quote', ["expected after"]),
        (b'1,"open quote', ["is not a record"]),
        (b'1,"' + b"x" * 200_000 + b'"', ["larger than max_entity_bytes"]),
        (b'1,"a stray" quote\nin two lines', ["is not a record", "has 1 values"]),
    ],
)
@pytest.mark.parametrize("page_size", [1, 100])
def test_a_record_that_cannot_be_read_does_not_stop_the_others(
    tmp_path: Path, record: bytes, failures: list[str], page_size: int
) -> None:
    content = b'id,text\na,"1"\n' + record + b'\nb,"2"\nc,"3"\n'
    (tmp_path / "a.csv").write_bytes(content)

    listed = list_anew(
        lambda: files(tmp_path / "a.csv", page_size=page_size, max_entity_bytes=150_000)
    )

    assert listed.ids == ["a", "b", "c"]
    assert len(listed.failures) == len(failures)
    for number, (failure, complaint) in enumerate(zip(listed.failures, failures, strict=True)):
        assert failure.message.startswith(f"{tmp_path}/a.csv:{3 + number} ")
        assert complaint in failure.message


def test_a_quote_open_to_the_end_of_a_large_file_costs_one_record(tmp_path: Path) -> None:
    rows = "".join(f"{number},plain text\n" for number in range(5000))
    (tmp_path / "a.csv").write_text(f'id,text\nx,"open\n{rows}')
    listed = list_all(files(tmp_path / "a.csv", max_entity_bytes=10_000))
    assert listed.ids == [str(number) for number in range(5000)]
    assert listed.failed == [(None, "UnreadableDocument")]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("id,id\n1,2\n", "names 'id' more than once"), ('id,"te\n', "header cannot be read")],
)
def test_a_header_that_cannot_be_used_is_an_error(
    tmp_path: Path, content: str, complaint: str
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(SourceError, match=rf"a\.csv: the header.*{complaint}|{complaint}"):
        files(tmp_path / "a.csv").page(None)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(rows=st.lists(TEXT, max_size=12), size=st.integers(1, 5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_csv_writes_is_read_back_whatever_the_page_size(
    tmp_path: Path, rows: list[str], size: int
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["id", "text"])
    writer.writerows(enumerate(rows))
    path = tmp_path / "a.csv"
    path.write_bytes(buffer.getvalue().encode())

    listed = list_anew(lambda: files(path, page_size=size))

    assert [entity.fields["text"] for entity in listed.entities] == rows
    assert listed.failures == []


@given(lines=st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_listed_the_same_whatever_the_page_size(
    tmp_path: Path, lines: list[bytes]
) -> None:
    for suffix in ("jsonl", "csv"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(b"id,text\n" + b"\n".join(lines))
        whole = list_all(files(path, page_size=100))
        parts = list_anew(lambda path=path: files(path, page_size=1))
        repeated = [failure for failure in whole.failures if failure.entity_id is not None]
        unreadable = [failure for failure in whole.failures if failure.entity_id is None]
        assert list(dict.fromkeys(parts.ids)) == whole.ids
        assert len(parts.ids) == len(whole.ids) + len(repeated)
        assert parts.failures == unreadable


# Parquet


def test_values_of_a_parquet_file_are_plain(tmp_path: Path) -> None:
    moment = dt.datetime(2025, 11, 21, 12, 30, 1, 5, tzinfo=dt.UTC)
    table = pa.table(
        {
            "id": pa.array(["a"]),
            "when": pa.array([moment], pa.timestamp("ns", "UTC")),
            "day": pa.array([dt.date(2025, 11, 21)]),
            "price": pa.array([Decimal("12.50")]),
            "tags": pa.array([["x", "y"]]),
            "nested": pa.array([{"name": {"en": "root"}, "at": [moment]}],
                               pa.struct([("name", pa.struct([("en", pa.string())])),
                                          ("at", pa.list_(pa.timestamp("ns")))])),
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "raw": pa.array([b"\x00\xff"]),
            "nothing": pa.nulls(1),
            "number": pa.array([1.5]),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")

    (entity,) = list_all(files(tmp_path / "a.parquet")).entities

    assert dict(entity.fields) == {
        "id": "a",
        "when": "2025-11-21T12:30:01.000005+00:00",
        "day": "2025-11-21",
        "price": Decimal("12.50"),
        "tags": ["x", "y"],
        "nested": {"name": {"en": "root"}, "at": ["2025-11-21T12:30:01.000005"]},
        "map": [["k", 1]],
        "raw": b"\x00\xff",
        "nothing": None,
        "number": 1.5,
    }


def test_a_time_finer_than_microseconds_is_cut(tmp_path: Path) -> None:
    table = pa.table({"id": ["a"], "at": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns"))})
    pq.write_table(table, tmp_path / "a.parquet")
    (entity,) = list_all(files(tmp_path / "a.parquet")).entities
    assert entity.fields["at"] == "2023-11-14T22:13:20"


def test_a_row_larger_than_allowed_is_a_failure(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [{"id": 1, "text": "x" * 2000}, {"id": 2, "text": "y"}])
    listed = list_all(files(tmp_path / "a.parquet", max_entity_bytes=1000))
    assert listed.ids == ["2"]
    assert listed.failed == [("1", "UnreadableDocument")]
    assert "a.parquet, row 1 has 2014 bytes" in listed.failures[0].message


@pytest.mark.parametrize("keep", [0, 3, 100, -20])
def test_a_parquet_file_cut_off_is_an_error(tmp_path: Path, keep: int) -> None:
    write_parquet(tmp_path / "a.parquet", records(50))
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:keep])
    with pytest.raises(SourceError, match=r"a\.parquet is not a whole Parquet file"):
        files(tmp_path / "a.parquet").page(None)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "a.parquet", records(1))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)  # as if it were not installed
    with pytest.raises(SourceError, match=r"install celeriac\[files\]"):
        files(tmp_path / "a.parquet").page(None)


def test_only_a_few_files_stay_open_between_pages(tmp_path: Path) -> None:
    for number in range(20):
        write_parquet(tmp_path / f"{number:02}.parquet", records(5, start=100 * number))
    source = files(tmp_path, page_size=2)

    list(pages_of(source))
    firsts = [source.page(None) for _ in range(20)]

    assert len({page.next_cursor for page in firsts}) == 1
    assert 1 <= open_files_in(tmp_path) <= 4
    source.close()
    assert open_files_in(tmp_path) == 0


def open_files_in(folder: Path) -> int:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(link.readlink().is_relative_to(folder) for link in links)


# Folders and patterns


def test_files_are_listed_by_name_and_a_page_spans_small_ones(tmp_path: Path) -> None:
    for name in ("b", "a", "sub/c", "B"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_jsonl(tmp_path / f"{name}.jsonl", [{"id": f"{name}{n}"} for n in range(2)])

    pages = list(pages_of(files(tmp_path, page_size=3)))

    assert [[entity.id for entity in page.entities] for page in pages] == [
        ["B0", "B1", "a0"],
        ["a1", "b0", "b1"],
        ["sub/c0", "sub/c1"],
    ]


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("*.jsonl", ["a"]),
        ("**/*.jsonl", ["a", "c"]),
        ("sub/?.jsonl", ["c"]),
        ("[ab].*", ["a", "b"]),
        ("", ["a", "b", "c"]),
        ("sub/", ["c"]),
    ],
)
def test_a_path_is_a_file_a_folder_or_a_pattern(
    tmp_path: Path, pattern: str, ids: list[str]
) -> None:
    (tmp_path / "sub").mkdir()
    write_jsonl(tmp_path / "a.jsonl", [{"id": "a"}])
    (tmp_path / "b.csv").write_text("id\nb\n")
    write_jsonl(tmp_path / "sub" / "c.jsonl", [{"id": "c"}])
    write_jsonl(tmp_path / ".hidden.jsonl", [{"id": "hidden"}])
    assert list_all(files(f"{tmp_path}/{pattern}")).ids == ids


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["a.md", "b.xyz", "notes/a.md", "notes/old/c.md", "notes/old/d.txt"]),
        ({"include": ["*.md"]}, ["a.md", "notes/a.md", "notes/old/c.md"]),
        ({"include": ["*.md"], "exclude": ["old/"]}, ["a.md", "notes/a.md"]),
        ({"exclude": ["*.xyz", "notes/*.md"]}, ["a.md", "notes/old/c.md", "notes/old/d.txt"]),
        ({"include": ["notes/**/*.md"]}, ["notes/a.md", "notes/old/c.md"]),
        ({"include": ["/a.md", "d.*"]}, ["a.md", "notes/old/d.txt"]),
        ({"exclude": ["notes/"]}, ["a.md", "b.xyz"]),
        ({"include": ["[!a].???"]}, ["b.xyz", "notes/old/d.txt"]),
        ({"include": ["*.pdf"]}, []),
    ],
)
def test_patterns_choose_among_the_files(
    tmp_path: Path, options: dict[str, list[str]], names: list[str]
) -> None:
    (tmp_path / "notes" / "old").mkdir(parents=True)
    for name in ("a.md", "b.xyz", "notes/a.md", "notes/old/c.md", "notes/old/d.txt"):
        (tmp_path / name).write_text("x", "utf-8")
    (page,) = pages_of(files(tmp_path, **options))
    listed = [one.id for one in page.entities] + [str(one.entity_id) for one in page.failures]
    assert sorted(listed) == names


def test_what_a_pattern_leaves_out_is_swept_and_comes_back_without_it(
    world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("a.md", "b.md", "draft.md", "data.xyz"):
        (folder / name).write_text(f"The text of {name}", "utf-8")
    world.declare(text_fields=(TextField("text"),))

    def reindexed(**options: list[str]) -> Counters:
        world.source = files(folder, **options)  # type: ignore[assignment]
        world.refresh()
        return world.reindex(removal_limit=1.0).counters

    assert reindexed().failed == 1
    without = reindexed(exclude=["draft.*", "*.xyz"])
    assert (without.listed, without.removed, without.failed) == (2, 1, 0)
    again = reindexed(exclude=["*.xyz"])
    assert (again.unchanged, again.indexed, again.failed) == (2, 1, 0)


def test_a_name_with_the_signs_of_a_pattern_is_a_name_first(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a[1].jsonl", [{"id": "literal"}])
    write_jsonl(tmp_path / "a1.jsonl", [{"id": "matched"}])
    assert list_all(files(tmp_path / "a[1].jsonl")).ids == ["literal"]


def test_a_relative_path_starts_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": "a"}])
    monkeypatch.chdir(tmp_path)
    assert list_all(files("*.jsonl")).ids == ["a"]


@pytest.mark.parametrize("change", ["added", "removed and added"])
def test_a_worker_that_listed_the_files_for_another_job_lists_them_again(
    tmp_path: Path, change: str
) -> None:
    for name in "acf":
        write_jsonl(tmp_path / f"{name}.jsonl", [{"id": name, "text": name}])
    one, other = (files(tmp_path, page_size=1) for _ in range(2))
    assert list_all(one).ids == ["a", "c", "f"]
    write_jsonl(tmp_path / "d.jsonl", [{"id": "d", "text": "d"}])
    if change != "added":
        (tmp_path / "f.jsonl").unlink()
    page, listed = other.page(None), []
    while page.next_cursor:
        listed += page.entities
        page = one.page(page.next_cursor)
    listed += page.entities
    expected = ["a", "c", "d", "f"] if change == "added" else ["a", "c", "d"]
    assert [entity.id for entity in listed] == expected


def test_an_empty_folder_has_no_entities(tmp_path: Path) -> None:
    page = files(tmp_path).page(None)
    assert (page.entities, page.next_cursor, page.total) == ((), None, 0)


@pytest.mark.parametrize("table", [write_jsonl, write_csv])
def test_pages_know_better_and_better_how_many_entities_there_are(
    tmp_path: Path, table: Callable[[Path, list[dict[str, Any]]], None]
) -> None:
    """Whose first texts are short, as a collection's often are."""
    rows = [{"id": number, "text": "x" * (10 if number < 100 else 200)} for number in range(400)]
    table(tmp_path / "a", rows)
    source = files(tmp_path / "a", format="csv" if table is write_csv else "jsonl", page_size=20)
    estimates = [page.estimate for page in pages_of(source) if page.next_cursor is not None]
    errors = [abs((estimate or 0) - len(rows)) for estimate in estimates]
    assert errors[-1] <= 20 < errors[0]
    assert errors[4:] == sorted(errors[4:], reverse=True)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("missing", "does not exist"),
        ("missing/a.jsonl", "does not exist"),
        ("*.jsonl", "matches no file"),
        ("a.jsonl/b", "cannot be read|does not exist"),
    ],
)
def test_a_path_that_leads_nowhere_is_an_error(tmp_path: Path, path: str, complaint: str) -> None:
    (tmp_path / "a.jsonl").mkdir() if path.startswith("a.jsonl") else None
    with pytest.raises(SourceError, match=complaint):
        files(tmp_path / path).page(None)


def test_a_single_file_must_tell_its_format(tmp_path: Path) -> None:
    (tmp_path / "export").write_text('{"id": 1}\n')
    with pytest.raises(SourceError, match=r"does not tell its format; set the source's `format`"):
        files(tmp_path / "export").page(None)
    assert list_all(files(tmp_path / "export", format="jsonl")).ids == ["1"]


def test_what_writers_leave_beside_their_tables_is_left_out(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "part-00000", [{"id": 1}])
    (tmp_path / "_SUCCESS").touch()
    listed = list_all(files(tmp_path, format="jsonl"))
    assert (listed.ids, listed.failures) == (["1"], [])


def test_a_cursor_taken_under_other_options_is_an_error(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", records(10))
    cursor = files(tmp_path, page_size=2).page(None).next_cursor
    write_parquet(tmp_path / "a.jsonl", records(10))
    with pytest.raises(SourceError, match="options have changed"):
        files(tmp_path, page_size=2, format="parquet").page(cursor)
    with pytest.raises(SourceError, match="options have changed"):
        files(tmp_path).page('{"page": 3}')


# Documents


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "guides").mkdir()
    (tmp_path / "readme.txt").write_text("A root.\n")
    (tmp_path / "guides" / "soup.md").write_text("# Soup\n\nPeel it.")
    (tmp_path / "guides" / "page.html").write_text("<title>Page</title><p>One<p>Two")
    os.utime(tmp_path / "readme.txt", (1_700_000_000, 1_700_000_000))
    return tmp_path


def test_a_document_is_an_entity_named_by_its_path(library: Path) -> None:
    listed = list_all(files(library))
    assert listed.ids == ["guides/page.html", "guides/soup.md", "readme.txt"]
    assert dict(listed.entities[2].fields) == {
        "text": "A root.",
        "path": "readme.txt",
        "name": "readme.txt",
        "media_type": "text/plain",
        "modified": "2023-11-14T22:13:20+00:00",
        "size": 8,
    }
    assert [listed.entities[0].fields[name] for name in ("title", "text", "name")] == [
        "Page",
        "One\n\nTwo",
        "page.html",
    ]


@pytest.mark.parametrize("page_size", [1, 2, 3])
def test_documents_are_listed_in_pages_with_their_total(library: Path, page_size: int) -> None:
    assert (
        list_anew(lambda: files(library, page_size=page_size)).ids == list_all(files(library)).ids
    )
    assert {page.total for page in pages_of(files(library, page_size=page_size))} == {3}


def test_documents_that_cannot_be_read_are_failures_under_their_id(library: Path) -> None:
    (library / "latin.txt").write_bytes("Köln".encode("latin-1"))
    (library / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    (library / "huge.txt").write_bytes(b"x" * 2000)
    (library / "sheet.xlsx").write_bytes(b"PK")

    listed = list_all(files(library, max_entity_bytes=1000))

    assert len(listed.entities) == 3
    assert {failure.entity_id: failure.error_class for failure in listed.failures} == dict.fromkeys(
        ("latin.txt", "broken.pdf", "huge.txt", "sheet.xlsx"), "UnreadableDocument"
    )
    by_id = {failure.entity_id: failure.message for failure in listed.failures}
    assert by_id["latin.txt"].startswith("latin.txt: Byte 1 (0xf6) is not utf-8")
    assert "max_entity_bytes allows 1000" in by_id["huge.txt"]
    assert ".txt, .text, .md" in by_id["sheet.xlsx"]


def test_word_documents_are_listed_with_their_title_and_text(library: Path) -> None:
    (library / "leek.docx").write_bytes(word(make=lambda made: made.add_heading("Leek", 1)))
    (library / "torn.docx").write_bytes(word("Torn")[:500])
    listed = list_all(files(library))
    leek = next(one for one in listed.entities if one.id == "leek.docx")
    assert (leek.fields["title"], leek.fields["text"]) == ("Leek", "Leek")
    assert listed.failed == [("torn.docx", "UnreadableDocument")]


def test_a_document_whose_name_is_not_text_is_a_failure(library: Path) -> None:
    Path(os.fsdecode(os.fsencode(library) + b"/caf\xe9.txt")).write_text("x")
    listed = list_all(files(library))
    assert len(listed.entities) == 3
    assert listed.failed == [(None, "MissingId")]
    listed.failures[0].message.encode()


def test_links_to_files_are_followed_and_links_to_folders_are_not(library: Path) -> None:
    (library / "link.txt").symlink_to(library / "readme.txt")
    (library / "dangling.txt").symlink_to(library / "nowhere")
    (library / "guides" / "up").symlink_to(library)
    os.mkfifo(library / "pipe.txt")
    assert list_all(files(library)).ids == [
        "guides/page.html",
        "guides/soup.md",
        "link.txt",
        "readme.txt",
    ]


def test_documents_added_and_removed_meanwhile_do_not_disturb_the_others(library: Path) -> None:
    source = files(library, page_size=1)
    first = source.page(None)

    (library / "guides" / "soup.md").unlink()
    (library / "a first.txt").write_text("before what is listed")
    second = files(library, page_size=1).page(first.next_cursor)
    stale = source.page(first.next_cursor)

    assert [entity.id for entity in first.entities] == ["guides/page.html"]
    assert [entity.id for entity in second.entities] == ["readme.txt"]
    assert [entity.id for entity in stale.entities] == ["readme.txt"]


def test_pages_of_documents_are_read_by_several_threads(library: Path) -> None:
    for number in range(50):
        (library / f"{number:03}.txt").write_text(f"document {number}")
    source = files(library, page_size=5)
    cursors: list[str | None] = [None]
    cursors += [page.next_cursor for page in pages_of(source) if page.next_cursor]
    barrier = threading.Barrier(4)

    def read_all(_: int) -> list[str]:
        barrier.wait()
        return [entity.id for cursor in cursors for entity in source.page(cursor).entities]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(read_all, range(4)))

    assert len(results[0]) == 53
    assert all(result == results[0] for result in results)
