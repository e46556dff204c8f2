"""Text and values as they are kept, and as a search asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.errors import ConfigurationError
from celeriac.filter_text import parse_filters
from celeriac.model import (
    Entity,
    FilterField,
    FilterType,
    IndexSpec,
    Range,
    Splitting,
    SplittingMethod,
    TextField,
)
from celeriac.rendering import Renderer, wanted_value

SPEC = IndexSpec(
    model="stub",
    model_digest="0",
    dimension=384,
    splitting=Splitting(SplittingMethod.SENTENCE, 256, 0),
    text_fields=(TextField("title"), TextField("name.en")),
    filter_fields=(),
)


def test_an_entity_without_text_says_which_fields_were_looked_for_and_which_there_are() -> None:
    fields = {"titel": "A typo", "name": {"de": "Sellerie"}, "title": " "}

    rendered = Renderer(SPEC).render(Entity("1", fields))

    assert rendered.text.strip() == ""
    assert rendered.lacking == (
        "None of the text fields (title, name.en) holds any text; "
        "the entity has 'titel', 'name', 'title'."
    )


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("# Tomatoes\n\nWater them.", "# Tomatoes\n\nWater them."),
        ("\n## Tomatoes ##\nWater them.", "\n## Tomatoes ##\nWater them."),
        ("Tomatoes\nWater them.", "Tomatoes\nWater them."),
        ("# Tomatoes and beans\nWater them.", "Tomatoes\n# Tomatoes and beans\nWater them."),
        ("Water them.\n# Tomatoes", "Tomatoes\nWater them.\n# Tomatoes"),
        ("Tomatoes", "Tomatoes\nTomatoes"),
    ],
)
def test_a_title_that_the_text_begins_with_is_not_said_twice(text: str, rendered: str) -> None:
    entity = Entity("1", {"title": "Tomatoes", "name": {"en": text}})

    assert Renderer(SPEC).render(entity).text == rendered


def test_it_names_a_dozen_fields_at_most() -> None:
    fields = {f"field{number}": "x" for number in range(40)}

    lacking = Renderer(SPEC).render(Entity("1", fields)).lacking

    assert "'field11', ..." in lacking
    assert "field12" not in lacking


def test_one_with_text_lacks_nothing() -> None:
    assert Renderer(SPEC).render(Entity("1", {"title": "Celeriac"})).lacking == ""


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        (FilterType.INTEGER, "7", 7),
        (FilterType.INTEGER, 7, 7),
        (FilterType.INTEGER, ["7", 8], [7, 8]),
        (FilterType.STRING, 7, "7"),
        (FilterType.FLOAT, "7.5", 7.5),
        (FilterType.BOOLEAN, "True", True),
        (FilterType.DATE, "2024-02-29", "2024-02-29"),
        (FilterType.FLOAT, {"gte": "50"}, Range(gte=50.0)),
        (
            FilterType.DATE,
            {"gt": "2024-02-29", "lt": "2025-01-01"},
            Range(gt="2024-02-29", lt="2025-01-01"),
        ),
        (FilterType.LIST, "red", "red"),
        (FilterType.DICTIONARY, "colour=red", "colour=red"),
    ],
)
def test_a_filter_asks_for_a_value_as_it_is_kept(kind: FilterType, given: Any, kept: Any) -> None:
    assert wanted_value(FilterField("key", kind), given) == kept


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (FilterType.INTEGER, "seven"),
        (FilterType.INTEGER, True),
        (FilterType.INTEGER, ["7", "x"]),
        (FilterType.INTEGER, None),
        (FilterType.STRING, None),
        (FilterType.BOOLEAN, "maybe"),
        (FilterType.DATE, "2023-02-29"),
        (FilterType.STRING, {"a": 1}),
        (FilterType.STRING, {"gte": "a"}),
        (FilterType.LIST, {"gte": 1}),
        (FilterType.INTEGER, {}),
        (FilterType.INTEGER, {"from": 1}),
        (FilterType.INTEGER, {"gte": None}),
        (FilterType.INTEGER, {"gte": [1]}),
        (FilterType.STRING, "a\0b"),
    ],
)
def test_a_filter_of_another_type_is_refused_by_name(kind: FilterType, given: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"The filter 'key' is declared as {kind};"):
        wanted_value(FilterField("key", kind), given)


def test_what_a_filter_can_be_is_said() -> None:
    price = FilterField("price", FilterType.FLOAT)
    with pytest.raises(ConfigurationError) as refused:
        wanted_value(price, {"min": 50})
    assert str(refused.value) == (
        "The filter 'price' is declared as float; {\"min\": 50} is not one, a list of them, or "
        'bounds such as {"gte": 0.5, "lt": 9.99}.'
    )


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        (["code=A1"], {"code": "A1"}),
        (["price >= 50", "price<99.5"], {"price": {"gte": 50, "lt": 99.5}}),
        (['code=["A", "B"]'], {"code": ["A", "B"]}),
        (["day>2026-01-01"], {"day": {"gt": "2026-01-01"}}),
        (["sum=a=b"], {"sum": "a=b"}),
    ],
)
def test_filters_are_written_as_conditions(written: list[str], asked: dict[str, Any]) -> None:
    assert parse_filters(written) == asked


@pytest.mark.parametrize("written", ["", "code", "=1", ">=1"])
def test_what_is_no_condition_is_refused(written: str) -> None:
    with pytest.raises(ConfigurationError, match="is no filter: write KEY=VALUE"):
        parse_filters([written])
