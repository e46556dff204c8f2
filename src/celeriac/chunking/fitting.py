"""Nothing longer than the model can read: windows counted with its own tokenizer, and split."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from celeriac.chunking.boundaries import Boundaries
from celeriac.chunking.counts import span_counts
from celeriac.chunking.measures import MeasuredText
from celeriac.chunking.windows import Span
from celeriac.embedding.base import TokenCounter
from celeriac.errors import ModelError

FILL = 0.95
"""What a piece is meant to fill of the model's length: model tokens are not spread evenly."""


class Fitted(NamedTuple):
    """The windows of one text, as the model can read them."""

    spans: list[Span]
    """In the order of the text; none within another."""
    split: int
    """How many windows were longer than the model can read."""


class Fitting:
    """Counts windows and splits those that are too long. Safe to call from several threads."""

    def __init__(self, counter: TokenCounter, encoding: str) -> None:
        self._counter = counter
        self._encoding = encoding

    def fit(self, texts: Sequence[MeasuredText], windows: Sequence[Sequence[Span]]) -> list[Fitted]:
        """Fit the windows of a page of texts, counting those of all texts together.

        A window that is too long is cut into as few pieces as its count suggests, of about equal
        length, at the best boundaries near; pieces are counted and cut again until all fit. Only
        a grapheme cluster that is too long by itself is cut inside, between code points.

        Raises:
            ModelError: the model can read less than one character.
        """
        fitting: list[list[Span]] = [[] for _ in texts]
        split = [0] * len(texts)
        waiting = [(text, span) for text, spans in enumerate(windows) for span in spans]
        if not waiting:
            return []
        counts = span_counts(self._counter, texts, self._encoding)
        is_window = True
        while waiting:
            pieces = []
            for (text, span), count in zip(waiting, counts.count(waiting), strict=True):
                if count <= self._counter.max_length:
                    fitting[text].append(span)
                else:
                    split[text] += is_window
                    pieces += [(text, piece) for piece in self._pieces(texts[text], span, count)]
            waiting, is_window = pieces, False
        return [
            Fitted(_ordered(spans) if windows_split else spans, windows_split)
            for spans, windows_split in zip(fitting, split, strict=True)
        ]

    @functools.cached_property
    def _overhead(self) -> int:
        """Model tokens of the prefix and the special tokens."""
        overhead = self._counter.count([""])[0]
        if overhead >= self._counter.max_length:
            raise ModelError(
                f"The embedding model reads {self._counter.max_length} tokens at most, and its "
                f"prefix and special tokens alone are {overhead}; raise its max_length or shorten "
                "its passage prefix."
            )
        return overhead

    def _pieces(self, measured: MeasuredText, span: Span, count: int) -> Iterator[Span]:
        """`span`, which is `count` model tokens long, in two pieces or more."""
        start, end = span
        return itertools.pairwise([start, *self._cuts(measured, span, count), end])

    def _cuts(self, measured: MeasuredText, span: Span, count: int) -> Iterable[int]:
        start, end = span
        room = FILL * (self._counter.max_length - self._overhead)
        content = max(count - self._overhead, 1)
        number = max(2, math.ceil(content / room))
        if end - start == 1:
            raise ModelError(
                f"The embedding model reads {self._counter.max_length} tokens at most, too few for "
                "a single character; raise its max_length or shorten its passage prefix."
            )
        if measured.graphemes.ceil(start + 1) >= end:
            return _between_code_points(span, number)
        return _at_boundaries(measured, span, number, (end - start) * room / content)


def _between_code_points(span: Span, number: int) -> list[int]:
    start, end = span
    number = min(number, end - start)
    return [start + (end - start) * part // number for part in range(1, number)]


def _at_boundaries(
    measured: MeasuredText, span: Span, number: int, capacity: float
) -> Iterator[int]:
    """Where to cut `span` into about `number` pieces of at most `capacity` characters."""
    start, end = span
    graphemes, boundaries = measured.graphemes, Boundaries(measured.text, measured.graphemes)
    for left in range(number, 1, -1):
        even = (end - start) / left
        limit = graphemes.floor(start + int(min(1.25 * even, max(even, capacity))))
        if limit <= start:
            limit = graphemes.ceil(start + 1)
        if limit >= end:
            return
        half = start + max(1, int(even / 2))
        start = _cut(boundaries, half, max(half, math.ceil(end - (left - 1) * capacity)), limit)
        yield start


def _cut(boundaries: Boundaries, half: int, least: int, limit: int) -> int:
    """The best place up to `limit`; from `least` the rest fits, from `half` a word is kept."""
    cut = boundaries.last_unit(least, limit)
    if cut is None:
        cut = boundaries.last_word(half, limit)
    return limit if cut is None else cut


def _ordered(spans: list[Span]) -> list[Span]:
    """In the order of the text, without those that lie within another.

    Pieces of a window may lie within the next window where overlap is large.
    """
    ordered: list[Span] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not ordered or end > ordered[-1][1]:
            ordered.append((start, end))
    return ordered
