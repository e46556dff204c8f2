"""Linear layers of the CPU with their weights in oneDNN's own order, and GELU within the product.

torch gives float32 products to MKL, which is slow on processors that are not Intel's, and brings
weights into order again at each call. These operations are torch's own; its compiler, inductor,
uses them. Sums are in another order, so results differ in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 1024
"""Tokens that weights are ordered for; others are computed as well."""

_TOLERANCE = 1e-4


class PrepackedLinear(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A linear layer, and GELU after it where `gelu` says so."""

    def __init__(self, linear: nn.Linear, *, gelu: bool = False) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._activation = ("gelu", "none") if gelu else ("none", "")

    def forward(self, states: Tensor) -> Tensor:
        name, algorithm = self._activation
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            states, self._weight, self._bias, name, [], algorithm
        )
        return result


def prepack(module: nn.Module) -> None:
    """Put prepacked layers in the place of a module's linear ones, where torch can compute them."""
    if _can_prepack(next(module.parameters()).dtype):
        _fuse_gelu(module)
        replace_linear(module, PrepackedLinear)


def replace_linear(module: nn.Module, build: Callable[[nn.Linear], nn.Module]) -> None:
    """Put what `build` makes of them in the place of a module's linear layers."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, build(child))


def _fuse_gelu(module: nn.Module) -> None:
    """BERT and its family: a layer `dense` and its activation, side by side."""
    for parent in module.modules():
        dense = getattr(parent, "dense", None)
        activation = getattr(parent, "intermediate_act_fn", None)
        if isinstance(dense, nn.Linear) and _is_exact_gelu(activation):
            parent.dense = PrepackedLinear(dense, gelu=True)
            parent.intermediate_act_fn = nn.Identity()


def _is_exact_gelu(activation: object) -> bool:
    from transformers.activations import GELUActivation

    exact = isinstance(activation, nn.GELU) and activation.approximate == "none"
    return exact or isinstance(activation, GELUActivation)


def _can_prepack(dtype: torch.dtype) -> bool:
    """Whether the operations are there, take this type, and compute what they should."""
    linear = nn.Linear(32, 16, dtype=dtype)
    states = torch.linspace(-2, 2, 96, dtype=dtype).view(3, 32)
    try:
        with torch.inference_mode():
            found = PrepackedLinear(linear, gelu=True)(states)
            expected = nn.functional.gelu(linear(states))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    tolerance = _TOLERANCE if dtype == torch.float32 else 0.05
    return bool((found - expected).abs().max() < tolerance)
