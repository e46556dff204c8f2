"""Where the windows of a text begin and end, for both methods of splitting.

TOKEN. A window reaches chunk_size tokens of the whole text's encoding from the token in which it
begins; the next begins chunk_overlap tokens before its end. A place that falls within a code point
or a grapheme cluster moves back to the cluster's beginning, so a window is exactly chunk_size
tokens long unless a cluster stands in the way or the text ends. The last window is the first to
reach the text's end.

SENTENCE. A window ends at the last paragraph, or else sentence, or else line that ends within
chunk_size tokens and fills it to a quarter at least (`LEAST_FILL`); else with the last whole word,
and where a word is longer than a window, within it. The next begins with the first sentence, or
else the first word, that begins in its last chunk_overlap tokens, or else with the first cluster.

Both count a token of which a window holds only a part. A window holds more than chunk_size tokens
only where a single cluster does: then it is that cluster. A window is moved on, at the cost of
overlap, until it ends after the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator

from celeriac.chunking.boundaries import Boundaries
from celeriac.chunking.measures import MeasuredText
from celeriac.model import Splitting, SplittingMethod

Span = tuple[int, int]
"""Start and end in characters."""

LEAST_FILL = 0.25
"""What a paragraph, sentence or line that ends a window fills of it: a heading does not become a
chunk of its own because a long paragraph follows."""


def windows(measured: MeasuredText, splitting: Splitting) -> Iterator[Span]:
    """The windows of a text that is not empty, in its order.

    Each begins after the beginning and ends after the end of the one before; together they cover
    the text.
    """
    if measured.tokens <= splitting.chunk_size:
        return iter([(0, len(measured.text))])
    if splitting.method == SplittingMethod.TOKEN:
        return _token_windows(measured, splitting)
    return _SentenceWindows(measured, splitting).spans()


class _Reach:
    """How far windows may reach, for both methods."""

    def __init__(self, measured: MeasuredText, size: int) -> None:
        self._measured = measured
        self._graphemes = measured.graphemes
        self._size = size

    def end(self, start: int) -> int:
        """The furthest end of a window from `start`: `size` tokens, but one cluster at least."""
        end = self._graphemes.floor(self.tokens_from(start, self._size))
        return end if end > start else self._graphemes.ceil(start + 1)

    def tokens_from(self, start: int, tokens: int) -> int:
        """The character in which the tokens of `text[start:]` after the first `tokens` begin."""
        return self._measured.floor(self._measured.token_at(start) + tokens)

    def least_start(self, start: int, end: int) -> int:
        """From where a window, begun after `start`, reaches at least one cluster beyond `end`."""
        beyond = self._measured.tokens_before(self._graphemes.ceil(end + 1))
        reaching = self._graphemes.ceil(self._measured.ceil(beyond - self._size))
        return max(reaching, self._graphemes.ceil(start + 1))


def _token_windows(measured: MeasuredText, splitting: Splitting) -> Iterator[Span]:
    reach = _Reach(measured, splitting.chunk_size)
    start, end = 0, reach.end(0)
    yield start, end
    while end < len(measured.text):
        start = _overlapping(measured, reach, start, end, splitting.chunk_overlap)
        end = reach.end(start)
        yield start, end


def _overlapping(measured: MeasuredText, reach: _Reach, start: int, end: int, overlap: int) -> int:
    """Where the window after `start` to `end` begins."""
    if not overlap:
        return end
    nominal = measured.floor(measured.tokens_before(end) - overlap)
    return min(max(measured.graphemes.floor(nominal), reach.least_start(start, end)), end)


class _SentenceWindows:
    def __init__(self, measured: MeasuredText, splitting: Splitting) -> None:
        self._measured = measured
        self._graphemes = measured.graphemes
        self._boundaries = Boundaries(measured.text, measured.graphemes)
        self._reach = _Reach(measured, splitting.chunk_size)
        self._size = splitting.chunk_size
        self._overlap = splitting.chunk_overlap
        self._length = len(measured.text)
        self._visible = len(measured.text.rstrip())

    def spans(self) -> Iterator[Span]:
        start, end = 0, self._end(0, 0)
        yield start, end
        while end < self._length:
            start = self._next_start(start, end)
            end = self._end(start, end)
            yield start, end

    def _end(self, start: int, previous: int) -> int:
        """The best end of the window from `start`, after `previous`, the end of the one before."""
        limit = self._reach.end(start)
        if limit == self._length:
            return limit
        limit = self._leaving_something(limit, previous)
        filled = self._reach.tokens_from(start, int(self._size * LEAST_FILL))
        least = max(filled, previous + 1)
        cut = self._boundaries.last_unit(least, limit)
        if cut is None:
            cut = self._boundaries.last_word(least, limit)
        if cut is None:
            cut = self._before_long_word(start, previous, least, limit)
        return limit if cut is None else cut

    def _leaving_something(self, limit: int, previous: int) -> int:
        """`limit`, or before the last visible character if nothing visible would be left."""
        if limit < self._visible:
            return limit
        last = self._graphemes.floor(max(self._visible - 1, 0))
        return last if last > previous else limit

    def _before_long_word(self, start: int, previous: int, least: int, limit: int) -> int | None:
        """Before the word that the window would break, if a window can hold it whole."""
        cut = self._boundaries.last_word(max(start, previous) + 1, min(least, limit))
        if cut is None or self._measured.text[start:cut].isspace():
            return None
        whole = self._boundaries.word_ends(limit, self._reach.tokens_from(cut, self._size))
        return cut if whole else None

    def _next_start(self, start: int, end: int) -> int:
        if not self._overlap:
            return end
        nominal = self._measured.ceil(self._measured.tokens_before(end) - self._overlap)
        least = max(self._graphemes.ceil(nominal), self._reach.least_start(start, end))
        if least >= end:
            return end
        first = self._boundaries.first(least, end)
        return least if first is None else first
