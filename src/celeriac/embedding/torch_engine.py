"""Embedding with a transformer in this process, on torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from celeriac.embedding import pooling
from celeriac.embedding.base import TokenCounter, Vectors
from celeriac.embedding.batching import Batch, checked, first_occurrences, ignore
from celeriac.embedding.calibration import Streams
from celeriac.embedding.cpus import compute_with
from celeriac.embedding.models import EmbeddingModel
from celeriac.embedding.network import Network
from celeriac.embedding.queue import EmbeddingQueue, Pending
from celeriac.embedding.tokenization import (
    ModelTokenizer,
    TokenIds,
    require_readable,
    require_unicode,
)
from celeriac.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

_CPU_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "could not create a memory",
    "could not create a primitive",  # oneDNN, which writes code for each new shape
)


class TorchEmbedder:
    """Computes a model's vectors on one device.

    Texts become token ids in the thread that asks, while the queue's threads compute.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        tokenizer: ModelTokenizer,
        network: Network,
        streams: Streams,
    ) -> None:
        """Take a model that is loaded; `streams` says in which threads and batches it computes."""
        self.model = model
        self.streams = streams
        self.counter: TokenCounter = tokenizer
        self.on_batch: Callable[[Batch], None] = ignore
        """Told of each batch, in the thread that computes it."""
        self._tokenizer = tokenizer
        self._network: Network | None = network
        self._queue = EmbeddingQueue(
            model.name,
            model.dimension,
            self._forward,
            _is_out_of_memory,
            streams.token_budget,
            streams=streams.number,
            prepare=partial(compute_with, streams.threads),
            overlapping=network.device.type == "cuda",
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

    def _forward(self, batch: Sequence[TokenIds]) -> Pending:
        """Begin one pass through the network; vectors of shape (len(batch), dimension)."""
        begun = time.perf_counter()
        pending = self._pass(batch)
        passed = time.perf_counter() - begun

        def wait() -> Vectors:
            waited = time.perf_counter()
            vectors = pending()
            self._tell(batch, passed + time.perf_counter() - waited)
            return vectors

        return wait

    def _tell(self, batch: Sequence[TokenIds], seconds: float) -> None:
        tokens = sum(len(ids) for ids in batch)
        padded = tokens if self.packed else len(batch) * max(len(ids) for ids in batch)
        self.on_batch(Batch(len(batch), tokens, padded - tokens, seconds))

    def _pass(self, batch: Sequence[TokenIds]) -> Pending:
        import torch

        with torch.inference_mode():
            states, layout = self._open_network().states(batch)
            pooled = pooling.POOLINGS[self.model.pooling](states, layout.bounds)
            return _fetched(pooling.normalized(pooled) if self.model.normalize else pooled)

    def _open_network(self) -> Network:
        if self._network is None:
            raise ModelError(f"{self.model.name} is closed")
        return self._network


def _fetched(vectors: Tensor) -> Pending:
    """Bring vectors to the CPU; the GPU does it when it gets there."""
    import torch

    if not vectors.is_cuda:
        now: Pending = vectors.numpy
        return now
    host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
    host.copy_(vectors, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def wait() -> Vectors:
        arrived.synchronize()
        found: Vectors = host.numpy()
        return found

    return wait


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return True
    if isinstance(error, MemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in message for sign in _CPU_OUT_OF_MEMORY)
