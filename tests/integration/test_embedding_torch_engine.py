from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from embedding_support.tiny_models import MISTRAL_LAST_TOKEN, XLM_ROBERTA_MEAN, TinyModel
from tokenizers import Tokenizer, processors
from transformers import AutoModel

from celeriac.embedding import registry
from celeriac.embedding.base import Embedder
from celeriac.embedding.calibration import Streams
from celeriac.embedding.models import EmbeddingModel, Pooling
from celeriac.embedding.network import Network
from celeriac.embedding.torch_streams import choose_streams
from celeriac.errors import ConfigurationError, ModelError

if TYPE_CHECKING:
    from collection import Cacm

MINILM = registry.BUILTIN["all-minilm-l6-v2"]


def load(model: EmbeddingModel, **settings: Any) -> Embedder:
    return registry.load(model, **({"device": "cpu", "dtype": "auto", "environ": {}} | settings))


@pytest.fixture(scope="module")
def minilm() -> Iterator[Embedder]:
    embedder = load(MINILM)
    yield embedder
    embedder.close()


@pytest.fixture(scope="module")
def abstracts(cacm: Cacm) -> list[str]:
    return [document["abstract"][:400] for document in cacm.documents[1390:1430]]


def build(tiny: TinyModel, folder: Path) -> Path:
    tiny.build(folder, ["a few words to learn from", "and some others, for a vocabulary"])
    return folder


@pytest.fixture(scope="module")
def xlm_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(XLM_ROBERTA_MEAN, tmp_path_factory.mktemp("xlm-roberta") / "saved")


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(MISTRAL_LAST_TOKEN, tmp_path_factory.mktemp("mistral") / "saved")


def test_vectors_come_in_the_order_of_the_texts(minilm: Embedder, abstracts: list[str]) -> None:
    order = np.random.default_rng(3).permutation(len(abstracts))

    vectors = minilm.embed(abstracts)
    shuffled = minilm.embed([abstracts[i] for i in order])

    np.testing.assert_allclose(shuffled, vectors[order], atol=1e-5)


def test_nothing_gives_no_rows(minilm: Embedder) -> None:
    assert minilm.embed([]).shape == (0, 384)


def test_identical_texts_get_one_vector(minilm: Embedder) -> None:
    vectors = minilm.embed(["same", "other", "same", "same"])

    np.testing.assert_array_equal(vectors[[2, 3]], vectors[[0, 0]])


def test_a_query_is_embedded_with_its_prefix() -> None:
    prefixed = load(dataclasses.replace(MINILM, query_prefix="query: ", passage_prefix="passage: "))

    query, passage = prefixed.embed_query("roots"), prefixed.embed(["roots"])[0]
    prefixed.close()

    plain = load(MINILM)
    expected = plain.embed(["query: roots", "passage: roots"])
    plain.close()
    np.testing.assert_allclose([query, passage], expected, atol=1e-6)


def test_vectors_may_be_left_at_their_length() -> None:
    raw = load(dataclasses.replace(MINILM, normalize=False))
    vector = raw.embed(["roots"])[0]
    raw.close()

    unit = load(MINILM).embed(["roots"])[0]

    assert abs(np.linalg.norm(vector) - 1) > 0.1
    np.testing.assert_allclose(vector / np.linalg.norm(vector), unit, atol=1e-6)


def test_a_text_that_is_too_long_is_never_cut(minilm: Embedder) -> None:
    with pytest.raises(ModelError, match="text 2 is 257 tokens long, but all-minilm-l6-v2 reads"):
        minilm.embed(["short", "a " * 254, "a " * 255])


def test_threads_share_one_model(minilm: Embedder, abstracts: list[str]) -> None:
    expected = minilm.embed(abstracts)
    parts = [slice(start, start + 10) for start in range(0, 40, 10)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda part: minilm.embed(abstracts[part]), parts))

    np.testing.assert_allclose(np.concatenate(results), expected, atol=1e-5)


def test_a_closed_embedder_says_so() -> None:
    embedder = load(MINILM)
    embedder.close()

    with pytest.raises(ModelError, match="is closed"):
        embedder.embed(["text"])


def test_torch_uses_no_more_threads_than_there_are_cpus(minilm: Embedder) -> None:
    assert torch.get_num_threads() <= len(os.sched_getaffinity(0))


def test_speed_is_measured_once_whatever_computes_meanwhile(
    tmp_path: Path, minilm: Embedder, abstracts: list[str]
) -> None:
    """The streams' own numbers of threads are not the machine's."""
    minilm.embed(abstracts)
    first = load(MINILM, calibrations=tmp_path)
    vectors = first.embed(abstracts)
    (known,) = tmp_path.iterdir()
    text = known.read_text()

    load(MINILM, calibrations=tmp_path).close()
    first.close()

    assert [path.read_text() for path in tmp_path.iterdir()] == [text]
    np.testing.assert_allclose(vectors, minilm.embed(abstracts), atol=1e-5)


@pytest.mark.parametrize(
    ("threads", "budget", "expected"),
    [
        (1, None, Streams(1, 1024, 1)),
        (2, None, Streams(2, 1024, 1)),
        (6, None, Streams(2, 1024, 3)),
        (6, 300, Streams(2, 300, 3)),
    ],
)
def test_streams_that_are_not_measured_share_the_threads(
    xlm_roberta: Path, threads: int, budget: int | None, expected: Streams
) -> None:
    module = AutoModel.from_pretrained(xlm_roberta).eval()
    network = Network(module, torch.device("cpu"))
    model = XLM_ROBERTA_MEAN.description(xlm_roberta)

    assert choose_streams(model, network, threads, budget, None) == expected


OUT_OF_MEMORY = """
import resource, sys
import numpy as np
from celeriac.embedding import registry, torch_streams

model = registry.BUILTIN[registry.DEFAULT_MODEL]
torch_streams.TOKEN_BUDGETS["cpu"] = 16 * 256
embedder = registry.load(model, device="cpu", dtype="float32", environ={{}})
embedder.embed(["word"])
texts = [("word " * 250) + str(number) for number in range(16)]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {room} * 2**20,) * 2)
np.save(sys.argv[1], embedder.embed(texts))
"""


def embed_in_little_memory(path: Path, *, room: int) -> subprocess.CompletedProcess[str]:
    """Embed 16 texts of 253 tokens in a process that may grow by `room` MiB."""
    script = OUT_OF_MEMORY.format(room=room)
    return subprocess.run(
        [sys.executable, "-c", script, str(path)],
        # One arena, and large blocks given back at once: nothing is left over to compute in.
        env={
            "PYTHONPATH": "src",
            "OMP_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_MMAP_THRESHOLD_": "65536",
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_batch_that_does_not_fit_in_memory_is_halved(tmp_path: Path, minilm: Embedder) -> None:
    run = embed_in_little_memory(tmp_path / "vectors.npy", room=48)

    assert run.returncode == 0, run.stderr
    assert "16 texts do not fit in memory together" in run.stderr
    texts = [("word " * 250) + str(number) for number in range(16)]
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), minilm.embed(texts), atol=1e-5)


def test_a_text_that_does_not_fit_alone_is_named(tmp_path: Path) -> None:
    run = embed_in_little_memory(tmp_path / "vectors.npy", room=2)

    assert "ModelError: text 0 does not fit in memory even alone" in run.stderr


def test_the_end_token_is_appended_where_tokenizer_json_forgets_it(
    mistral: Path, tmp_path: Path
) -> None:
    """As in the files of e5-mistral-7b-instruct."""
    texts = ["a few words", "others"]
    whole = load(MISTRAL_LAST_TOKEN.description(mistral)).embed(texts)
    forgetful = tmp_path / "forgetful"
    forgetful.mkdir()
    for path in mistral.iterdir():
        (forgetful / path.name).symlink_to(path)
    (forgetful / "tokenizer.json").unlink()
    tokenizer = Tokenizer.from_file(str(mistral / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(forgetful / "tokenizer.json"))

    model = MISTRAL_LAST_TOKEN.description(forgetful)
    completed = load(dataclasses.replace(model, append_eos=True)).embed(texts)

    np.testing.assert_allclose(completed, whole, atol=1e-6)
    assert not np.allclose(load(model).embed(texts), whole, atol=1e-2)


def test_positions_that_count_from_the_padding_bound_the_length(xlm_roberta: Path) -> None:
    model = XLM_ROBERTA_MEAN.description(xlm_roberta)

    with pytest.raises(ModelError, match="max_length is 513, but the model has 512 positions"):
        load(dataclasses.replace(model, max_length=513))


def test_a_wrong_dimension_is_refused(xlm_roberta: Path) -> None:
    model = XLM_ROBERTA_MEAN.description(xlm_roberta)

    with pytest.raises(ModelError, match="dimension is 64, but the model's vectors have 32"):
        load(dataclasses.replace(model, dimension=64))


def test_another_pooling_than_the_files_say_is_refused(xlm_roberta: Path) -> None:
    model = XLM_ROBERTA_MEAN.description(xlm_roberta)

    with pytest.raises(ModelError, match=r"pooling is cls, but .* says mean"):
        load(dataclasses.replace(model, pooling=Pooling.CLS))


def test_cuda_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")

    with pytest.raises(ConfigurationError, match="set CELERIAC_DEVICE=cpu"):
        load(MINILM, device="cuda")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"dtype": "float64"}, "dtype is 'float64'"),
    ],
)
def test_unknown_settings_are_refused(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        load(MINILM, **settings)


def test_loading_is_quiet() -> None:
    script = (
        "from celeriac.embedding import registry\n"
        "model = registry.BUILTIN[registry.DEFAULT_MODEL]\n"
        "registry.load(model, device='cpu', dtype='auto', environ={}).embed(['hello'])\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": "src"}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert (run.stdout, run.stderr) == ("", "")
