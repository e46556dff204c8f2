"""Embedding with Google's Gemini models over the Generative Language API (batchEmbedContents)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from celeriac.embedding.base import TokenCounter, Vectors
from celeriac.embedding.batching import checked, first_occurrences
from celeriac.embedding.gemini_client import GeminiClient, RetryPolicy
from celeriac.embedding.models import EmbeddingModel
from celeriac.embedding.tokenization import require_readable, require_unicode
from celeriac.errors import ModelError

TEXTS_IN_REQUEST = 100
"""More are refused: "at most 100 requests can be in one batch"."""

PASSAGE_TASK = "RETRIEVAL_DOCUMENT"
QUERY_TASK = "RETRIEVAL_QUERY"

_SPECIAL_TOKENS = 2
_COUNTS_KEPT = 4096


class GeminiCounter:
    """Bounds what the model would read; its tokenizer is not to be had outside the endpoint.

    It falls back to bytes, so no text has more tokens than UTF-8 bytes (and special tokens). That
    bound is the count of a text that fits by it; any other is counted by the endpoint.
    """

    def __init__(self, model: EmbeddingModel, client: GeminiClient) -> None:
        self.max_length = model.max_length
        self._model = model
        self._client = client
        self._count_remotely = functools.lru_cache(_COUNTS_KEPT)(self._ask)

    @classmethod
    def open(cls, model: EmbeddingModel, environ: Mapping[str, str]) -> GeminiCounter:
        """A counter with a client of its own.

        Raises:
            ModelError: the variable of the endpoint's key is not set.
        """
        return cls(model, GeminiClient(model, environ))

    def count(self, texts: Sequence[str]) -> list[int]:
        """For each text its tokens, or an upper bound that is within `max_length`.

        Raises:
            ModelUnavailable: a long text cannot be counted for now.
            ModelError: the endpoint refuses to count.
        """
        require_unicode(texts)
        return [self.length(self._model.passage_prefix + text) for text in texts]

    def length(self, text: str) -> int:
        """Likewise, of one text with its prefix."""
        bound = len(text.encode()) + _SPECIAL_TOKENS
        return bound if bound <= self.max_length else self._count_remotely(text)

    def _ask(self, text: str) -> int:
        answer = self._client.call("countTokens", {"contents": [{"parts": [{"text": text}]}]})
        total = answer.get("totalTokens")
        if not isinstance(total, int):
            raise ModelError(f"{self._model.name}: countTokens answers without totalTokens")
        return total


class GeminiEmbedder:
    """Sends texts to the endpoint, up to 100 in a request. Safe to use from several threads."""

    def __init__(
        self, model: EmbeddingModel, environ: Mapping[str, str], retry: RetryPolicy | None = None
    ) -> None:
        """Read the endpoint's key from `environ`.

        Raises:
            ModelError: its variable is not set.
        """
        self.model = model
        self._client = GeminiClient(model, environ, retry)
        self._counter = GeminiCounter(model, self._client)
        self.counter: TokenCounter = self._counter

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed passages; identical texts are sent once.

        Returns:
            Shape (len(texts), dimension), float32, in the order of `texts`.

        Raises:
            ModelUnavailable: the endpoint is down or over its quota.
            ModelError: a text is too long, or the endpoint refuses or answers with another shape.
        """
        return self._embed(texts, self.model.passage_prefix, PASSAGE_TASK)

    def embed_query(self, text: str) -> Vectors:
        """Embed one query with the query prefix; shape (dimension,), float32."""
        vector: Vectors = self._embed([text], self.model.query_prefix, QUERY_TASK)[0]
        return vector

    def close(self) -> None:
        """Release connections."""
        self._client.close()

    def _embed(self, texts: Sequence[str], prefix: str, task: str) -> Vectors:
        require_unicode(texts)
        positions, source = first_occurrences(texts)
        prefixed = {position: prefix + texts[position] for position in positions}
        require_readable(
            self.model, {row: self._counter.length(text) for row, text in prefixed.items()}
        )
        vectors = np.zeros((len(texts), self.model.dimension), np.float32)
        for start in range(0, len(positions), TEXTS_IN_REQUEST):
            batch = positions[start : start + TEXTS_IN_REQUEST]
            vectors[batch] = self._request([prefixed[row] for row in batch], task)
        return checked(vectors[source], self.model.name)

    def _request(self, texts: Sequence[str], task: str) -> Vectors:
        requests = [
            {
                "model": f"models/{self.model.remote_name}",
                "content": {"parts": [{"text": text}]},
                "taskType": task,
                "outputDimensionality": self.model.dimension,
            }
            for text in texts
        ]
        answer = self._client.call("batchEmbedContents", {"requests": requests})
        vectors = self._read(answer.get("embeddings"), len(texts))
        # Only vectors of full length (3072) come normalized.
        return _normalized(vectors) if self.model.normalize else vectors

    def _read(self, embeddings: object, count: int) -> Vectors:
        expected = (count, self.model.dimension)
        try:
            values = [embedding["values"] for embedding in embeddings]  # type: ignore[attr-defined]
            vectors = np.asarray(values, np.float32)
        except (TypeError, KeyError, ValueError) as error:
            raise ModelError(
                f"{self.model.name}: the answer does not hold {count} vectors of one length"
            ) from error
        if vectors.shape != expected:
            raise ModelError(
                f"{self.model.name}: the answer holds vectors of shape {vectors.shape}; "
                f"expected are {expected}"
            )
        return vectors


def _normalized(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit
