"""Embedding with a transformer in this process, on torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from celeriac.embedding import pooling
from celeriac.embedding.base import TokenCounter, Vectors
from celeriac.embedding.batching import Batch, checked, first_occurrences, ignore
from celeriac.embedding.models import EmbeddingModel
from celeriac.embedding.network import Network
from celeriac.embedding.queue import EmbeddingQueue
from celeriac.embedding.tokenization import (
    ModelTokenizer,
    TokenIds,
    require_readable,
    require_unicode,
)
from celeriac.errors import ModelError

_CPU_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "could not create a memory",
    "could not create a primitive",  # oneDNN, which writes code for each new shape
)


class TorchEmbedder:
    """Computes a model's vectors on one device.

    Texts become token ids in the thread that asks, while the queue's thread computes.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        tokenizer: ModelTokenizer,
        network: Network,
        token_budget: int,
    ) -> None:
        """`token_budget`: padded tokens in a batch, at most."""
        self.model = model
        self.counter: TokenCounter = tokenizer
        self.on_batch: Callable[[Batch], None] = ignore
        """Told of each batch, in the thread that computes."""
        self._tokenizer = tokenizer
        self._network: Network | None = network
        self._queue = EmbeddingQueue(
            model.name, model.dimension, self._forward, _is_out_of_memory, token_budget
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

    @property
    def packed(self) -> bool:
        """Whether batches are computed without padding."""
        return self._open_network().packed

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
        begun = time.perf_counter()
        vectors = self._pass(batch)
        tokens = sum(len(ids) for ids in batch)
        padded = tokens if self.packed else len(batch) * max(len(ids) for ids in batch)
        self.on_batch(Batch(len(batch), tokens, padded - tokens, time.perf_counter() - begun))
        return vectors

    def _pass(self, batch: Sequence[TokenIds]) -> Vectors:
        import torch

        with torch.inference_mode():
            states, layout = self._open_network().states(batch)
            pooled = pooling.POOLINGS[self.model.pooling](states, layout.bounds)
            result = pooling.normalized(pooled) if self.model.normalize else pooled
            vectors: Vectors = result.cpu().numpy()
            return vectors

    def _open_network(self) -> Network:
        if self._network is None:
            raise ModelError(f"{self.model.name} is closed")
        return self._network


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return True
    if isinstance(error, MemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in message for sign in _CPU_OUT_OF_MEMORY)
