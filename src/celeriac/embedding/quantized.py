"""Linear layers of the CPU in whole numbers of 8 bits.

Weights are quantized once, each output by itself; states as they come, each token by itself. So a
text's vector does not depend on its neighbours, which it would with one scale for a whole batch.
Both are symmetric (Jacob et al., 2018, without zero points); sums are whole numbers of 32 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from celeriac.embedding.prepacked import replace_linear

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST = 127


class QuantizedLinear(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A linear layer whose products are of whole numbers; takes and gives float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        quantized, scales = _quantized(linear.weight.detach())
        self._weight = quantized.t()
        self._scales = scales.squeeze(1)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, states: Tensor) -> Tensor:
        flat = states.flatten(0, -2)
        quantized, scales = _quantized(flat)
        result = torch._int_mm(quantized, self._weight).float().mul_(scales)
        if self._bias is None:
            result.mul_(self._scales)
        else:
            result = torch.addcmul(self._bias, result, self._scales)
        return result.view(*states.shape[:-1], -1)


def quantize(module: nn.Module) -> None:
    """Put quantized layers in the place of a module's linear ones."""
    replace_linear(module, QuantizedLinear)


def _quantized(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from -127 to 127, and what one of them stands for in each row."""
    largest = torch.maximum(rows.amax(dim=1, keepdim=True), -rows.amin(dim=1, keepdim=True))
    scales = largest.clamp_(min=torch.finfo(rows.dtype).tiny * _LARGEST).div_(_LARGEST)
    return (rows / scales).round_().to(torch.int8), scales
