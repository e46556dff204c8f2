"""What chunking costs beside plain tiktoken encoding of the same texts, in tokens a second.

    PYTHONPATH=src python benchmarks/chunking.py [TEXTS.jsonl]

Texts are the `title` and `abstract` of each line, as they are and joined to documents of 1,000
tokens or more. All rows of a table take turns in one process, in another order each round; a figure
is the median of its rounds. "of plain" compares the speed with `encode_ordinary` text by text, by
the clock and by the processor time of all threads.

Rows "with model count" include counting every chunk with the tokenizer of all-MiniLM-L6-v2, which
reads 256 tokens, and splitting what is longer. The row "model count alone" counts the same texts
once, unsplit: what any embedder has to do before it computes.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from celeriac.chunking import Chunker
from celeriac.embedding.registry import BUILTIN, counter
from celeriac.encodings import encoding
from celeriac.model import Splitting, SplittingMethod

DATA = Path(__file__).parents[1] / "tests" / "data" / "cacm" / "documents.jsonl"
ENCODING = "cl100k_base"
SIZES = ((256, 32), (100, 0))
DOCUMENT_TOKENS = 1000
PAGE = 100
"""Texts the indexer splits in one call."""


class Unlimited:
    """A model that reads everything: what remains is the splitting."""

    max_length = 10**9

    def count(self, texts: Sequence[str]) -> list[int]:
        return [0] * len(texts)


def read_texts(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    texts = [f"{one.get('title', '')}\n{one.get('abstract', '')}".strip() for one in documents]
    return [text for text in texts if text]


def joined(texts: Sequence[str]) -> Iterator[str]:
    """The texts as paragraphs of documents of DOCUMENT_TOKENS or more."""
    waiting: list[str] = []
    length = 0
    for text in texts:
        waiting.append(text)
        length += len(encoding(ENCODING).encode_ordinary(text))
        if length >= DOCUMENT_TOKENS:
            yield "\n\n".join(waiting)
            waiting, length = [], 0


def by_page(run: Callable[[list[str]], object], texts: list[str]) -> Callable[[], None]:
    def run_all() -> None:
        for start in range(0, len(texts), PAGE):
            run(texts[start : start + PAGE])

    return run_all


def rows(texts: list[str]) -> dict[str, Callable[[], None]]:
    """What is measured, by its label; plain encoding first."""
    tokens, minilm = encoding(ENCODING), counter(BUILTIN["all-minilm-l6-v2"], {})
    measured: dict[str, Callable[[list[str]], object]] = {
        "encode_ordinary, text by text": lambda page: [tokens.encode_ordinary(one) for one in page],
        "encode_ordinary_batch, 1 thread": functools.partial(
            tokens.encode_ordinary_batch, num_threads=1
        ),
    }
    for method, (size, overlap) in itertools.product(SplittingMethod, SIZES):
        splitting = Splitting(method, size, overlap, ENCODING)
        label = f"{method} {size}/{overlap}"
        measured[label] = Chunker(splitting, Unlimited()).split_many
        measured[f"{label}, with model count"] = Chunker(splitting, minilm).split_many
    measured["model count alone"] = minilm.count
    return {label: by_page(run, texts) for label, run in measured.items()}


@dataclass(frozen=True)
class Seconds:
    clock: float
    processor: float


def medians(measured: dict[str, Callable[[], None]], rounds: int) -> dict[str, Seconds]:
    """The medians of rounds in which all rows take turns; one round more warms up."""
    clock: dict[str, list[float]] = {label: [] for label in measured}
    processor: dict[str, list[float]] = {label: [] for label in measured}
    order = random.Random(0)
    for number in range(rounds + 1):
        for label in order.sample(list(measured), len(measured)):
            before, processor_before = time.perf_counter(), time.process_time()
            measured[label]()
            if number:
                clock[label].append(time.perf_counter() - before)
                processor[label].append(time.process_time() - processor_before)
    return {
        label: Seconds(statistics.median(clock[label]), statistics.median(processor[label]))
        for label in measured
    }


def report(title: str, texts: list[str], rounds: int) -> None:
    total = sum(len(encoding(ENCODING).encode_ordinary(text)) for text in texts)
    print(f"\n{title}: {len(texts):,} texts, {total:,} tokens, {total // len(texts):,} each")
    print(f"{'':34} {'tokens/s':>12} {'of plain':>10} {'processor':>10}")
    seconds = medians(rows(texts), rounds)
    plain = next(iter(seconds.values()))
    for label, one in seconds.items():
        speed, clock, processor = (
            total / one.clock,
            plain.clock / one.clock,
            plain.processor / one.processor,
        )
        print(f"{label:34} {speed:>12,.0f} {clock:>10.2f} {processor:>10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("texts", nargs="?", type=Path, default=DATA, help="JSON lines")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    texts = read_texts(arguments.texts)
    report("As they are", texts, arguments.rounds)
    report(f"Joined to {DOCUMENT_TOKENS:,} tokens", list(joined(texts)), arguments.rounds)


if __name__ == "__main__":
    main()
