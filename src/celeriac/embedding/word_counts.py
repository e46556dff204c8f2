"""Counts the tokens of BERT's tokenizer, word by word, from a cache.

BERT's normalizer and pre-tokenizer never look across a space, and WordPiece works within a word
(Devlin et al., 2018; `tokenizers`' BertNormalizer, BertPreTokenizer, WordPiece). So a text's count
is the sum over its words, and a collection has few distinct ones. Other tokenizers merge across
spaces or mark them, and are asked for each text instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_WORDS = 200_000
"""Words remembered; then the cache begins anew."""
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
        self._counts: dict[str, int] = {}

    def count(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in tokens, special tokens included.

        Raises:
            TypeError: a text is not valid Unicode.
        """
        return [self._special + count for count in self.count_content(texts)]

    def count_content(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in tokens, without those that the tokenizer puts around it."""
        words = [_SPACES.split(text) for text in texts]
        counts = self._counts_of({word for of_text in words for word in of_text})
        return [sum(map(counts.__getitem__, of_text)) for of_text in words]

    def _counts_of(self, words: set[str]) -> dict[str, int]:
        """The count of at least these words; the dictionary may be shared between threads."""
        known = self._counts
        new = [word for word in words if word not in known]
        if not new:
            return known
        encodings = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        found = {word: len(encoding) for word, encoding in zip(new, encodings, strict=True)}
        self._remember(found)
        return {word: known[word] for word in words if word not in found} | found

    def _remember(self, found: dict[str, int]) -> None:
        if len(self._counts) + len(found) > MOST_WORDS:
            self._counts = {}
        self._counts.update(
            (word, count) for word, count in found.items() if len(word) <= LONGEST_WORD
        )


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
