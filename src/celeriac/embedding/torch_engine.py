"""Embedding with a transformer in this process, on torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from celeriac.embedding import pooling
from celeriac.embedding.base import TokenCounter, Vectors
from celeriac.embedding.batching import checked, first_occurrences
from celeriac.embedding.models import EmbeddingModel
from celeriac.embedding.queue import EmbeddingQueue
from celeriac.embedding.tokenization import (
    ModelTokenizer,
    TokenIds,
    require_readable,
    require_unicode,
)
from celeriac.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_CPU_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "could not create a memory")


@dataclass(frozen=True, slots=True)
class Network:
    """A transformer with its weights, on its device."""

    module: PreTrainedModel
    device: torch.device
    pad_id: int
    token_budget: int
    """Padded tokens in a batch, at most."""


class TorchEmbedder:
    """Computes a model's vectors on one device.

    Texts become token ids in the thread that asks, while the queue's thread computes.
    """

    def __init__(self, model: EmbeddingModel, tokenizer: ModelTokenizer, network: Network) -> None:
        self.model = model
        self.counter: TokenCounter = tokenizer
        self._tokenizer = tokenizer
        self._network: Network | None = network
        self._queue = EmbeddingQueue(
            model.name, model.dimension, self._forward, _is_out_of_memory, network.token_budget
        )

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed passages; identical texts are computed once.

        Returns:
            Shape (len(texts), dimension), float32, in the order of `texts`.

        Raises:
            ModelError: a text is too long for the model, not Unicode, too large for memory, or one
                that the network fails on.
            ModelUnavailable: the device failed.
        """
        return self._embed(texts, self.model.passage_prefix)

    def embed_query(self, text: str) -> Vectors:
        """Embed one query with the query prefix, before any passage; shape (dimension,)."""
        vector: Vectors = self._embed([text], self.model.query_prefix, urgent=True)[0]
        return vector

    def close(self) -> None:
        """Let the weights go; the embedder cannot be used after."""
        self._queue.close()
        self._network = None

    def _embed(self, texts: Sequence[str], prefix: str, *, urgent: bool = False) -> Vectors:
        require_unicode(texts)
        positions, source = first_occurrences(texts)
        encoded = self._tokenizer.encode([texts[position] for position in positions], prefix)
        ids = dict(zip(positions, encoded, strict=True))
        require_readable(self.model, {position: len(one) for position, one in ids.items()})
        vectors = self._queue.embed(ids, len(texts), urgent=urgent)
        return checked(vectors[source], self.model.name)

    def _forward(self, batch: Sequence[TokenIds]) -> Vectors:
        """One pass through the network; shape (len(batch), dimension)."""
        import torch

        network = self._open_network()
        with torch.inference_mode():
            ids, mask = _padded(batch, network)
            states = network.module(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = pooling.POOLINGS[self.model.pooling](states, mask)
            result = pooling.normalized(pooled) if self.model.normalize else pooled
            vectors: Vectors = result.cpu().numpy()
            return vectors

    def _open_network(self) -> Network:
        if self._network is None:
            raise ModelError(f"{self.model.name} is closed")
        return self._network


def _padded(batch: Sequence[TokenIds], network: Network) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask of shape (rows, longest), padded on the right.

    Right, whatever the tokenizer prefers: positions then count from each text's first token, so a
    text's vector does not depend on its neighbours, and no causal model looks at padding.
    """
    import torch

    width = max(1, *(len(ids) for ids in batch))
    ids = np.full((len(batch), width), network.pad_id, np.int64)
    mask = np.zeros((len(batch), width), np.int64)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return torch.from_numpy(ids).to(network.device), torch.from_numpy(mask).to(network.device)


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return True
    if isinstance(error, MemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in message for sign in _CPU_OUT_OF_MEMORY)
