"""From token states to one vector: pure functions on torch tensors.

`states` has shape (rows, tokens, dimension), `mask` (rows, tokens) with 1 for a token and 0 for
padding, on either side. Results have shape (rows, dimension) and are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from celeriac.embedding.models import Pooling

if TYPE_CHECKING:
    from torch import Tensor


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over a row's tokens (Reimers and Gurevych 2019, section 3)."""
    weights = mask.unsqueeze(1).float()
    return (weights @ states.float()).squeeze(1) / weights.sum(dim=2)


def cls(states: Tensor, mask: Tensor) -> Tensor:
    """The state of a row's first token."""
    return _pick(states, mask.int().argmax(dim=1))


def last_token(states: Tensor, mask: Tensor) -> Tensor:
    """The state of a row's last token (Wang et al. 2024, section 3.3: the end token)."""
    return _pick(states, mask.shape[1] - 1 - mask.int().flip(dims=(1,)).argmax(dim=1))


def normalized(vectors: Tensor) -> Tensor:
    """Vectors of length 1."""
    from torch.nn import functional

    return functional.normalize(vectors, dim=1)


POOLINGS: Mapping[Pooling, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {Pooling.MEAN: mean, Pooling.CLS: cls, Pooling.LAST_TOKEN: last_token}
)


def _pick(states: Tensor, positions: Tensor) -> Tensor:
    import torch

    return states[torch.arange(len(states), device=states.device), positions].float()
