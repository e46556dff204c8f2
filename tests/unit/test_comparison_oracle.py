"""The oracle of benchmarks/against: what it must find, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.against.oracle import Findings, Held, compare, of_old_model, uncovered

SOURCE = {"a": ["one", "two"], "b": ["three"], "empty": []}


def held(*chunks: tuple[str, str]) -> list[Held]:
    return [Held(entity, text, np.array([1.0, 0.0], np.float32)) for entity, text in chunks]


WHOLE = (("a", "one"), ("a", "two"), ("b", "three"))


@pytest.mark.parametrize(
    ("chunks", "findings"),
    [
        (WHOLE, Findings(points=3)),
        ((), Findings(missing=2)),
        (WHOLE[1:], Findings(missing=1, points=2)),
        ((*WHOLE, ("a", "zero")), Findings(stale=1, points=4)),
        ((*WHOLE, ("a", "zero"), ("a", "nought")), Findings(stale=1, points=5)),
        ((*WHOLE, ("empty", "was")), Findings(stale=1, points=4)),
        ((*WHOLE, ("gone", "one")), Findings(orphaned=1, points=4)),
        ((*WHOLE, ("b", "three"), ("b", "three")), Findings(duplicated=2, points=5)),
        ((*WHOLE[:2], ("b", "two")), Findings(missing=1, stale=1, points=3)),
    ],
)
def test_compare(chunks: tuple[tuple[str, str], ...], findings: Findings) -> None:
    assert compare(held(*chunks), SOURCE) == findings
    assert findings.equal == (findings == Findings(points=len(chunks)))


def test_a_chunk_that_a_text_gives_twice_may_be_there_once_or_twice() -> None:
    source = {"a": ["same", "same"]}
    assert compare(held(("a", "same")), source).equal
    assert compare(held(("a", "same"), ("a", "same")), source).equal


def test_vectors_of_the_model_before_are_counted() -> None:
    before = held(*WHOLE)
    turned = [Held(one.entity_id, one.text, one.vector[::-1]) for one in before]
    assert of_old_model(before, before) == 3
    assert of_old_model(turned, before) == 0
    assert of_old_model([before[0], *turned[1:]], before) == 1


@pytest.mark.parametrize(
    ("chunks", "lost"),
    [
        (["one two ", "two three"], []),
        (["one", "two three"], []),
        (["one two"], ["a"]),
        (["two three"], ["a"]),
        (["one", "three"], ["a"]),
        (["one two", "too three"], ["a"]),
        ([], ["a"]),
    ],
)
def test_text_that_no_chunk_holds_is_found(chunks: list[str], lost: list[str]) -> None:
    assert uncovered({"a": "one two three"}, {"a": chunks}) == lost
