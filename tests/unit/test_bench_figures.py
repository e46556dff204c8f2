"""The tables of `make bench`: made of what was measured, also where that is not all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.against import figures
from benchmarks.against.figures import AGAIN, AGAIN_ALL, EDITED_ALL, FULL, FULL_ALL

SECONDS = {
    (FULL, "celeriac"): [5.0, 4.0],
    (FULL, "celeriac-int8"): [4.0, 2.5],
    (FULL, "sentence-transformers"): [9.0, 8.0],
    (FULL, "langchain"): [10.0, 10.0],
    (AGAIN, "celeriac"): [0.2, 0.2],
    (AGAIN, "langchain"): [0.3, 0.3],
    (AGAIN_ALL, "celeriac"): [0.5],
    (AGAIN_ALL, "langchain"): [2.0],
    (EDITED_ALL, "celeriac"): [0.8],
    (EDITED_ALL, "langchain"): [2.2],
}


def one_run(what: str, label: str, number: int, seconds: float) -> dict[str, Any]:
    return {
        "what": what,
        "label": label,
        "round": number,
        "seconds": seconds,
        "cpu": 2 * seconds,
        "peak_mb": 700.0,
        "points": 500,
        "embedded": 500,
        "wrong": "",
    }


@pytest.fixture
def found() -> dict[str, Any]:
    return {
        "date": "2026-11-21",
        "processor": "a processor",
        "cpus": 2,
        "instructions": "AVX2",
        "load": 0.1,
        "load_at_end": 2.0,
        "torch": "2.13.0",
        "about": {"langchain": {"versions": {"langchain-core": "1.2"}, "threads": 2}},
        "entities": {FULL: 400, FULL_ALL: 3200},
        "chunks": 500,
        "tokens": 40_000,
        "rounds": {FULL: 2, AGAIN: 2, FULL_ALL: 1, AGAIN_ALL: 1},
        "runs": [
            one_run(what, label, number, seconds)
            for (what, label), rounds in SECONDS.items()
            for number, seconds in enumerate(rounds)
        ],
        "ceiling_gflop_per_second": [180.0, 190.0],
        "ceiling_tokens_per_second": [10_000.0, 12_000.0],
        "profile": {FULL: {"seconds": 5.0, "cpu": 9.0, "stages": {"fetch": [0.1, 0.05]}}},
        "troubles": [],
    }


def test_a_ratio_is_the_median_of_the_rounds(found: dict[str, Any]) -> None:
    assert figures.ratios(found, FULL, "celeriac", "langchain") == [2.0, 2.5]
    assert figures.beside(found, FULL, "celeriac", "langchain") == "2.25 (2.00, 2.50)"


def test_a_round_that_one_of_two_lacks_gives_no_ratio(found: dict[str, Any]) -> None:
    found["runs"] = [
        one for one in found["runs"] if (one["label"], one["round"]) != ("langchain", 0)
    ]

    assert figures.ratios(found, FULL, "celeriac", "langchain") == [2.5]
    assert "Missing: 1 of 2 rounds, full, LangChain `index()`." in figures.page(found)


def test_a_run_whose_collection_is_wrong_counts_nowhere(found: dict[str, Any]) -> None:
    found["runs"][0]["wrong"] = "3 missing"

    assert figures.ratios(found, FULL, "celeriac", "langchain") == [2.5]
    assert "Wrong: full, celeriac, float32: 3 missing." in figures.page(found)


def test_targets_say_whether_they_are_met(found: dict[str, Any]) -> None:
    told = figures.targets(found).splitlines()

    assert [line.split(" | ")[-3:] for line in told[2:]] == [
        ["1.35", "2.25", "yes |"],
        ["1.35", "1.90", "yes |"],
        ["1.9", "3.25", "yes |"],
        ["10", "4.00", "no |"],
    ]


def test_a_further_entity_costs_what_the_larger_run_takes_longer(found: dict[str, Any]) -> None:
    ours = next(line for line in figures.unchanged(found).splitlines() if "celeriac" in line)

    assert ours.split(" | ")[1:5] == ["0.20", "0.50", "0.16", "0.11"]


def test_all_rows_are_as_wide_as_their_heads(found: dict[str, Any]) -> None:
    for table in (figures.page(found), figures.summary(found)):
        for block in table.split("\n\n"):
            rows = [line for line in block.splitlines() if line.startswith("|")]
            assert len({line.count("|") for line in rows}) <= 1


def test_the_tables_of_one_system_alone(found: dict[str, Any]) -> None:
    found["runs"] = [one for one in found["runs"] if one["label"] == "celeriac"]

    assert "celeriac, float32" in figures.page(found)
    assert "LangChain `index()` |" not in figures.page(found)


def test_writing_replaces_what_is_between_the_marks(found: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in figures.PAGES:
        page = f"before\n{figures.START}\nold\n{figures.END}\nafter\n"
        (tmp_path / name).write_text(page, encoding="utf-8")

    figures.write(json.loads(json.dumps(found)), tmp_path)
    figures.write(found, tmp_path)

    for name in figures.PAGES:
        text = (tmp_path / name).read_text("utf-8")
        assert text.startswith(f"before\n{figures.START}\n")
        assert text.endswith(f"\n{figures.END}\nafter\n")
        assert "old\n" not in text
        assert text.count("celeriac, int8") >= 1


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="make bench"):
        figures.spliced("no marks here", "text")


@pytest.mark.parametrize("name", figures.PAGES)
def test_the_pages_have_their_marks(name: str) -> None:
    page = (Path(__file__).parents[2] / name).read_text("utf-8")

    assert figures.spliced(page, "text").count("text") >= 1
