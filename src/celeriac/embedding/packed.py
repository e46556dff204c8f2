"""Batches without padding: the tokens of all rows on end, and attention within each row.

Everything in a transformer but attention looks at one token alone, so rows need not be told apart
there (Zeng et al., 2022, "Boosting Distributed Training Performance of the Unpadded BERT Model").
Attention is set through transformers' AttentionInterface, for every architecture that follows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

ATTENTION = "celeriac_packed"
"""Its name among transformers' implementations."""


@dataclass(frozen=True)
class Layout:
    """Where the rows of a batch begin and end."""

    lengths: tuple[int, ...]
    device: torch.device

    @property
    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Rows on end that are of one length: first token, how many rows, their length."""
        begin = 0
        for length, rows in groupby(self.lengths):
            number = len(list(rows))
            yield begin, number, length
            begin += number * length

    @cached_property
    def bounds(self) -> Tensor:
        """The token in which each row begins, and how many tokens there are; shape (rows + 1,)."""
        import torch

        bounds = [0, *accumulate(self.lengths)]
        return torch.tensor(bounds, dtype=torch.int32).to(self.device, non_blocking=True)

    @cached_property
    def tokens(self) -> int:
        return sum(self.lengths)

    @cached_property
    def longest(self) -> int:
        return max(self.lengths)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Each token's position in its row, from 0; shape (tokens,)."""
        return np.concatenate([np.arange(length) for length in self.lengths])

    def slots(self, width: int) -> NDArray[np.int64]:
        """Each token's place where every row takes up `width`; shape (tokens,)."""
        begins = np.arange(len(self.lengths)) * width
        return np.repeat(begins, self.lengths) + self.positions


def set_attention(module: PreTrainedModel) -> None:
    """Have a module attend within the rows of the Layout it is called with as `layout`.

    Raises:
        ValueError: its architecture does not let its attention be set.
    """
    from transformers import AttentionInterface

    if not getattr(module, "_supports_attention_backend", False):
        raise ValueError(f"{type(module).__name__} does not let its attention be set")
    AttentionInterface.register(ATTENTION, attend)
    module.set_attn_implementation(ATTENTION)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: query, key and value of shape (1, heads, tokens, size).

    Returns:
        Shape (1, tokens, heads, size), and no weights.
    """
    causal = bool(getattr(module, "is_causal", True))
    window = sliding_window if causal and sliding_window is not None else layout.longest
    states = query[0], key[0], value[0]
    reach = Reach(causal, window)
    if query.is_cuda:
        return _attend_at_once(states, layout, reach, scaling).unsqueeze(0), None
    return _attend_by_run(states, layout, reach, scaling).unsqueeze(0), None


@dataclass(frozen=True, slots=True)
class Reach:
    """Which tokens of its row each token attends to."""

    causal: bool
    """Only itself and those before it."""
    window: int
    """How many at most, itself included."""

    def mask(self, length: int, device: torch.device) -> Tensor | None:
        """Shape (length, length); None where all of them, or all that come before."""
        import torch

        if length <= self.window:
            return None
        all_of_them = torch.ones(length, length, dtype=torch.bool, device=device)
        return all_of_them.tril().triu(1 - self.window)


def _attend_by_run(
    states: tuple[Tensor, Tensor, Tensor], layout: Layout, reach: Reach, scaling: float | None
) -> Tensor:
    """Rows of one length together; shape (tokens, heads, size)."""
    from torch.nn.functional import scaled_dot_product_attention

    heads, tokens, size = states[0].shape
    result = states[0].new_zeros(tokens, heads, size)
    for begin, rows, length in layout.runs:
        end = begin + rows * length
        query, key, value = (
            one[:, begin:end].unflatten(1, (rows, length)).transpose(0, 1) for one in states
        )
        mask = reach.mask(length, query.device)
        attended = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=reach.causal and mask is None,
            scale=scaling,
            enable_gqa=key.shape[1] != heads,
        )
        result[begin:end].view(rows, length, heads, size).copy_(attended.transpose(1, 2))
    return result


def _attend_at_once(
    states: tuple[Tensor, Tensor, Tensor], layout: Layout, reach: Reach, scaling: float | None
) -> Tensor:
    """All rows in one kernel (FlashAttention, Dao et al., 2022); shape (tokens, heads, size)."""
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (one.transpose(0, 1).contiguous() for one in states)
    before = -1 if reach.window >= layout.longest else reach.window - 1
    return varlen_attn(
        query,
        key,
        value,
        layout.bounds,
        layout.bounds,
        layout.longest,
        layout.longest,
        scale=scaling,
        window_size=(before, 0) if reach.causal else (-1, -1),
        enable_gqa=key.shape[1] != query.shape[1],
    )
