"""The embedding engine beside sentence-transformers and the machine's own matrix products.

    PYTHONPATH=src python -m benchmarks.engine [--chunks N] [--rounds N] [--size TOKENS]

Chunks of the CACM collection through all-MiniLM-L6-v2, end to end from text to vector, in one
process: sentence-transformers as it comes (batches of 32) and with batches of 8, celeriac as it
comes, and in each other dtype. They take turns, A B A B; figures are medians.

The ceiling is what the machine multiplies, in the faster of the two ways that torch has: the
products of the model's linear layers alone, measured in the same turns, for as many operations as
the whole model needs at these lengths, attention included. Nothing can be faster in float32.

Threads wait for each other as a worker's do, asleep; sentence-transformers' as well.

On a machine that is busy with other work, `OMP_NUM_THREADS=1 ... --by processor` gives figures that
mean something: tokens in a second of one core's own time.

The cosine is the lowest between a vector and that of sentence-transformers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from benchmarks._measuring import CLOCKS, Products, hardware, keep, table, taking_turns
from celeriac.chunking import Chunker
from celeriac.embedding import registry
from celeriac.embedding.base import Vectors
from celeriac.embedding.cpus import sleep_while_waiting
from celeriac.embedding.files import find_folder
from celeriac.embedding.torch_engine import TorchEmbedder
from celeriac.embedding.torch_loading import load_embedder
from celeriac.model import Splitting, SplittingMethod

CACM = Path(__file__).parents[1] / "tests" / "data" / "cacm" / "documents.jsonl"
MODEL = registry.BUILTIN[registry.DEFAULT_MODEL]
PLAIN = "sentence-transformers, as it comes"
CPU = torch.device("cpu")
CEILING_TOKENS = 1024
"""In the products of the ceiling: what is fastest on few cores."""


def chunks(size: int, number: int) -> list[str]:
    """Chunks of abstracts, in an order by chance that is the same each time."""
    with CACM.open(encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    texts = [f"{one['title']}\n{one['abstract']}" for one in documents if one["abstract"]]
    splitting = Splitting(SplittingMethod.SENTENCE, size, size // 8, "cl100k_base")
    splits = Chunker(splitting, registry.counter(MODEL, {})).split_many(texts)
    found = [chunk.text for split in splits for chunk in split.chunks]
    random.Random(0).shuffle(found)
    return found[:number]


def load(dtype: str, calibrations: Path) -> TorchEmbedder:
    return load_embedder(MODEL, device="cpu", dtype=dtype, calibrations=calibrations)


def lowest_cosine(vectors: Vectors, others: Vectors) -> float:
    return float((vectors * others).sum(axis=1).min())


def measure(texts: Sequence[str], rounds: int, dtypes: Sequence[str], by: str) -> dict[str, object]:
    plain = SentenceTransformer(str(find_folder(MODEL, weights=True)), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        ours = {f"celeriac, {dtype}": load(dtype, Path(folder)) for dtype in dtypes}
    works = {
        PLAIN: lambda: plain.encode(texts, batch_size=32, show_progress_bar=False),
        "sentence-transformers, batches of 8": lambda: plain.encode(
            texts, batch_size=8, show_progress_bar=False
        ),
        **{name: (lambda one=one: one.embed(texts)) for name, one in ours.items()},
    }
    expected = plain.encode(texts, show_progress_bar=False)
    cosines = {name: lowest_cosine(one.embed(texts), expected) for name, one in ours.items()}
    tokens = sum(ours[f"celeriac, {dtypes[0]}"].counter.count(texts))
    products = Products.of(plain[0].auto_model)
    ceilings = products.works(CEILING_TOKENS, CPU, torch.float32)
    seconds = taking_turns({**works, **ceilings}, rounds, by)
    rates = {name: products.flop(CEILING_TOKENS) / seconds[name] for name in ceilings}
    length = float(np.mean([n**2 for n in ours[f"celeriac, {dtypes[0]}"].counter.count(texts)]))
    needed = products.flop(tokens, length * len(texts) / tokens) / tokens
    return {
        **hardware(CPU),
        "threads": torch.get_num_threads(),
        "streams": {name: asdict(one.streams) for name, one in ours.items()},
        "seconds_by": by,
        "texts": len(texts),
        "tokens": tokens,
        "tokens_per_second": {name: tokens / seconds[name] for name in works},
        "ceilings_gflop_per_second": {name: rate / 1e9 for name, rate in rates.items()},
        "ceiling_tokens_per_second": max(rates.values()) / needed,
        "cosines": cosines,
    }


def report(found: dict[str, object]) -> None:
    speeds, ceiling = found["tokens_per_second"], found["ceiling_tokens_per_second"]
    assert isinstance(speeds, dict)
    assert isinstance(ceiling, float)
    cosines = found["cosines"]
    assert isinstance(cosines, dict)
    rows = [
        [
            name,
            f"{speed:,.0f}",
            f"{speed / speeds[PLAIN]:.2f}",
            f"{speed / ceiling:.2f}",
            f"{cosines[name]:.6f}" if name in cosines else "",
        ]
        for name, speed in (*speeds.items(), ("ceiling, float32", ceiling))
    ]
    print(f"{found['texts']} chunks, {found['tokens']:,} tokens; {found['processor']},")
    print(
        f"{found['threads']} threads, load {found['load']:.1f}, seconds by "
        f"the {found['seconds_by']}\n"
    )
    print(table(["", "tokens/s", "of the first", "of the ceiling", "cosine"], rows))
    for name, one in found["streams"].items():  # type: ignore[attr-defined]
        print(f"{name}: {one['number']} streams, batches of {one['token_budget']:,} tokens")
    for name, rate in found["ceilings_gflop_per_second"].items():  # type: ignore[attr-defined]
        print(f"{name}: {rate:,.0f} GFLOP/s")


def _wait_as_a_worker() -> None:
    """Begin anew where the environment does not say how threads wait: torch, which this module
    imports, has read it already."""
    environ = dict(os.environ)
    sleep_while_waiting(environ)
    if environ != os.environ:
        os.execve(sys.executable, sys.orig_argv, environ)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, help="of chunks, in tiktoken tokens")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="of celeriac")
    parser.add_argument("--by", choices=CLOCKS, default="clock", help="whose seconds")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/")
    arguments = parser.parse_args()
    _wait_as_a_worker()
    texts = chunks(arguments.size, arguments.chunks)
    found = measure(texts, arguments.rounds, arguments.dtypes.split(","), arguments.by)
    report(found)
    if arguments.keep:
        print(keep("engine" if arguments.by == "clock" else "engine-processor", found))


if __name__ == "__main__":
    main()
