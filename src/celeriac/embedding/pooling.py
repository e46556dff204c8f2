"""From token states to one vector: pure functions on torch tensors.

`states` has shape (tokens, dimension), the tokens of all rows on end; `bounds` (rows + 1,) has the
token in which each row begins, and at last how many tokens there are. Results have shape (rows,
dimension) and are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from celeriac.embedding.models import Pooling

if TYPE_CHECKING:
    from torch import Tensor


def mean(states: Tensor, bounds: Tensor) -> Tensor:
    """The mean over a row's tokens (Reimers and Gurevych 2019, section 3)."""
    import torch

    return torch.segment_reduce(states.float(), "mean", lengths=bounds.diff())


def cls(states: Tensor, bounds: Tensor) -> Tensor:
    """The state of a row's first token."""
    return states[bounds[:-1]].float()


def last_token(states: Tensor, bounds: Tensor) -> Tensor:
    """The state of a row's last token (Wang et al. 2024, section 3.3: the end token)."""
    return states[bounds[1:] - 1].float()


def normalized(vectors: Tensor) -> Tensor:
    """Vectors of length 1."""
    from torch.nn import functional

    return functional.normalize(vectors, dim=1)


POOLINGS: Mapping[Pooling, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {Pooling.MEAN: mean, Pooling.CLS: cls, Pooling.LAST_TOKEN: last_token}
)
