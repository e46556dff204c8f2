"""What chunking costs beside plain tiktoken encoding of the same texts.

    PYTHONPATH=src python -m benchmarks.chunking [TEXTS.jsonl ...]

Each figure is a speed as a share of that of `encode_ordinary`, text by text: 0.50 is half as fast.
All that is compared takes turns in one process, page by page and in another order each time; a
figure is the median of its rounds, by the clock and, in brackets, by the processor time of all
threads.

splitting alone    for a model that reads everything, so nothing is counted
with count         every chunk counted with the tokenizer of all-MiniLM-L6-v2, which reads 256
                   tokens, and split where it is longer; words met before are remembered
first pass         the same in a process that has met no word before

The texts: CACM (or `title` and `abstract` of the lines of the files named), and paragraphs in 21
languages; as they are, and joined to documents of 1,000 tokens or more.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from celeriac.chunking import Chunker
from celeriac.embedding.base import TokenCounter
from celeriac.embedding.registry import BUILTIN, counter
from celeriac.encodings import encoding
from celeriac.model import Splitting, SplittingMethod

CACM = Path(__file__).parents[1] / "tests" / "data" / "cacm" / "documents.jsonl"
MULTILINGUAL = Path(__file__).parent / "multilingual.txt"
ENCODING = "cl100k_base"
SIZES = ((256, 32), (100, 0))
DOCUMENT_TOKENS = 1000
PAGE = 100
"""Texts the indexer splits in one call."""
LEAST_TOKENS = 100_000
"""Texts are repeated in a round until they are that long."""
FRESH = 3
"""Rounds of first passes."""

Work = Callable[[list[str]], object]


class Unlimited:
    """A model that reads everything: what remains is the splitting."""

    max_length = 10**9

    def count(self, texts: Sequence[str]) -> list[int]:
        return [0] * len(texts)


@dataclass(frozen=True)
class Seconds:
    clock: float
    processor: float

    def share_of(self, plain: Seconds) -> str:
        return f"{plain.clock / self.clock:.2f} ({plain.processor / self.processor:.2f})"


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


def plain(page: list[str]) -> object:
    encode = encoding(ENCODING).encode_ordinary
    return [encode(text) for text in page]


def minilm() -> TokenCounter:
    """The tokenizer as a new process has it."""
    return counter(BUILTIN["all-minilm-l6-v2"], {})


def splittings() -> dict[str, Splitting]:
    return {
        f"{method} {size}/{overlap}": Splitting(method, size, overlap, ENCODING)
        for method, (size, overlap) in itertools.product(SplittingMethod, SIZES)
    }


def chunking(splitting: Splitting, counts: TokenCounter) -> Work:
    chunker = Chunker(splitting, counts)
    chunker.split("Let it load its tables.")
    return chunker.split_many


def a_round(works: dict[str, Work], texts: list[str], order: random.Random) -> dict[str, Seconds]:
    """The seconds that each takes for all texts, turn by turn."""
    clock, processor = dict.fromkeys(works, 0.0), dict.fromkeys(works, 0.0)
    for start in range(0, len(texts), PAGE):
        page = texts[start : start + PAGE]
        for label in order.sample(list(works), len(works)):
            before, processor_before = time.perf_counter(), time.process_time()
            works[label](page)
            clock[label] += time.perf_counter() - before
            processor[label] += time.process_time() - processor_before
    return {label: Seconds(clock[label], processor[label]) for label in works}


def medians(rounds: Sequence[dict[str, Seconds]]) -> dict[str, Seconds]:
    return {
        label: Seconds(
            statistics.median(one[label].clock for one in rounds),
            statistics.median(one[label].processor for one in rounds),
        )
        for label in rounds[0]
    }


def warm(texts: list[str], rounds: int, counts: TokenCounter) -> dict[str, Seconds]:
    """Medians of rounds; one round more comes first, and does not count."""
    works: dict[str, Work] = {"plain": plain}
    for label, splitting in splittings().items():
        works[f"{label} alone"] = chunking(splitting, Unlimited())
        works[f"{label} counted"] = chunking(splitting, counts)
    order = random.Random(0)
    return medians([a_round(works, texts, order) for _ in range(rounds + 1)][1:])


def first_passes(texts: list[str]) -> dict[str, tuple[Seconds, Seconds]]:
    """Plain encoding and chunking, each round with a tokenizer that has met no word."""
    order = random.Random(0)
    found = {}
    for label, splitting in splittings().items():
        rounds = [
            a_round({"plain": plain, "fresh": chunking(splitting, minilm())}, texts, order)
            for _ in range(FRESH)
        ]
        seconds = medians(rounds)
        found[label] = seconds["plain"], seconds["fresh"]
    return found


def report(title: str, texts: list[str], rounds: int, counts: TokenCounter) -> None:
    tokens = [len(encoding(ENCODING).encode_ordinary(text)) for text in texts]
    repeated = texts * -(-LEAST_TOKENS // sum(tokens))
    first, seconds = first_passes(texts), warm(repeated, rounds, counts)
    speed = sum(tokens) * (len(repeated) // len(texts)) / seconds["plain"].clock
    print(f"\n{title}: {len(texts):,} texts, {sum(tokens):,} tokens; {rounds} rounds,")
    print(f"plain encoding {speed:,.0f} tokens/s")
    print(f"{'':16} {'splitting alone':>16} {'with count':>16} {'first pass':>16}")
    for label in splittings():
        alone, counted = (seconds[f"{label} {kind}"] for kind in ("alone", "counted"))
        shares = [one.share_of(seconds["plain"]) for one in (alone, counted)]
        shares.append(first[label][1].share_of(first[label][0]))
        print(f"{label:16} " + " ".join(f"{share:>16}" for share in shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("texts", nargs="*", type=Path, default=[CACM], help="JSON lines")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    sets = {path.stem: read_texts(path) for path in arguments.texts}
    if CACM in arguments.texts:
        sets["CACM"] = sets.pop(CACM.stem)
    sets["21 languages"] = MULTILINGUAL.read_text("utf-8").splitlines()
    counts = minilm()
    for name, texts in sets.items():
        report(f"{name}, as they are", texts, arguments.rounds, counts)
        documents = list(joined(texts))
        report(f"{name}, joined to {DOCUMENT_TOKENS:,} tokens", documents, arguments.rounds, counts)


if __name__ == "__main__":
    main()
