"""A text in tokens: where each token of its encoding begins, in characters."""

from __future__ import annotations

import functools
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import regex
from numpy.typing import NDArray

from celeriac.chunking.graphemes import Graphemes
from celeriac.encodings import encoding, token_bytes

SEGMENT = 16_384
"""Characters that are encoded at once.

tiktoken 0.14 overflows its stack on a run of a million white-space characters, and takes time
n log n for a stretch that its pattern does not divide.
"""

# Every pattern of tiktoken divides a text between these two, whatever stands around them: words and
# numbers go on with letters, marks, numbers or an apostrophe only, and none looks behind.
_SEAM = regex.compile(r"(?r)(?<=[\p{L}\p{N}])[^\p{L}\p{M}\p{N}']")

_CONTINUATION_MASK, _CONTINUATION = 0xC0, 0x80
"""How to tell a byte of UTF-8 that does not begin a character."""

_Boundaries = tuple[Sequence[int], Sequence[int]]
"""Where each token begins, and the text ends, rounded down and up to characters."""


class MeasuredText:
    """A text, its encoding, where its tokens begin, and its grapheme clusters.

    Tokens are those of the encoding of the whole text (`encode_ordinary`: what looks like a special
    token is plain text). Only a stretch of more than `SEGMENT` characters in which no word or
    number ends is encoded in parts. A token may hold a part of a character; it then begins, or
    ends, within it.
    """

    def __init__(self, text: str, encoding_name: str, *, segment: int = SEGMENT) -> None:
        """Encode `text`.

        Raises:
            UnicodeEncodeError: the text holds a lone surrogate.
            ConfigurationError: the encoding cannot be had.
        """
        if not text.isascii():
            text.encode()  # tiktoken would replace a lone surrogate, and shift what follows
        self.text = text
        self.ids = _encode(text, encoding_name, segment)
        self.tokens = len(self.ids)
        self._encoding = encoding_name

    @functools.cached_property
    def graphemes(self) -> Graphemes:
        return Graphemes(self.text)

    def floor(self, token: int) -> int:
        """The character in which this token begins; the text's end for those beyond the last."""
        return self._boundaries[0][min(max(token, 0), self.tokens)]

    def ceil(self, token: int) -> int:
        """The first character that begins where this token does, or after."""
        return self._boundaries[1][min(max(token, 0), self.tokens)]

    def token_at(self, place: int) -> int:
        """The token that holds the first byte of the character at `place`."""
        if place <= 0:
            return 0
        return bisect_right(self._boundaries[1], place, hi=self.tokens) - 1

    def tokens_before(self, place: int) -> int:
        """How many tokens begin before the character at `place`."""
        if place >= len(self.text):
            return self.tokens
        return bisect_left(self._boundaries[0], place)

    def tokens_of(self, start: int, end: int) -> int:
        """How many tokens lie in `text[start:end]`, wholly or in part."""
        if start <= 0 and end >= len(self.text):
            return self.tokens
        return self.tokens_before(end) - self.token_at(start)

    @functools.cached_property
    def _boundaries(self) -> _Boundaries:
        return next(_boundaries([self], self._encoding))


def locate_tokens(texts: Sequence[MeasuredText], encoding_name: str) -> None:
    """Find where the tokens of these texts begin in one go: that is faster than one by one."""
    for text, boundaries in zip(texts, _boundaries(texts, encoding_name), strict=True):
        text._boundaries = boundaries


def _boundaries(texts: Sequence[MeasuredText], encoding_name: str) -> Iterator[_Boundaries]:
    characters = token_characters(encoding_name)
    tokens = np.frombuffer(b"".join(text.ids for text in texts), dtype=np.uint32)
    begun = np.zeros(len(tokens) + 1, dtype=np.int64)
    np.cumsum(characters.begun[tokens], out=begun[1:])
    within = characters.within[tokens]
    end = 0
    for text in texts:
        start, end = end, end + text.tokens
        ceils = begun[start : end + 1] - begun[start]
        packed = array("q", ceils.tobytes())
        if text.text.isascii():
            yield packed, packed
        else:
            ceils[:-1] -= within[start:end]
            yield array("q", ceils.tobytes()), packed


@dataclass(frozen=True, slots=True)
class TokenCharacters:
    """What the tokens of an encoding hold of characters, by token; shape (tokens,) each."""

    begun: NDArray[np.unsignedinteger]
    """How many characters begin in it."""
    within: NDArray[np.bool_]
    """Whether it begins within one."""


@functools.cache
def token_characters(encoding_name: str) -> TokenCharacters:
    """The characters of an encoding's tokens, worked out once a process."""
    tokens = token_bytes(encoding_name)
    utf8 = np.frombuffer(b"".join(tokens), dtype=np.uint8)
    begins = (utf8 & _CONTINUATION_MASK) != _CONTINUATION
    ends = np.cumsum([len(token) for token in tokens])
    begun = np.diff(np.concatenate([[0], np.cumsum(begins)])[ends], prepend=0)
    return TokenCharacters(
        begun=begun.astype(np.min_scalar_type(begun.max())),
        within=np.array([_continues(token) for token in tokens]),
    )


def _continues(token: bytes) -> bool:
    return bool(token) and token[0] & _CONTINUATION_MASK == _CONTINUATION


def _encode(text: str, encoding_name: str, segment: int) -> array[int]:
    """The tokens of a text, as `numpy.uint32`."""
    encode = encoding(encoding_name).encode_ordinary
    ids = array("I")
    for part in [text] if len(text) <= segment else _segments(text, segment):
        ids.fromlist(encode(part))
    return ids


def _segments(text: str, size: int) -> Iterator[str]:
    start = 0
    while len(text) - start > size:
        seam = _SEAM.search(text, start + 1, start + size)
        end = seam.start() if seam else start + size
        yield text[start:end]
        start = end
    yield text[start:]
