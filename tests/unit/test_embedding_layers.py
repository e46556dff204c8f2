"""Layers that stand in for a model's own: what they compute is what those do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from celeriac.embedding.prepacked import PrepackedLinear, prepack
from celeriac.embedding.quantized import QuantizedLinear, quantize


@pytest.fixture(autouse=True)
def _without_gradients() -> None:
    torch.manual_seed(3)


def linear(*, bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    return nn.Linear(48, 80, bias=bias, dtype=dtype).requires_grad_(False)


class Intermediate(nn.Module):
    """As in BERT."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.dense = linear()
        self.intermediate_act_fn = activation

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.intermediate_act_fn(self.dense(states))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (1, 37, 48), (2, 5, 48)])
def test_a_prepacked_layer_computes_the_same(bias: bool, shape: tuple[int, ...]) -> None:
    layer, states = linear(bias=bias), torch.randn(shape)

    torch.testing.assert_close(PrepackedLinear(layer)(states), layer(states))


def test_a_prepacked_layer_takes_bfloat16() -> None:
    layer, states = linear(dtype=torch.bfloat16), torch.randn(1, 9, 48, dtype=torch.bfloat16)

    torch.testing.assert_close(PrepackedLinear(layer)(states), layer(states))


@pytest.mark.parametrize("approximation", ["none", "tanh"])
def test_gelu_stays_what_it_is(approximation: str) -> None:
    module, states = Intermediate(nn.GELU(approximation)), 3 * torch.randn(1, 20, 48)
    expected = module(states)

    prepack(module)

    assert isinstance(module.dense, PrepackedLinear)
    torch.testing.assert_close(module(states), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_a_quantized_layer_is_close(bias: bool) -> None:
    layer, states = linear(bias=bias), torch.randn(1, 64, 48)

    error = QuantizedLinear(layer)(states) - layer(states)

    assert error.norm() / layer(states).norm() < 0.02


def test_a_tokens_result_does_not_depend_on_others() -> None:
    layer, states = QuantizedLinear(linear()), torch.randn(1, 64, 48)
    loud = torch.cat([states, 1e4 * torch.randn(1, 3, 48)], dim=1)

    torch.testing.assert_close(layer(loud)[:, :64], layer(states), rtol=0, atol=0)


def test_states_of_zero_give_the_bias() -> None:
    layer = linear()

    torch.testing.assert_close(QuantizedLinear(layer)(torch.zeros(1, 2, 48))[0, 1], layer.bias)


def test_every_linear_layer_is_replaced() -> None:
    module = nn.Sequential(linear(), nn.Sequential(nn.ReLU(), nn.Linear(80, 4)))

    quantize(module)

    assert not [layer for layer in module.modules() if type(layer) is nn.Linear]
