"""The best places to cut a text: between paragraphs, sentences, lines, words.

A boundary is the stretch of white space between two units; it may be empty after a sentence in a
script that sets none. The cut is at its end, so that the next chunk begins with its first word, or
at the limit where that lies within it. Places are in characters, and every cut is a boundary of
grapheme clusters.

Sentences end with the terminators of Unicode (`Sentence_Terminal`). A full stop ends one only
before white space that no small letter follows, as UAX #29 has it, and not after an initial, an
ordinal at the beginning of a line, or one of a few abbreviations.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import regex

from celeriac.chunking.graphemes import Graphemes

MARGIN = 32
"""Characters read on either side of a range to tell what kind of boundary its ends fall into."""

NEAR = 256
"""Characters before a limit that are searched first: most often a sentence ends there."""

_NEWLINE = r"(?>\r\n|[\n\r\v\f\x85\u2028])"
_BLANK = r"[^\S\n\r\v\f\x85\u2028\u2029]"
_SPACE = r"[[\s\u200B]--[\u00A0\u2007\u202F]]"
_PAUSE = r"[、，；：､]"
_STOP = r"[[\p{Sentence_Terminal}｡]--[.!?]]"
_CLOSING = r"""["'\p{Pe}\p{Pf}]*+"""
_ABBREVIATION = r"\b(?:\p{Lu}|Mr|Mrs|Ms|Dr|Prof|St|vs|cf|al|Figs?|Eqs?|Nos?|Vol|pp|e\.g|i\.e)"
_ORDINAL = rf"(?m:^){_BLANK}*\d{{1,3}}"


class _Rank(NamedTuple):
    """Boundaries of one kind."""

    opening: re.Pattern[str] | regex.Pattern[str]
    """A character with which one may begin, found in a fraction of the time; of a row of those that
    end sentences, the first."""
    boundary: regex.Pattern[str]


_RANKS = _PARAGRAPHS, _SENTENCES, _LINES = (
    _Rank(
        re.compile(r"[\n\r\v\f\x85\u2028\u2029](?:(?=\s)|(?<=\u2029))"),
        regex.compile(rf"(?P<space>{_NEWLINE}(?:{_BLANK}*+{_NEWLINE})++|\u2029\s*+)", regex.V1),
    ),
    _Rank(
        regex.compile(
            rf"[{_STOP}[.…!?]](?<!{_STOP}{_STOP}|[!?][!?]|[.…][.…])",
            regex.V1,
        ),
        regex.compile(
            rf"{_STOP}++{_CLOSING}(?P<space>\s*+)"
            rf"|(?<![!?])[!?]++{_CLOSING}(?P<space>\s++)"
            rf"|(?<![.…]|{_ABBREVIATION}|{_ORDINAL})[.…]++{_CLOSING}(?P<space>\s++)(?!\p{{Ll}})",
            regex.V1,
        ),
    ),
    _Rank(
        re.compile(r"[\n\r\v\f\x85\u2028]"),
        regex.compile(rf"(?P<space>{_NEWLINE}++)", regex.V1),
    ),
)
_WORDS = regex.compile(rf"{_SPACE}++|{_PAUSE}++{_SPACE}*+", regex.V1)
_LAST_WORD = regex.compile(rf"(?r){_SPACE}|{_PAUSE}", regex.V1)
_BETWEEN_WORDS = regex.compile(rf"(?<={_SPACE}|{_PAUSE})|(?={_SPACE})", regex.V1)


class Boundaries:
    """The boundaries of one text, found by reading no more of it than the range in question."""

    def __init__(self, text: str, graphemes: Graphemes) -> None:
        self._text = text
        self._graphemes = graphemes

    def last_unit(self, least: int, limit: int) -> int | None:
        """The end in `[least, limit]` of the last paragraph, or else sentence, or else line."""
        for rank in _RANKS:
            cut = self._last(rank, least, limit)
            if cut is not None:
                return cut
        return None

    def last_word(self, least: int, limit: int) -> int | None:
        """The last boundary of words in `[least, limit]`."""
        if _BETWEEN_WORDS.match(self._text, limit):
            return self._within(limit, least, limit)
        word = _LAST_WORD.search(self._text, max(least - 1, 0), limit)
        return self._within(word.end(), least, limit) if word else None

    def word_ends(self, place: int, limit: int) -> bool:
        """Whether the word that holds `place` ends at or before `limit`."""
        return limit >= len(self._text) or bool(_WORDS.search(self._text, place, limit + 1))

    def first(self, least: int, limit: int) -> int | None:
        """The beginning in `[least, limit)` of the first sentence, or else word."""
        units = [self._first(rank, least, limit) for rank in (_PARAGRAPHS, _SENTENCES)]
        _, cut = min((unit for unit in units if unit), default=(0, None))
        return self._first_word(least, limit) if cut is None else cut

    def _first(self, rank: _Rank, least: int, limit: int) -> tuple[int, int] | None:
        """Where the first boundary of this kind begins, and the cut at its end."""
        place = max(least - MARGIN, 0)
        while opening := rank.opening.search(self._text, place, limit):
            boundary = rank.boundary.match(self._text, opening.start(), limit)
            cut = self._within(boundary.end(), least, limit - 1) if boundary else None
            if cut is not None:
                return opening.start(), cut
            place = boundary.end() if boundary else opening.end()
        return None

    def _first_word(self, least: int, limit: int) -> int | None:
        for boundary in _WORDS.finditer(self._text, max(least - 1, 0), limit):
            cut = self._within(boundary.end(), least, limit - 1)
            if cut is not None:
                return cut
        return None

    def _last(self, rank: _Rank, least: int, limit: int) -> int | None:
        near = max(least, limit - NEAR)
        for begin, end in ((near, limit + 1), (max(least - MARGIN, 0), near)):
            openings = rank.opening.finditer(self._text, begin, end + 1)  # one looks ahead
            for place in reversed([opening.start() for opening in openings]):
                cut = self._cut_at(rank, place, least, limit)
                if cut is not None:
                    return cut
        return None

    def _cut_at(self, rank: _Rank, place: int, least: int, limit: int) -> int | None:
        boundary = rank.boundary.match(self._text, place, limit + MARGIN)
        if boundary is None or boundary.start("space") > limit:
            return None
        return self._within(min(boundary.end(), limit), least, limit)

    def _within(self, place: int, least: int, limit: int) -> int | None:
        """The cluster boundary at or before `place` (marks may stand on a space), if in range."""
        cut = self._graphemes.floor(place)
        return cut if least <= cut <= limit else None
