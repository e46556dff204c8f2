"""Vectors equal those of sentence-transformers, for each pooling and architecture registered."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from embedding_support.tiny_models import TINY_MODELS
from transformers import AutoModel

from celeriac.embedding import registry
from celeriac.embedding.base import Embedder, Vectors
from celeriac.embedding.calibration import Streams
from celeriac.embedding.files import find_folder
from celeriac.embedding.models import EmbeddingModel
from celeriac.embedding.network import Network
from celeriac.embedding.tokenization import ModelTokenizer
from celeriac.embedding.torch_engine import TorchEmbedder

if TYPE_CHECKING:
    from collection import Cacm
    from sentence_transformers import SentenceTransformer

UNICODE = [
    "Straße, naïve café, Ångström",
    "検索システムは文書を索引する",
    "العربية والعبرية עברית",
    "👩‍🔬🧪 measured 3 × 10⁻⁵ m²",
    "e\u0301 against \u00e9, and a zero\u200bwidth space",
]
MINILM = "minilm-mean"


@dataclass(frozen=True)
class Case:
    model: EmbeddingModel
    embedder: Embedder
    oracle: SentenceTransformer
    texts: list[str]
    """Of one token and of max_length, other scripts, duplicates, blank, and plain ones."""


@pytest.fixture(scope="module", params=[MINILM, *TINY_MODELS])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cacm: Cacm
) -> Iterator[Case]:
    from sentence_transformers import SentenceTransformer

    corpus = [f"{d['title']}\n{d['abstract']}" for d in cacm.documents[1390:1450]]
    if request.param == MINILM:
        model = registry.BUILTIN[registry.DEFAULT_MODEL]
    else:
        tiny, folder = TINY_MODELS[request.param], tmp_path_factory.mktemp("model") / "saved"
        tiny.build(folder, corpus + UNICODE)
        model = tiny.description(folder)
    embedder = registry.load(model, device="cpu", dtype="float32", environ={})
    oracle = SentenceTransformer(str(find_folder(model, weights=True)), device="cpu")
    yield Case(model, embedder, oracle, _texts(embedder, corpus))
    embedder.close()


def _texts(embedder: Embedder, corpus: list[str]) -> list[str]:
    fitting = [
        text
        for text, length in zip(corpus, embedder.counter.count(corpus), strict=True)
        if length <= embedder.counter.max_length
    ]
    texts = [*fitting[:16], "a", "", " \n\t padded  ", *UNICODE, _of_max_length(embedder)]
    return [*texts, texts[3], texts[0]]


def _of_max_length(embedder: Embedder) -> str:
    counter = embedder.counter
    text = "a"
    while counter.count([text])[0] < counter.max_length:
        text += " a"
    assert counter.count([text]) == [counter.max_length]
    return text


def _cosines(left: Vectors, right: Vectors) -> np.ndarray:
    dots = (left.astype(np.float64) * right).sum(axis=1)
    return dots / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))


def test_vectors_equal_the_oracle(case: Case) -> None:
    vectors = case.embedder.embed(case.texts)
    expected = case.oracle.encode(case.texts, batch_size=8, show_progress_bar=False)

    assert vectors.shape == (len(case.texts), case.model.dimension)
    assert vectors.dtype == np.float32
    assert _cosines(vectors, expected).min() >= 0.9999
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_the_oracle_tells_texts_apart(case: Case) -> None:
    """Without it, equal vectors would prove nothing. Far below the 0.9999 that equality asks for;
    how far varies a little, for the tiny tokenizer's training is not deterministic."""
    expected = case.oracle.encode(case.texts[:16], show_progress_bar=False)

    neighbours = _cosines(expected[:-1], expected[1:])

    assert np.median(neighbours) < 0.95


def test_lengths_equal_the_oracle(case: Case) -> None:
    counts = case.embedder.counter.count(case.texts)

    expected = [int(case.oracle.tokenize([text])["attention_mask"].sum()) for text in case.texts]
    assert counts == expected


def test_a_vector_does_not_depend_on_its_batch(case: Case) -> None:
    together = case.embedder.embed(case.texts)

    alone = np.concatenate([case.embedder.embed([text]) for text in case.texts])
    backwards = case.embedder.embed(case.texts[::-1])[::-1]

    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(backwards, together, atol=1e-5)


def test_batches_have_no_padding(case: Case) -> None:
    """Or what is tested here is not what runs."""
    assert isinstance(case.embedder, TorchEmbedder)
    assert case.embedder.packed


def test_many_threads_get_the_oracles_vectors(case: Case) -> None:
    """Texts of all lengths, cut up among callers whose texts share batches."""
    expected = case.oracle.encode(case.texts, batch_size=8, show_progress_bar=False)
    chance = np.random.default_rng(11)
    parts = [chance.permutation(len(case.texts))[: 3 + caller] for caller in range(8)]

    with ThreadPoolExecutor(len(parts)) as pool:
        results = pool.map(lambda part: case.embedder.embed([case.texts[i] for i in part]), parts)

    for part, vectors in zip(parts, results, strict=True):
        assert _cosines(vectors, expected[part]).min() >= 0.9999
        np.testing.assert_allclose(vectors, expected[part], atol=1e-5)


def test_with_padding_vectors_are_the_same(case: Case) -> None:
    """As where the attention of an architecture cannot be set."""
    padded = _plain(case, torch.float32)

    vectors = padded.embed(case.texts)
    padded.close()

    np.testing.assert_allclose(vectors, case.embedder.embed(case.texts), atol=1e-5)


def _plain(case: Case, dtype: torch.dtype) -> TorchEmbedder:
    """With torch's own layers, and padding."""
    folder = find_folder(case.model, weights=True)
    module = AutoModel.from_pretrained(folder, dtype=dtype).eval()
    network = Network(module, torch.device("cpu"))
    return TorchEmbedder(case.model, ModelTokenizer(case.model, folder), network, Streams(1, 700))


def test_bfloat16_stays_close_to_float32(case: Case) -> None:
    """Within 0.999; where random weights are too rough for that, near what it is with torch's own
    layers. A tiny model's tokenizer is another one each time, so it is now rough and now not."""
    texts = case.texts[:12]
    expected = case.embedder.embed(texts)
    half = registry.load(case.model, device="cpu", dtype="bfloat16", environ={})
    plain = _plain(case, torch.bfloat16)

    vectors, others = half.embed(texts), plain.embed(texts)
    half.close()
    plain.close()

    assert vectors.dtype == np.float32
    rough = 1 - _cosines(others, expected)
    assert (1 - _cosines(vectors, expected) <= np.maximum(0.001, 3 * rough)).all()


def test_int8_stays_near_float32(case: Case) -> None:
    texts = case.texts[:12]
    quantized = registry.load(case.model, device="cpu", dtype="int8", environ={})

    vectors = quantized.embed(texts)
    backwards = quantized.embed(texts[::-1])[::-1]
    quantized.close()

    assert _cosines(vectors, case.embedder.embed(texts)).min() >= 0.98
    assert _cosines(vectors, backwards).min() >= 0.9999
