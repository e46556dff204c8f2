"""Rows on end: where they are, and that attention stays within each."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from celeriac.embedding.packed import Layout, attend

CPU = torch.device("cpu")
SIZE = 8
untimed = settings(deadline=None)
lengths = st.lists(st.integers(1, 9), min_size=1, max_size=8).map(tuple)


@untimed
@given(lengths)
def test_runs_cover_all_tokens_in_order(lengths: tuple[int, ...]) -> None:
    layout = Layout(lengths, CPU)

    runs = list(layout.runs)

    assert [length for _, rows, length in runs for _ in range(rows)] == list(lengths)
    assert [begin for begin, _, _ in runs] == [
        sum(rows * length for _, rows, length in runs[:number]) for number in range(len(runs))
    ]
    assert layout.bounds[-1] == layout.tokens == sum(lengths)


@untimed
@given(lengths)
def test_slots_are_where_padded_rows_have_their_tokens(lengths: tuple[int, ...]) -> None:
    layout = Layout(lengths, CPU)
    width = layout.longest + 2
    padded = np.full((len(lengths), width), -1)

    padded.reshape(-1)[layout.slots(width)] = layout.positions

    for row, length in zip(padded, lengths, strict=True):
        assert row.tolist() == [*range(length), *[-1] * (width - length)]


class Attention(nn.Module):
    def __init__(self, *, is_causal: bool) -> None:
        super().__init__()
        self.is_causal = is_causal


def plainly(query: Tensor, key: Tensor, value: Tensor, window: int | None, causal: bool) -> Tensor:
    """One row's attention, token by token; query (heads, tokens, size)."""
    heads, tokens, size = query.shape
    result = torch.empty(tokens, heads, size)
    for head in range(heads):
        of = head * len(key) // heads
        for token in range(tokens):
            first = 0 if window is None else max(0, token + 1 - window)
            end = token + 1 if causal else tokens
            scores = key[of, first:end] @ query[head, token] / math.sqrt(size)
            result[token, head] = scores.softmax(0) @ value[of, first:end]
    return result


@pytest.mark.parametrize(
    ("causal", "window"), [(False, None), (True, None), (True, 3), (True, 50), (False, 3)]
)
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)], ids=["all", "grouped"])
def test_attention_stays_within_rows(
    causal: bool, window: int | None, heads: tuple[int, int]
) -> None:
    layout = Layout((7, 5, 5, 5, 2, 1), CPU)
    filler = 3
    torch.manual_seed(1)
    query, key, value = (
        torch.randn(1, number, layout.tokens + filler, SIZE)
        for number in (heads[0], *heads[1:] * 2)
    )

    found, _ = attend(
        Attention(is_causal=causal), query, key, value, None, layout=layout, sliding_window=window
    )

    assert found.shape == (1, layout.tokens + filler, heads[0], SIZE)
    begin = 0
    for length in layout.lengths:
        row = slice(begin, begin := begin + length)
        parts = (states[0, :, row] for states in (query, key, value))
        expected = plainly(*parts, window if causal else None, causal)
        torch.testing.assert_close(found[0, row], expected)
