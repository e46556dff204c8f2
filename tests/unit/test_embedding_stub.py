from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.embedding import registry
from celeriac.errors import ModelError

GOLDEN = [-0.03909723, 0.04069345, -0.00457573, -0.08513836]
untimed = settings(deadline=None)
MODEL = registry.BUILTIN["stub"]
short_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)


def stub() -> registry.Embedder:
    return registry.load(MODEL, device="auto", dtype="auto", environ={})


@untimed
@given(st.lists(short_texts, max_size=10))
def test_vectors_are_unit_and_a_function_of_the_text(texts: list[str]) -> None:
    vectors = stub().embed(texts)

    assert vectors.shape == (len(texts), MODEL.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_array_equal(stub().embed_query(text), vector)


def test_vectors_are_the_same_on_every_machine() -> None:
    vector = stub().embed_query("celeriac")

    np.testing.assert_allclose(vector[:4], GOLDEN, atol=1e-6)


def test_different_texts_are_as_good_as_orthogonal() -> None:
    vectors = stub().embed([f"text {number}" for number in range(200)])

    similarities = vectors @ vectors.T - np.eye(200)

    assert np.abs(similarities).max() < 0.3


def test_words_and_marks_are_counted_with_two_specials() -> None:
    assert registry.counter(MODEL, {}).count(["", "Root celery, grated."]) == [2, 7]


def test_a_text_that_is_too_long_is_never_cut() -> None:
    with pytest.raises(ModelError, match="text 1 is 513 tokens long, but stub reads at most 512"):
        stub().embed(["fine", "a " * 511])


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ModelError, match=r"text 1 is not valid Unicode.*character 2"):
        stub().embed(["fine", "no\ud800"])
