from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.embedding import pooling
from celeriac.embedding.models import Pooling

untimed = settings(deadline=None)
WIDTH = 4
row_lengths = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def on_end(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """States of all rows on end, where each row begins, and each row's own states."""
    generator = torch.Generator().manual_seed(len(lengths))
    rows = [torch.randn(length, WIDTH, generator=generator) for length in lengths]
    return torch.cat(rows), torch.tensor([0, *accumulate(lengths)]), rows


@untimed
@given(row_lengths)
def test_mean_is_over_a_rows_tokens(lengths: list[int]) -> None:
    states, bounds, rows = on_end(lengths)

    expected = torch.stack([row.mean(dim=0) for row in rows])

    torch.testing.assert_close(pooling.mean(states, bounds), expected)


@untimed
@given(row_lengths)
def test_cls_is_the_first_token(lengths: list[int]) -> None:
    states, bounds, rows = on_end(lengths)

    torch.testing.assert_close(pooling.cls(states, bounds), torch.stack([row[0] for row in rows]))


@untimed
@given(row_lengths)
def test_last_token_is_a_rows_last(lengths: list[int]) -> None:
    states, bounds, rows = on_end(lengths)

    expected = torch.stack([row[-1] for row in rows])

    torch.testing.assert_close(pooling.last_token(states, bounds), expected)


@pytest.mark.parametrize("kind", list(Pooling))
def test_half_precision_is_pooled_in_float32(kind: Pooling) -> None:
    states, bounds, _ = on_end([2, 5])

    assert pooling.POOLINGS[kind](states.bfloat16(), bounds).dtype == torch.float32


def test_a_long_mean_in_half_precision_does_not_drift() -> None:
    states = torch.full((4096, 1), 0.1, dtype=torch.bfloat16)

    mean = pooling.mean(states, torch.tensor([0, 4096]))

    torch.testing.assert_close(mean, states[:1].float())


def test_normalized_vectors_have_length_1_and_zero_stays_zero() -> None:
    vectors = pooling.normalized(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))

    np.testing.assert_allclose(vectors.numpy(), [[0.6, 0.8], [0.0, 0.0]])
