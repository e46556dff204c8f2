"""An embedder that is no model: for tests, and for measuring the pipeline without one.

Its vectors say nothing about meaning: equal texts have equal vectors, all others are as good as
orthogonal. Texts, vectors and counts are the same on every machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from celeriac.embedding.base import TokenCounter, Vectors
from celeriac.embedding.models import EmbeddingModel
from celeriac.embedding.tokenization import require_readable, require_unicode

_WORD = re.compile(r"\w+|[^\w\s]")
_SPECIAL_TOKENS = 2
_BYTES_PER_NUMBER = 4


class StubCounter:
    """Counts words and punctuation marks, and two special tokens a text."""

    def __init__(self, model: EmbeddingModel) -> None:
        self.max_length = model.max_length
        self._prefix = model.passage_prefix

    def count(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in words and marks, passage prefix and specials included."""
        return [self.length(self._prefix + text) for text in texts]

    @staticmethod
    def length(text: str) -> int:
        return len(_WORD.findall(text)) + _SPECIAL_TOKENS


class StubEmbedder:
    """Unit vectors derived from a hash (SHAKE-256) of the text."""

    def __init__(self, model: EmbeddingModel) -> None:
        self.model = model
        self.counter: TokenCounter = StubCounter(model)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimension).

        Raises:
            ModelError: a text is longer than `max_length`, or not valid Unicode.
        """
        require_unicode(texts)
        require_readable(self.model, dict(enumerate(self.counter.count(texts))))
        vectors = np.empty((len(texts), self.model.dimension), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._vector(self.model.passage_prefix + text)
        return vectors

    def embed_query(self, text: str) -> Vectors:
        """The vector of one query, shape (dimension,); that of the equal passage."""
        require_unicode([text])
        query = self.model.query_prefix + text
        require_readable(self.model, {0: StubCounter.length(query)})
        return self._vector(query)

    def close(self) -> None:
        """Nothing is held."""

    def _vector(self, text: str) -> Vectors:
        shake = hashlib.shake_256(text.encode())
        digest = shake.digest(_BYTES_PER_NUMBER * self.model.dimension)
        numbers = np.frombuffer(digest, "<u4").astype(np.float64) + 0.5
        centered = numbers / 2**32 - 0.5
        unit: Vectors = (centered / np.linalg.norm(centered)).astype(np.float32)
        return unit
