from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.embedding import pooling
from celeriac.embedding.models import Pooling

untimed = settings(deadline=None)
TOKENS, WIDTH = 6, 4
row_lengths = st.lists(st.integers(1, TOKENS), min_size=1, max_size=5)


def padded(lengths: list[int], side: str) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """States with loud padding, their mask, and each row's states without padding."""
    generator = torch.Generator().manual_seed(len(lengths))
    rows = [torch.randn(length, WIDTH, generator=generator) for length in lengths]
    states, mask = (
        torch.full((len(rows), TOKENS, WIDTH), 1e4),
        torch.zeros(len(rows), TOKENS).long(),
    )
    for i, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(TOKENS - len(row), TOKENS)
        states[i, where], mask[i, where] = row, 1
    return states, mask, rows


@pytest.mark.parametrize("side", ["left", "right"])
@untimed
@given(lengths=row_lengths)
def test_mean_is_over_the_tokens_alone(side: str, lengths: list[int]) -> None:
    states, mask, rows = padded(lengths, side)

    expected = torch.stack([row.mean(dim=0) for row in rows])

    torch.testing.assert_close(pooling.mean(states, mask), expected)


@pytest.mark.parametrize("side", ["left", "right"])
@untimed
@given(lengths=row_lengths)
def test_cls_is_the_first_token(side: str, lengths: list[int]) -> None:
    states, mask, rows = padded(lengths, side)

    torch.testing.assert_close(pooling.cls(states, mask), torch.stack([row[0] for row in rows]))


@pytest.mark.parametrize("side", ["left", "right"])
@untimed
@given(lengths=row_lengths)
def test_last_token_is_the_last_before_padding(side: str, lengths: list[int]) -> None:
    states, mask, rows = padded(lengths, side)

    expected = torch.stack([row[-1] for row in rows])

    torch.testing.assert_close(pooling.last_token(states, mask), expected)


@pytest.mark.parametrize("kind", list(Pooling))
def test_half_precision_is_pooled_in_float32(kind: Pooling) -> None:
    states, mask, _ = padded([2, 5], "right")

    assert pooling.POOLINGS[kind](states.bfloat16(), mask).dtype == torch.float32


def test_a_long_mean_in_half_precision_does_not_drift() -> None:
    states = torch.full((1, 4096, 1), 0.1, dtype=torch.bfloat16)

    mean = pooling.mean(states, torch.ones(1, 4096).long())

    torch.testing.assert_close(mean, states[:, 0].float())


def test_normalized_vectors_have_length_1_and_zero_stays_zero() -> None:
    vectors = pooling.normalized(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))

    np.testing.assert_allclose(vectors.numpy(), [[0.6, 0.8], [0.0, 0.0]])
