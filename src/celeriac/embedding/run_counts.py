"""Counts the tokens of BERT's tokenizer in texts that are encoded with tiktoken already.

BERT's pre-tokenizer always divides a text at some characters: spaces, punctuation, ideographs. So
it divides between two tiktoken tokens of which one ends, or the other begins, with such a
character. What lies between two of these places is a run: most often one word, in one token or a
few. A text's count is the sum over its runs, and the count of a run follows from its tokens. One
token's is looked up in a table, that of several in a dictionary; the model's own tokenizer fills
both, and says at which characters it divides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from celeriac.embedding.count_cache import CountCache
from celeriac.embedding.word_counts import SPACES, WordCounts, is_additive
from celeriac.encodings import token_bytes

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LONGEST_RUN = 128
"""Bytes of the longest run that is remembered: 32 tokens."""

TokenIds = NDArray[np.uint32]

_UNKNOWN = -1
_BROKEN = "\ufffd"
"""Stands for a character of which a token holds only a part."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of texts on end."""

    begins: NDArray[np.int64]
    """The token in which each run begins; at last, how many tokens there are. Shape (runs + 1,)."""
    before: NDArray[np.int64]
    """How many model tokens come before it. Shape (runs + 1,)."""


class RunCounts:
    """Counts with a tokenizer that `is_additive`. Safe to call from several threads.

    Special tokens that the tokenizer puts around a text are not counted.
    """

    def __init__(self, tokenizer: Tokenizer, words: WordCounts, encoding: str) -> None:
        """Look at the tokens of a tiktoken encoding; it takes about a tenth of a second."""
        self._tokens = token_bytes(encoding)
        self._own = re.compile("|".join(map(re.escape, _own_tokens(tokenizer))) or "(?!)")
        self.count_texts = words.count_content
        """Counts what is cut off a run."""
        self._joins_left, self._joins_right = _joining(self._tokens, tokenizer)
        self._of_token = np.full(len(self._tokens), _UNKNOWN, dtype=np.int32)
        self._of_run = CountCache(self._count_new, LONGEST_RUN)

    def can_count(self, text: str) -> bool:
        """Whether it holds none of the tokenizer's own tokens, `[MASK]` say, which span runs."""
        return not self._own.search(text)

    def runs(self, tokens: TokenIds, texts: NDArray[np.int64]) -> Runs:
        """The runs of texts on end, and their counts.

        Args:
            tokens: of all texts, which are not empty; shape (tokens,).
            texts: the token in which each text begins; shape (texts,).
        """
        begins = self._begins(tokens, texts)
        counts = self._of_token.take(tokens[begins[:-1]])
        several = np.flatnonzero(np.diff(begins) > 1)
        counts[several] = self._count_runs(tokens, begins[several], begins[several + 1])
        unknown = np.flatnonzero(counts == _UNKNOWN)
        if len(unknown):
            counts[unknown] = self._count_tokens(tokens[begins[unknown]])
        return Runs(begins, np.concatenate([[0], np.cumsum(counts)]))

    def _begins(self, tokens: TokenIds, texts: NDArray[np.int64]) -> NDArray[np.int64]:
        divided = np.ones(len(tokens) + 1, dtype=np.bool_)
        joined = self._joins_right.take(tokens[:-1]) & self._joins_left.take(tokens[1:])
        np.logical_not(joined, out=divided[1:-1])
        divided[texts] = True
        return np.flatnonzero(divided)

    def _count_tokens(self, tokens: TokenIds) -> NDArray[np.int32]:
        new = np.unique(tokens)
        self._of_token[new] = self._count_new([token.tobytes() for token in new])
        return self._of_token.take(tokens)

    def _count_runs(
        self, tokens: TokenIds, begins: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> list[int]:
        raw, size = tokens.tobytes(), tokens.itemsize
        places = zip((begins * size).tolist(), (ends * size).tolist(), strict=True)
        return self._of_run.counts([raw[begin:end] for begin, end in places])

    def _count_new(self, runs: list[bytes]) -> list[int]:
        """Count as texts: a run is valid UTF-8, for it begins and ends between characters."""
        return self.count_texts([self._text_of(run) for run in runs])

    def _text_of(self, run: bytes) -> str:
        return b"".join([self._tokens[token] for token in memoryview(run).cast("I")]).decode()


def adds_up(tokenizer: Tokenizer, prefix: str) -> bool:
    """Whether counts of a text after `prefix` add up over runs: as for words, and no token of its
    own that is looked for in the normalized text, and nothing that the prefix could join."""
    own = tokenizer.get_added_tokens_decoder().values()
    return (
        is_additive(tokenizer)
        and not any(token.normalized for token in own)
        and (not prefix or prefix[-1] in SPACES)
    )


def _own_tokens(tokenizer: Tokenizer) -> list[str]:
    return [token.content for token in tokenizer.get_added_tokens_decoder().values()]


def _joining(
    tokens: tuple[bytes, ...], tokenizer: Tokenizer
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each token may join what stands before it, and after it; shape (tokens,) each."""
    texts = [token.decode(errors="replace") or _BROKEN for token in tokens]
    ends = {text[0] for text in texts} | {text[-1] for text in texts}
    joins = {character: _joins(character, tokenizer) for character in ends}
    return (
        np.array([joins[text[0]][0] for text in texts]),
        np.array([joins[text[-1]][1] for text in texts]),
    )


def _joins(character: str, tokenizer: Tokenizer) -> tuple[bool, bool]:
    """Whether the tokenizer may join a character to what stands before it, and after it."""
    if character == _BROKEN:
        return True, True
    normalized = tokenizer.normalizer.normalize_str(f"a{character}a")
    words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized)]
    return words[0] != "a", words[-1] != "a"
