from __future__ import annotations

import dataclasses
import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from embedding_support import gemini_server
from embedding_support.gemini_server import KEY, Answer, GeminiServer, error

from celeriac.embedding import registry
from celeriac.embedding.gemini import GeminiCounter, GeminiEmbedder
from celeriac.embedding.gemini_client import GeminiClient, RetryPolicy
from celeriac.embedding.models import EmbeddingModel
from celeriac.errors import ModelError, ModelUnavailable

HASTY = RetryPolicy(attempts=3, base=0.01, patience=1.0)
ENVIRON = {"GEMINI_API_KEY": KEY}


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with gemini_server.serve_gemini() as server:
        yield server


@pytest.fixture
def model(server: GeminiServer) -> EmbeddingModel:
    return dataclasses.replace(registry.BUILTIN["gemini-embedding-001"], location=server.url)


@pytest.fixture
def embedder(model: EmbeddingModel) -> Iterator[GeminiEmbedder]:
    embedder = GeminiEmbedder(model, ENVIRON, HASTY)
    yield embedder
    embedder.close()


def expected(text: str, dimension: int, task: str = "RETRIEVAL_DOCUMENT") -> np.ndarray:
    vector = np.asarray(
        gemini_server.embedding(
            model="", content={"parts": [{"text": text}]}, taskType=task,
            outputDimensionality=dimension,
        )
    )  # fmt: skip
    return vector / np.linalg.norm(vector)


def test_texts_are_embedded_in_order_and_once_each(
    embedder: GeminiEmbedder, server: GeminiServer
) -> None:
    texts = [f"text {number}" for number in range(230)] + ["text 7", "text 0"]

    vectors = embedder.embed(texts)

    assert vectors.shape == (232, 3072)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [expected(text, 3072) for text in texts], atol=1e-6)
    assert [len(sent) for sent in server.texts("batchEmbedContents")] == [100, 100, 30]


def test_requests_have_the_published_form(embedder: GeminiEmbedder, server: GeminiServer) -> None:
    embedder.embed(["a passage"])
    query = embedder.embed_query("a query")

    (_, passage), (_, asked) = server.calls
    assert passage == {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": "a passage"}]},
                "taskType": "RETRIEVAL_DOCUMENT",
                "outputDimensionality": 3072,
            }
        ]
    }
    assert asked["requests"][0]["taskType"] == "RETRIEVAL_QUERY"
    assert server.targets == ["/v1beta/models/gemini-embedding-001:batchEmbedContents"] * 2
    np.testing.assert_allclose(query, expected("a query", 3072, "RETRIEVAL_QUERY"), atol=1e-6)


def test_shortened_vectors_are_normalized(model: EmbeddingModel) -> None:
    embedder = GeminiEmbedder(dataclasses.replace(model, dimension=768), ENVIRON)

    vectors = embedder.embed(["one", "two"])
    embedder.close()

    assert vectors.shape == (2, 768)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_nothing_is_sent_for_nothing(embedder: GeminiEmbedder, server: GeminiServer) -> None:
    assert embedder.embed([]).shape == (0, 3072)
    assert not server.calls


def test_the_registry_loads_it_and_its_counter(model: EmbeddingModel) -> None:
    embedder = registry.load(model, device="auto", dtype="auto", environ=ENVIRON)

    assert embedder.embed(["text"]).shape == (1, 3072)
    assert registry.counter(model, ENVIRON).count(["text"]) == [6]
    embedder.close()


def test_it_may_be_used_from_several_threads(embedder: GeminiEmbedder) -> None:
    texts = [[f"{worker}/{number}" for number in range(20)] for worker in range(6)]

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(embedder.embed, texts))

    for batch, vectors in zip(texts, results, strict=True):
        np.testing.assert_allclose(vectors, [expected(text, 3072) for text in batch], atol=1e-6)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_retried(
    embedder: GeminiEmbedder, server: GeminiServer, status: int
) -> None:
    server.queued = [error(status, "not now"), error(status, "nor now", Retry_After="0.02")]

    vectors = embedder.embed(["text"])

    np.testing.assert_allclose(vectors[0], expected("text", 3072), atol=1e-6)
    assert len(server.calls) == 3


def test_an_exhausted_quota_is_named_and_handed_back(
    embedder: GeminiEmbedder, server: GeminiServer
) -> None:
    server.queued = [gemini_server.quota_exceeded("0.01s")] * 3

    with pytest.raises(ModelUnavailable, match="EmbedContentRequestsPerMinute") as caught:
        embedder.embed(["text"])

    assert caught.value.retry_after == 0.01
    assert len(server.calls) == 3


def test_a_long_wait_is_not_sat_out(embedder: GeminiEmbedder, server: GeminiServer) -> None:
    server.queued = [gemini_server.quota_exceeded("40s")]

    with pytest.raises(ModelUnavailable, match="quota") as caught:
        embedder.embed(["text"])

    assert caught.value.retry_after == 40
    assert len(server.calls) == 1


def test_an_endpoint_that_is_not_there_is_unavailable(model: EmbeddingModel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = dataclasses.replace(model, location=f"http://127.0.0.1:{port}/v1beta")
    embedder = GeminiEmbedder(gone, ENVIRON, HASTY)

    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        embedder.embed(["text"])
    embedder.close()


@pytest.mark.parametrize("status", [400, 404, 413])
def test_a_refused_request_is_not_retried(
    embedder: GeminiEmbedder, server: GeminiServer, status: int
) -> None:
    server.queued = [error(status, "no such thing")]

    with pytest.raises(ModelError, match=f"{status}: no such thing"):
        embedder.embed(["text"])

    assert len(server.calls) == 1


def answered(**answer: Any) -> Answer:
    return Answer(200, answer)


@pytest.mark.parametrize(
    "answer",
    [
        answered(),
        answered(embeddings=None),
        answered(embeddings=[]),
        answered(embeddings=[{"values": [1.0] * 3072}]),
        answered(embeddings=[{"values": [1.0] * 768}] * 2),
        answered(embeddings=[{"values": [1.0] * 3072}, {"values": [1.0]}]),
        answered(embeddings=[{"values": ["a"] * 3072}] * 2),
        answered(embeddings=[{"values": [float("nan")] * 3072}] * 2),
        answered(embeddings=[[1.0] * 3072] * 2),
        Answer(200, "[]"),
        Answer(200, "not JSON"),
    ],
)
def test_an_answer_of_another_shape_is_an_error(
    embedder: GeminiEmbedder, server: GeminiServer, answer: Answer
) -> None:
    server.queued = [answer]

    with pytest.raises(ModelError, match="gemini-embedding-001"):
        embedder.embed(["one", "two"])


@pytest.mark.parametrize(
    "refusal",
    [
        error(401, f"bad credentials {KEY}"),
        error(403, "the key may not use this method"),
        error(400, "API key not valid.", gemini_server.API_KEY_INVALID),
    ],
)
def test_a_refused_key_names_the_variable_and_never_the_key(
    embedder: GeminiEmbedder,
    server: GeminiServer,
    refusal: Answer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.queued = [refusal]

    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(ModelError, match="check the variable GEMINI_API_KEY") as caught,
    ):
        embedder.embed(["text"])

    shown = [str(caught.value), repr(caught.value), repr(embedder), repr(vars(embedder))]
    assert KEY not in "".join([*shown, caplog.text, *server.targets])


@pytest.mark.parametrize("environ", [{}, {"GEMINI_API_KEY": " "}])
def test_a_missing_key_names_its_variable(model: EmbeddingModel, environ: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="set the variable GEMINI_API_KEY"):
        registry.load(model, device="auto", dtype="auto", environ=environ)


def test_short_texts_are_counted_by_their_bytes(
    model: EmbeddingModel, server: GeminiServer
) -> None:
    counter = GeminiCounter.open(model, ENVIRON)

    assert counter.count(["", "abc", "ä" * 1023]) == [2, 5, 2048]
    assert not server.calls


def test_long_texts_are_counted_by_the_endpoint_once(
    model: EmbeddingModel, server: GeminiServer
) -> None:
    counter = GeminiCounter.open(model, ENVIRON)
    long = "word " * 600

    assert counter.count([long, "short", long]) == [600, 7, 600]
    assert [method for method, _ in server.calls] == ["countTokens"]


def test_a_text_the_endpoint_would_cut_is_refused(
    embedder: GeminiEmbedder, server: GeminiServer
) -> None:
    with pytest.raises(ModelError, match="text 1 is 2049 tokens long"):
        embedder.embed(["short", "word " * 2049])

    assert [method for method, _ in server.calls] == ["countTokens"]


def test_a_count_that_is_none_is_an_error(model: EmbeddingModel, server: GeminiServer) -> None:
    server.queued = [answered(total=3)]

    with pytest.raises(ModelError, match="totalTokens"):
        GeminiCounter.open(model, ENVIRON).count(["word " * 600])


def test_a_lone_surrogate_is_refused_by_position(embedder: GeminiEmbedder) -> None:
    with pytest.raises(ModelError, match="text 1 is not valid Unicode"):
        embedder.embed(["fine", "\ud800"])


def test_redirects_are_not_followed(model: EmbeddingModel, server: GeminiServer) -> None:
    """They would carry the key elsewhere."""
    server.queued = [Answer(307, "", {"location": "http://127.0.0.1:9/"})]
    client = GeminiClient(model, ENVIRON, HASTY)

    with pytest.raises(ModelError, match="307"):
        client.call("batchEmbedContents", {})
    client.close()
