"""Embedding with a transformer in this process, on torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from celeriac.embedding import pooling
from celeriac.embedding.base import TokenCounter, Vectors
from celeriac.embedding.batching import (
    Batch,
    checked,
    compute_halving,
    first_occurrences,
    ignore,
    plan_batches,
)
from celeriac.embedding.models import EmbeddingModel
from celeriac.embedding.tokenization import (
    ModelTokenizer,
    TokenIds,
    require_readable,
    require_unicode,
)
from celeriac.errors import CeleriacError, ModelError, ModelUnavailable

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_DEVICE_FAILED = "CUDA error"
"""After one, every call fails, whatever the texts."""
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
    """Computes a model's vectors on one device; one batch at a time, whoever asks.

    Batches are computed in one thread of its own: torch keeps a team of threads for each thread
    that computes, and idle teams take time from the busy one.
    """

    def __init__(self, model: EmbeddingModel, tokenizer: ModelTokenizer, network: Network) -> None:
        self.model = model
        self.counter: TokenCounter = tokenizer
        self.on_batch: Callable[[Batch], None] = ignore
        """Told of each batch, in the thread that computes."""
        self._tokenizer = tokenizer
        self._network: Network | None = network
        self._thread = ThreadPoolExecutor(1, f"embedding-{model.name}")

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
        """Embed one query with the query prefix; shape (dimension,), float32."""
        vector: Vectors = self._embed([text], self.model.query_prefix)[0]
        return vector

    def close(self) -> None:
        """Let the weights go; the embedder cannot be used after."""
        self._network = None
        self._thread.shutdown()

    def _embed(self, texts: Sequence[str], prefix: str) -> Vectors:
        require_unicode(texts)
        positions, source = first_occurrences(texts)
        ids = self._tokenizer.encode([texts[position] for position in positions], prefix)
        vectors = self._compute(dict(zip(positions, ids, strict=True)), len(texts))
        return checked(vectors[source], self.model.name)

    def _compute(self, rows: Mapping[int, TokenIds], size: int) -> Vectors:
        """Vectors of shape (size, dimension); those of `rows` are set."""
        lengths = {row: len(ids) for row, ids in rows.items()}
        require_readable(self.model, lengths)
        vectors = np.zeros((size, self.model.dimension), np.float32)
        for batch in plan_batches(lengths, self._open_network().token_budget):
            with self._failures():
                for part, computed in compute_halving(
                    batch,
                    lambda part: self._in_turn([rows[row] for row in part]),
                    _is_out_of_memory,
                ):
                    vectors[part] = computed
        return vectors

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raise celeriac's errors for the network's."""
        try:
            yield
        except CeleriacError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {str(error).strip()}"
            if _DEVICE_FAILED in said:
                raise ModelUnavailable(
                    f"The device that computes {self.model.name} failed ({said}); this process "
                    "cannot use it any more: restart the worker"
                ) from error
            raise ModelError(f"{self.model.name} fails on a text ({said})") from error

    def _in_turn(self, batch: Sequence[TokenIds]) -> Vectors:
        return self._thread.submit(self._forward, batch).result()

    def _forward(self, batch: Sequence[TokenIds]) -> Vectors:
        """One pass through the network; shape (len(batch), dimension)."""
        begun = time.perf_counter()
        vectors = self._pass(batch)
        tokens = sum(len(ids) for ids in batch)
        padding = len(batch) * max(len(ids) for ids in batch) - tokens
        self.on_batch(Batch(len(batch), tokens, padding, time.perf_counter() - begun))
        return vectors

    def _pass(self, batch: Sequence[TokenIds]) -> Vectors:
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
