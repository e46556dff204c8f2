"""Grapheme clusters around single places of a text, without a pass over all of it."""

from __future__ import annotations

from bisect import bisect_right, insort

import regex

_CLUSTER = regex.compile(r"\X")

# Two characters that UAX #29 divides whatever stands around them. Where the context decides, or a
# rule joins, the pair is left out.
_APART = (
    r"[^\r\p{GCB=Prepend}\p{GCB=ZWJ}\p{GCB=Extend}\p{GCB=Regional_Indicator}\p{GCB=L}]"
    r"[^\n\p{GCB=ZWJ}\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=V}\p{GCB=T}]"
)
_BREAK = regex.compile(_APART)
_LAST_BREAK = regex.compile(r"(?r)" + _APART)

REACH = 64
"""Characters read ahead for the end of a cluster; more where they are all one."""

_FIRST_JOINER = "\u0300"
"""Below this character only CR LF makes a cluster of two."""


class Graphemes:
    """Grapheme clusters (`\\X`) of one text, found where they are asked for.

    A cluster is found from the nearest place before it that is surely a boundary, or from one that
    was found earlier, whichever is nearer: asking along a text takes time linear in its length,
    even where nothing but context decides (a million flags in a row).
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._ascii = text.isascii()
        self._single = self._ascii and "\r" not in text
        self._found = [0]
        self._last = (0, 0)

    def floor(self, place: int) -> int:
        """The last cluster boundary at or before `place` (in characters)."""
        return place if self._single or self._is_boundary(place) else self._around(place)[0]

    def ceil(self, place: int) -> int:
        """The first cluster boundary at or after `place` (in characters)."""
        return place if self._single or self._is_boundary(place) else self._around(place)[1]

    def _is_boundary(self, place: int) -> bool:
        text = self._text
        if place <= 0 or place >= len(text):
            return True
        before, after = text[place - 1], text[place]
        if self._ascii or (before < _FIRST_JOINER and after < _FIRST_JOINER):
            return not (before == "\r" and after == "\n")
        if _BREAK.match(text, place - 1):
            return True
        return self._around(place)[0] == place

    def _around(self, place: int) -> tuple[int, int]:
        """The cluster that holds the character at `place`."""
        start, end = self._last
        if start <= place < end:
            return self._last
        start = end = self._boundary_before(place)
        while end <= place:
            start, end = end, self._end_of(end)
        insort(self._found, start)
        self._last = (start, end)
        return self._last

    def _end_of(self, start: int) -> int:
        """The end of the cluster that begins at `start`.

        It is matched in a slice: at each flag, regex would look back over all flags before it.
        """
        reach = REACH
        while True:
            ahead = self._text[start : start + reach]
            end = _CLUSTER.match(ahead).end()  # type: ignore[union-attr]
            if end < len(ahead) or start + end == len(self._text):
                return start + end
            reach *= 4

    def _boundary_before(self, place: int) -> int:
        found = self._found[bisect_right(self._found, place) - 1]
        pair = _LAST_BREAK.search(self._text, found, place + 1)
        return pair.end() - 1 if pair else found
