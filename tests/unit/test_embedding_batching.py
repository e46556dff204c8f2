from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.embedding.base import Vectors
from celeriac.embedding.batching import checked, compute_halving, first_occurrences
from celeriac.errors import ModelError

untimed = settings(deadline=None)


class Exhausted(Exception):
    """A batch is larger than the room."""


def identity(rows: Sequence[int]) -> Vectors:
    return np.asarray(rows, np.float32)[:, None]


def is_exhausted(error: Exception) -> bool:
    return isinstance(error, Exhausted)


@untimed
@given(st.lists(st.integers(), min_size=1, max_size=40, unique=True), st.integers(1, 40))
def test_a_batch_too_large_is_halved_until_it_fits(rows: list[int], room: int) -> None:
    def compute(part: Sequence[int]) -> Vectors:
        if len(part) > room:
            raise Exhausted
        return identity(part)

    results = list(compute_halving(rows, compute, is_exhausted))

    assert [row for part, _ in results for row in part] == rows
    for part, vectors in results:
        np.testing.assert_array_equal(vectors, identity(part))


def test_a_row_that_does_not_fit_alone_is_named() -> None:
    def compute(part: Sequence[int]) -> Vectors:
        if 7 in part:
            raise Exhausted
        return identity(part)

    with pytest.raises(ModelError, match="text 7 does not fit in memory") as caught:
        list(compute_halving([5, 6, 7, 8], compute, is_exhausted))

    assert isinstance(caught.value.__cause__, Exhausted)


def test_any_other_error_passes_through_at_once() -> None:
    calls = []

    def compute(part: Sequence[int]) -> Vectors:
        calls.append(part)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(compute_halving([1, 2], compute, is_exhausted))

    assert calls == [[1, 2]]


@untimed
@given(st.lists(st.sampled_from("abcde")))
def test_first_occurrences_lead_back_to_every_text(texts: list[str]) -> None:
    positions, source = first_occurrences(texts)

    assert positions == sorted(set(source))
    assert [texts[position] for position in source] == texts
    assert len({texts[position] for position in positions}) == len(positions)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused(value: float) -> None:
    vectors = np.ones((3, 2), np.float32)
    vectors[1, 0] = value

    with pytest.raises(ModelError, match="model-x gave a vector that is not finite for text 1"):
        checked(vectors, "model-x")
