"""A transformer with its weights on its device: from token ids to the states of all tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from celeriac.embedding import packed
from celeriac.embedding.compatibility import first_position
from celeriac.embedding.cpus import processor
from celeriac.embedding.packed import Layout
from celeriac.embedding.tokenization import TokenIds

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

PROBE_LENGTHS = (11, 7, 7, 4, 1)
"""Of the rows on which packed batches are compared with padded ones."""

_PRIME = 7919
_LEAST_STEP = 16
_STEP_BITS = 5
"""Sizes of packed batches on the CPU: 32 between a power of two and the next, 1 % filler."""

_log = logging.getLogger(__name__)


class Network:
    """Computes batches of token ids: packed once `pack` was successful, padded without."""

    def __init__(self, module: PreTrainedModel, device: torch.device) -> None:
        pad_id = module.config.pad_token_id
        self.device = device
        self.packed = False
        """Whether batches have no padding."""
        self._module = module
        self._pad_id = 0 if pad_id is None else pad_id
        self._first_position = first_position(module)

    def states(self, batch: Sequence[TokenIds]) -> tuple[Tensor, Layout]:
        """The states of all rows' tokens on end, shape (tokens, dimension), and where rows are."""
        layout = Layout(tuple(len(ids) for ids in batch), self.device)
        compute = self._compute_packed if self.packed else self._compute_padded
        return compute(batch, layout)[: layout.tokens], layout

    def pack(self) -> None:
        """Compute without padding from now on, where the architecture lets it give the same."""
        probe = self._probe()
        expected = self._unit_states(probe)
        attention = self._module.config._attn_implementation
        try:
            packed.set_attention(self._module)
            self.packed = True
            found = self._unit_states(probe)
            worst = float((expected * found).sum(dim=1).min())
            if not worst >= self._least_cosine():
                raise ValueError(f"a token's state has cosine {worst:.4f} to that with padding")
        except Exception as error:  # noqa: BLE001  what packs elsewhere may be missing here
            _log.warning(
                "%s is computed with padding (%s)", type(self._module).__name__, error,
                extra={"action": "load_model"},
            )  # fmt: skip
            self.packed = False
            self._module.set_attn_implementation(attention)

    def compute_probe(self, rows: int, length: int) -> None:
        """Compute a batch of so many rows of so many tokens, and wait for it."""
        import torch

        with torch.inference_mode():
            self.states([self._probe_ids(length)] * rows)[0].sum().item()

    def circumstances(self) -> dict[str, str]:
        """What its speed depends on, beside the model and the number of threads."""
        import torch

        on_gpu = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if on_gpu else processor(),
            "torch": torch.__version__,
        }

    def _least_cosine(self) -> float:
        import torch

        return 0.9999 if self._module.dtype == torch.float32 else 0.99

    def _probe(self) -> list[TokenIds]:
        return [self._probe_ids(length, row + 1) for row, length in enumerate(PROBE_LENGTHS)]

    def _probe_ids(self, length: int, seed: int = 1) -> TokenIds:
        """Ids from all over the vocabulary, but not that of padding."""
        others = self._module.config.vocab_size - 1
        ids = [position * seed * _PRIME % others for position in range(length)]
        return [one + (one >= self._pad_id) for one in ids]

    def _unit_states(self, batch: Sequence[TokenIds]) -> Tensor:
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            return functional.normalize(self.states(batch)[0].float(), dim=1)

    def _compute_packed(self, batch: Sequence[TokenIds], layout: Layout) -> Tensor:
        filler = np.zeros(self._filler(layout.tokens), np.int64)
        ids = np.concatenate([*batch, filler + self._pad_id])
        positions = np.concatenate([layout.positions, filler]) + self._first_position
        states: Tensor = self._module(
            input_ids=self._on_device(ids[None]),
            position_ids=self._on_device(positions[None]),
            layout=layout,
        ).last_hidden_state
        return states[0]

    def _filler(self, tokens: int) -> int:
        """Tokens that bring a batch to one of few sizes: oneDNN keeps code for each size it met."""
        if self.device.type != "cpu":
            return 0
        step = max(_LEAST_STEP, (1 << tokens.bit_length()) >> _STEP_BITS + 1)
        return -tokens % step

    def _compute_padded(self, batch: Sequence[TokenIds], layout: Layout) -> Tensor:
        """Padded on the right, whatever the tokenizer prefers: positions then count from each
        row's first token, so a text's vector does not depend on its neighbours, and no causal
        model looks at padding."""
        shape = len(batch), layout.longest
        slots = layout.slots(layout.longest)
        ids, mask = np.full(shape, self._pad_id, np.int64), np.zeros(shape, np.int64)
        ids.reshape(-1)[slots] = np.concatenate(batch)
        mask.reshape(-1)[slots] = 1
        states: Tensor = self._module(
            input_ids=self._on_device(ids), attention_mask=self._on_device(mask)
        ).last_hidden_state
        return states.flatten(0, 1)[self._on_device(slots)]

    def _on_device(self, values: NDArray[np.int64]) -> Tensor:
        import torch

        tensor = torch.from_numpy(values)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor
