"""What `celeriac capacity` says of chunks, time, memory and disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from celeriac import capacity
from celeriac.capacity import Rate, Texts, estimated, needs, times
from celeriac.cli import main
from celeriac.embedding import registry
from celeriac.model import Splitting, SplittingMethod

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "demo"
JARGON = 495
"""Entries of the sample."""


def run(home: Path, *arguments: str, status: int = 0, config: Path | None = None) -> str:
    environment = {
        **dict.fromkeys(("CELERIAC_DATABASE_URL", "CELERIAC_QDRANT_URL", "CELERIAC_REDIS_URL"), ""),
        "CELERIAC_HOME": str(home),
        "CELERIAC_CONFIG": str(config or ""),
    }
    done = CliRunner().invoke(main, ["capacity", *arguments], env=environment)
    assert done.exit_code == status, done.output
    return done.output


def told(home: Path, *arguments: str, config: Path | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(home, *arguments, "--json", config=config))
    return found


@pytest.mark.parametrize("method", SplittingMethod)
@pytest.mark.parametrize(("size", "overlap"), [(256, 0), (256, 32), (128, 16)])
def test_an_average_comes_near_what_the_sample_has(
    tmp_path: Path, method: SplittingMethod, size: int, overlap: int
) -> None:
    cut = [f"--splitting={method}", f"--chunk-size={size}", f"--chunk-overlap={overlap}"]
    model = "--model=stub"  # reads every chunk whole
    counted = told(tmp_path, "--of", "demo", "jargon", model, *cut, config=DEMO / "celeriac.yaml")
    texts = counted["texts"]
    assert texts["entities"] == JARGON

    whole = told(
        tmp_path, "--of", "demo", "jargon", model, "--splitting=TOKEN", "--chunk-size=100000",
        "--chunk-overlap=0", config=DEMO / "celeriac.yaml",
    )  # fmt: skip
    average = whole["texts"]["tokens"] / JARGON
    guessed = estimated(JARGON, average, Splitting(method, size, overlap))

    assert guessed.chunks == pytest.approx(texts["chunks"], rel=0.3)
    assert guessed.tokens == pytest.approx(texts["tokens"], rel=0.1)
    assert guessed.chunk_bytes == pytest.approx(texts["chunk_bytes"], rel=0.35)


def test_texts_shorter_than_a_chunk_are_a_chunk_each() -> None:
    assert estimated(10, 20, Splitting(chunk_size=256)).chunks == 10


def test_an_overlap_costs_tokens() -> None:
    apart = estimated(1000, 2000, Splitting(SplittingMethod.TOKEN, 256, 0))
    shared = estimated(1000, 2000, Splitting(SplittingMethod.TOKEN, 256, 64))

    assert apart.tokens == 2_000_000
    assert shared.chunks > apart.chunks
    assert shared.tokens > apart.tokens


def test_a_sample_stands_for_more(tmp_path: Path) -> None:
    config = DEMO / "celeriac.yaml"
    sample = told(tmp_path, "--of", "demo", "jargon", config=config)["texts"]

    scaled = told(
        tmp_path, "--of", "demo", "jargon", "--entities", str(100 * JARGON), config=config
    )

    assert scaled["texts"]["chunks"] == 100 * sample["chunks"]
    assert scaled["texts"]["chunk_bytes"] == sample["chunk_bytes"]


def test_a_source_larger_than_a_sample_has_to_be_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "SAMPLE", 100)

    said = run(tmp_path, "--of", "demo", "jargon", status=1, config=DEMO / "celeriac.yaml")

    assert "say how many there are, --entities" in said


def test_memory_grows_with_dimension_fields_and_generations() -> None:
    texts = Texts(1000, 4000, 1_000_000, 1000.0)
    small, wide, filtered = needs(texts, 384, 0), needs(texts, 1024, 0), needs(texts, 384, 3)

    assert small.vectors == 4000 * 384 * 4
    assert small.rule == 1.5 * small.vectors
    assert wide.vectors - small.vectors == 4000 * (1024 - 384) * 4
    assert filtered.points > small.points
    assert [stage.generations for stage in small.stages] == [1, 2, 3]
    one, two, three = (stage.memory for stage in small.stages)
    whole = 1.5 * (small.vectors + small.graph + small.points)
    assert three - two == two - one == whole
    assert all(stage.disk > stage.generations * small.payload for stage in small.stages)


def test_a_window_says_how_many_workers() -> None:
    texts = Texts(1, 1, 36_000_000, 1000.0)

    (slow, fast) = times(texts, [Rate(1000.0, "a"), Rate(20_000.0, "b")], 4 * 3600.0)

    assert (slow.seconds, slow.times) == (36_000.0, 3)
    assert fast.times == 1
    assert [one.times for one in times(texts, [Rate(1000.0, "a")], None)] == [None]


def test_what_is_shown_says_what_it_rests_on(tmp_path: Path) -> None:
    said = run(tmp_path, "--entities=1000000", "--tokens=180", "--within=8h", "--filter-fields=3")

    assert "1,000,000" in said
    assert "times that" in said
    assert "measured 2026-11-21" in said
    assert "every further rebuild" in said


def test_a_rate_of_ones_own_comes_first(tmp_path: Path) -> None:
    found = told(tmp_path, "--entities=1000", "--tokens=100", "--tokens-per-second=50000")

    assert found["times"][0]["rate"]["tokens_per_second"] == 50_000
    assert found["times"][0]["seconds"] == pytest.approx(2.0)


def test_a_model_that_was_not_measured_says_so(tmp_path: Path) -> None:
    given = ("--entities=10", "--tokens=50", "--model=e5_mistral_7b_instruct")

    assert told(tmp_path, *given)["times"] == []
    assert "was not measured: give --tokens-per-second" in run(tmp_path, *given)


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        (["--entities=10"], 2, "Give --entities and --tokens, or --of TENANT TYPE."),
        (["--of", "demo", "jargon", "--tokens=5"], 2, "not both"),
        (["--of", "demo", "jargin"], 1, "did you mean 'jargon'?"),
        (["--entities=1", "--tokens=1", "--model=stab"], 1, "did you mean 'stub'?"),
        (["--entities=1", "--tokens=1", "--chunk-overlap=300"], 1, "see --chunk-size"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, given: list[str], status: int, words: str) -> None:
    assert words in run(tmp_path, *given, status=status, config=DEMO / "celeriac.yaml")


def test_rates_are_of_models_that_there_are() -> None:
    assert set(capacity.RATES) <= set(registry.BUILTIN)
