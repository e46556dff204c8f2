"""Counts the tokens of BERT's tokenizer, word by word, from a cache.

BERT's normalizer and pre-tokenizer never look across a space, and WordPiece works within a word
(Devlin et al., 2018; `tokenizers`' BertNormalizer, BertPreTokenizer, WordPiece). So a text's count
is the sum over its words, and a collection has few distinct ones. Other tokenizers merge across
spaces or mark them, and are asked for each text instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from celeriac.embedding.count_cache import CountCache

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LONGEST_WORD = 64
"""Characters of the longest word that is remembered."""

SPACES = " \t\r\n"
"""Those that the normalizer turns into a space before anything else; it drops or maps others, so no
cut is made at them."""

_SPACES = re.compile(f"[{SPACES}]+")


class WordCounts:
    """Counts texts with a tokenizer that `is_additive`. Safe to call from several threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = len(tokenizer.encode("").ids)
        self._words = CountCache(self._count_words, LONGEST_WORD)
        self._lowers = tokenizer.normalizer.normalize_str("A") == "a"
        self._simple = not any(
            token.normalized or token.content.isalnum()
            for token in tokenizer.get_added_tokens_decoder().values()
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in tokens, special tokens included.

        Raises:
            TypeError: a text is not valid Unicode.
        """
        return [self._special + count for count in self.count_content(texts)]

    def count_content(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in tokens, without those that the tokenizer puts around it."""
        words = [_SPACES.split(text) for text in texts]
        counts = iter(self._words.counts(list(chain.from_iterable(words))))
        return [sum(islice(counts, len(of_text))) for of_text in words]

    def _count_words(self, words: list[str]) -> list[int]:
        """Count words that were not met before; most are plain."""
        others = [word for word in words if not self._is_plain(word)]
        counts = iter(self._count_others(others))
        return [self._count_plain(word) if self._is_plain(word) else next(counts) for word in words]

    def _is_plain(self, word: str) -> bool:
        """Whether nothing but the case is to be normalized, and the tokenizer divides nothing."""
        return self._simple and word.isascii() and word.isalnum()

    def _count_plain(self, word: str) -> int:
        return len(self._tokenizer.model.tokenize(word.lower() if self._lowers else word))

    def _count_others(self, words: list[str]) -> list[int]:
        """Count them as one text, in which each token tells where it stands: twice as fast."""
        tokens = self._tokenizer.encode(" ".join(words), add_special_tokens=False)
        begins = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
        places = np.array([begin for begin, _ in tokens.offsets], dtype=np.int64)
        of_token = np.searchsorted(begins, places, side="right") - 1
        counts: list[int] = np.bincount(of_token, minlength=len(words)).tolist()
        return counts


def is_additive(tokenizer: Tokenizer) -> bool:
    """Whether counts add up over words: BERT's tokenizer as it was published, and no token of its
    own that spans or swallows spaces."""
    parts: dict[str, Any] = json.loads(tokenizer.to_str())
    kinds = {name: (parts.get(name) or {}).get("type") for name in ("normalizer", "pre_tokenizer")}
    return (
        kinds == {"normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer"}
        and parts["normalizer"].get("clean_text") is True
        and parts["model"].get("type") == "WordPiece"
        and not any(_crosses_spaces(token) for token in parts["added_tokens"])
    )


def _crosses_spaces(token: dict[str, Any]) -> bool:
    return (
        bool(_SPACES.search(token["content"]))
        or token["lstrip"]
        or token["rstrip"]
        or token["single_word"]
    )
