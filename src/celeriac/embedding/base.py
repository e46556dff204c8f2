"""What the pipeline asks of an embedding model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from celeriac.embedding.models import EmbeddingModel

Vectors = NDArray[np.float32]


class TokenCounter(Protocol):
    """Counts with a model's own tokenizer what the model would read."""

    max_length: int
    """Tokens the model reads at most, prefix and special tokens included."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in model tokens, passage prefix and special tokens included."""
        ...


class Embedder(Protocol):
    """One embedding model, ready to compute. Safe to call from several threads."""

    model: EmbeddingModel
    counter: TokenCounter

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed passages; shape (len(texts), model.dimension), in the order of `texts`.

        Raises:
            ModelUnavailable: for now (a remote endpoint is down or over its quota).
            ModelError: the model cannot embed these texts.
        """
        ...

    def embed_query(self, text: str) -> Vectors:
        """Embed one query with the model's query prefix; shape (model.dimension,)."""
        ...

    def close(self) -> None:
        """Release connections and memory."""
        ...
