"""How long spans of texts are in model tokens: from the texts' tiktoken tokens, or one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from celeriac.chunking.measures import MeasuredText, token_characters
from celeriac.chunking.windows import Span
from celeriac.embedding.base import TokenCounter
from celeriac.embedding.run_counts import RunCounts
from celeriac.embedding.tokenization import ModelTokenizer

COUNT_BATCH = 1024
"""Texts counted at once: a tokenizer's own record of a chunk is many times its size."""

TextSpan = tuple[int, Span]
"""The number of a text, and a span of it that is not empty."""


class SpanCounts(Protocol):
    """Counts spans of the texts of one page."""

    def count(self, spans: Sequence[TextSpan]) -> list[int]:
        """The length of each span in model tokens, passage prefix and special tokens included."""
        ...


def span_counts(counter: TokenCounter, texts: Sequence[MeasuredText], encoding: str) -> SpanCounts:
    """What counts spans of `texts`, which are encoded with `encoding`, as `counter` does."""
    runs = counter.run_counts(encoding) if isinstance(counter, ModelTokenizer) else None
    if runs is None or not all(runs.can_count(one.text) for one in texts):
        return _OneByOne(counter, texts)
    return _ByRuns(runs, counter.count([""])[0], texts, encoding)


class _OneByOne:
    def __init__(self, counter: TokenCounter, texts: Sequence[MeasuredText]) -> None:
        self._counter = counter
        self._texts = texts

    def count(self, spans: Sequence[TextSpan]) -> list[int]:
        return list(self._counts(spans))

    def _counts(self, spans: Sequence[TextSpan]) -> Iterator[int]:
        for first in range(0, len(spans), COUNT_BATCH):
            batch = spans[first : first + COUNT_BATCH]
            yield from self._counter.count(
                [self._texts[text].text[start:end] for text, (start, end) in batch]
            )


class _ByRuns:
    """Sums up runs; only what a span cuts off a run is counted as text.

    Places are in characters of all texts on end.
    """

    def __init__(
        self, runs: RunCounts, overhead: int, texts: Sequence[MeasuredText], encoding: str
    ) -> None:
        tokens = np.frombuffer(b"".join(one.ids for one in texts), dtype=np.uint32)
        lengths = [one.tokens for one in texts]
        found = runs.runs(tokens, np.cumsum([0, *lengths[:-1]]))
        begun = np.cumsum(token_characters(encoding).begun[tokens], dtype=np.int64)
        self._count_texts = runs.count_texts
        self._overhead = overhead
        self._texts = texts
        self._offsets = np.cumsum([0, *(len(one.text) for one in texts)])
        self._begins = np.concatenate([[0], begun[found.begins[1:] - 1]])
        self._before = found.before

    def count(self, spans: Sequence[TextSpan]) -> list[int]:
        offsets = self._offsets[[text for text, _ in spans]]
        starts = offsets + [start for _, (start, _) in spans]
        ends = offsets + [end for _, (_, end) in spans]
        first = np.searchsorted(self._begins, starts)
        last = np.searchsorted(self._begins, ends, side="right") - 1
        within = first > last
        counts = self._overhead + np.maximum(self._before[last] - self._before[first], 0)
        heads = np.where(within, ends, self._begins[first])
        tails = np.where(within, ends, self._begins[last])
        self._add(counts, spans, starts - offsets, heads - offsets)
        self._add(counts, spans, tails - offsets, ends - offsets)
        total: list[int] = counts.tolist()
        return total

    def _add(
        self,
        counts: NDArray[np.int64],
        spans: Sequence[TextSpan],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> None:
        """Count these stretches of the texts, and add them where they are not empty."""
        cut = np.flatnonzero(starts < ends)
        stretches = zip(cut.tolist(), starts[cut].tolist(), ends[cut].tolist(), strict=True)
        texts = [self._texts[spans[n][0]].text[start:end] for n, start, end in stretches]
        counts[cut] += np.array(self._count_texts(texts), dtype=np.int64)
