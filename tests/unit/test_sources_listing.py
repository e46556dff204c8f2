"""Ids of entities, and what a page makes of entities that cannot be had."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.errors import MissingId, SourceError, UnreadableDocument
from celeriac.sources.listing import MAX_ID_LENGTH, PageBuilder, entity_id
from celeriac.sources.positions import Position


@pytest.mark.parametrize(
    ("value", "identity"),
    [("a-1", "a-1"), (7, "7"), (0, "0"), (-3, "-3"), (2**70, str(2**70)), (12.0, "12")],
)
def test_text_and_whole_numbers_are_ids(value: object, identity: str) -> None:
    assert entity_id({"id": value}, "id", "here") == identity


@pytest.mark.parametrize("path", ["meta.code", "code"])
def test_an_id_is_found_at_its_dotted_path(path: str) -> None:
    assert entity_id({"meta": {"code": "x"}, "code": "x"}, path, "here") == "x"


def test_a_key_spelled_like_the_whole_path_comes_first() -> None:
    assert entity_id({"meta.code": "flat", "meta": {"code": "deep"}}, "meta.code", "") == "flat"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "  ",
        True,
        1.5,
        float("nan"),
        1e300,
        {"a": 1},
        ["a"],
        b"a",
        "x" * (MAX_ID_LENGTH + 1),
        "nul\0",
        "half \ud800",
    ],
)
def test_anything_else_is_no_id_and_the_message_says_where(value: object) -> None:
    with pytest.raises(MissingId, match=r"^data/a\.jsonl:7 has no (usable )?id: "):
        entity_id({"id": value}, "id", "data/a.jsonl:7")


def test_an_id_of_the_greatest_length_is_one() -> None:
    assert entity_id({"id": "x" * MAX_ID_LENGTH}, "id", "") == "x" * MAX_ID_LENGTH


def test_of_entities_with_one_id_the_first_wins() -> None:
    page = PageBuilder("id", 10)
    for position, record in enumerate([{"id": 1, "n": "first"}, {"id": "1", "n": "second"}]):
        page.add(record, f"row {position}")

    built = page.build(None)

    assert [entity.fields["n"] for entity in built.entities] == ["first"]
    (failure,) = built.failures
    assert (failure.entity_id, failure.error_class) == ("1", "DuplicateId")
    assert failure.message.startswith("row 1 repeats the id '1'")


@pytest.mark.parametrize("record", [None, 3, "text", [{"id": 1}]])
def test_what_is_not_an_object_is_a_failure(record: object) -> None:
    page = PageBuilder("id", 10)
    page.add(record, "a.jsonl:2")
    (failure,) = page.build(None).failures
    assert (failure.entity_id, failure.error_class) == (None, "UnreadableDocument")
    assert failure.message.startswith("a.jsonl:2 is ")


def test_failures_count_as_listed() -> None:
    page = PageBuilder("id", 2)
    page.add({"id": 1}, "")
    assert not page.full
    page.add({}, "")
    assert page.full


def test_a_page_that_read_enough_bytes_is_full() -> None:
    page = PageBuilder("id", 100, max_bytes=10)
    page.bytes_read = 10
    assert page.full


def test_messages_can_be_stored_by_any_database() -> None:
    page = PageBuilder("id", 2)
    page.fail(UnreadableDocument("half \ud800 nul \0 " + "x" * 5000))
    (failure,) = page.build(None).failures
    assert failure.message.startswith("half \\ud800 nul \\0 xxx")
    assert len(failure.message) <= 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.lists(JSON | st.fixed_dictionaries({"id": JSON}), max_size=30))
def test_every_record_is_listed_once_and_ids_are_distinct(records: list[object]) -> None:
    page = PageBuilder("id", 1000)
    for position, record in enumerate(records):
        page.add(record, f"item {position}")

    built = page.build(None)

    assert len(built.entities) + len(built.failures) == len(records)
    ids = [entity.id for entity in built.entities]
    assert len(set(ids)) == len(ids)
    assert all(0 < len(identity) <= MAX_ID_LENGTH for identity in ids)
    for failure in built.failures:
        failure.message.encode()


@pytest.mark.parametrize("cursor", ["", "7", "[]", "{", "null", '"a"'])
def test_a_cursor_of_another_make_is_an_error(cursor: str) -> None:
    with pytest.raises(SourceError, match="is not one of this source"):
        Position.decode(cursor)


@pytest.mark.parametrize("values", [{}, {"page": "2"}, {"page": -1}, {"page": None}])
def test_a_cursor_of_other_options_is_an_error(values: dict[str, object]) -> None:
    with pytest.raises(SourceError, match="start the job again"):
        Position(values).number("page")


def test_a_cursor_is_ascii_whatever_it_names() -> None:
    position = Position({"file": "Lösungen \udcff.jsonl"})
    cursor = position.encode()
    assert cursor.isascii()
    assert Position.decode(cursor) == position
    assert json.loads(cursor)["file"] == "Lösungen \udcff.jsonl"
