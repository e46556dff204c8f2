"""sentence-transformers and nothing else: one call of `encode`, as it comes, on all chunks.

No source is read and nothing is stored within the run; the chunks are those that LangChain's
splitter makes, cut before it. What builds on sentence-transformers can hardly take less time.
"""

from __future__ import annotations

from importlib.metadata import version

import counting
import wire
from langchain_text_splitters import TokenTextSplitter
from sentence_transformers import SentenceTransformer

PACKAGES = ("sentence-transformers", "transformers", "torch")


class System:
    def __init__(self, setup: wire.Setup, gauge: wire.Gauge) -> None:
        self._model = SentenceTransformer(setup.model, device="cpu")
        self._model.encode("ready")
        splitter = TokenTextSplitter(
            encoding_name=wire.ENCODING,
            chunk_size=wire.CHUNK_SIZE,
            chunk_overlap=wire.CHUNK_OVERLAP,
        )
        self._chunks = {
            name: splitter.split_text(text) for name, text in wire.documents(setup.source)
        }
        counting.count_into(gauge)

    def about(self) -> wire.Json:
        return {"versions": {name: version(name) for name in PACKAGES}, **counting.environment()}

    def index(self) -> wire.Json:
        self._model.encode([text for texts in self._chunks.values() for text in texts])
        return {}

    def split(self) -> dict[str, list[str]]:
        return self._chunks


if __name__ == "__main__":
    wire.serve(System)
