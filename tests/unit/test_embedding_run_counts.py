from __future__ import annotations

from array import array
from itertools import product
from random import Random

import numpy as np
import pytest
from embedding_support import minilm
from tokenizers import AddedToken, Tokenizer, normalizers

from celeriac.embedding.run_counts import RunCounts, adds_up
from celeriac.embedding.word_counts import WordCounts
from celeriac.encodings import encoding, token_bytes

ENCODINGS = ["cl100k_base", "o200k_base"]
BESIDE = ["", "a", "9", " ", ".", "\u0301", "\u302e", "한", "ᆨ", "中", "か", "é", "İ", "\u200d", "_"]


def run_counts(tokenizer: Tokenizer, name: str) -> RunCounts:
    return RunCounts(tokenizer, WordCounts(tokenizer), name)


def counted(runs: RunCounts, texts: list[str], name: str) -> list[int]:
    """The sum over the runs of each text."""
    ids = [array("I", encoding(name).encode_ordinary(text)) for text in texts]
    begins = np.cumsum([0, *map(len, ids)])
    found = runs.runs(np.frombuffer(b"".join(ids), dtype=np.uint32), begins[:-1])
    return np.diff(found.before[np.searchsorted(found.begins, begins)]).tolist()


def own_counts(tokenizer: Tokenizer, texts: list[str]) -> list[int]:
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [len(one) for one in encodings]


def beside(units: list[str], random: Random) -> list[str]:
    """Texts of a dozen of these each, with characters between them that are hard to divide."""
    parts = [unit + random.choice(BESIDE) for unit in units]
    return ["".join(parts[at : at + 12]) for at in range(0, len(parts), 12)]


@pytest.mark.parametrize("name", ENCODINGS)
def test_characters_of_all_planes_count_as_the_tokenizer_counts_them(name: str) -> None:
    characters = [*range(0x3400), *range(0x3400, 0xD800, 7), *range(0xE000, 0x110000, 13)]
    texts = beside([chr(character) for character in characters], Random(0))
    tokenizer = minilm.tokenizer()

    assert counted(run_counts(tokenizer, name), texts, name) == own_counts(tokenizer, texts)


@pytest.mark.parametrize("name", ENCODINGS)
def test_tokens_of_the_encoding_count_as_the_tokenizer_counts_them(name: str) -> None:
    tokens = [token.decode(errors="ignore") for token in token_bytes(name)[::3]]
    random = Random(0)
    random.shuffle(tokens)
    texts = [text for text in beside(tokens, random) if text]
    tokenizer = minilm.tokenizer()

    assert counted(run_counts(tokenizer, name), texts, name) == own_counts(tokenizer, texts)


@pytest.mark.parametrize("ideographs", [True, False])
@pytest.mark.parametrize("accents", [None, True, False])
@pytest.mark.parametrize("lowercase", [True, False])
def test_whatever_the_normalizer_is_told_to_do(
    ideographs: bool, accents: bool | None, lowercase: bool
) -> None:
    tokenizer = minilm.new_tokenizer()
    tokenizer.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=ideographs, strip_accents=accents, lowercase=lowercase
    )
    units = [
        *BESIDE,
        "Wort",
        "ÉTÉ",
        "中文",
        "x\u0338",
        "≠",
        "naïve",
        "[",
        "\u00a0",
        "\0",
        "A" * 120,
    ]
    texts = ["".join(pair) for pair in product(units, repeat=2) if any(pair)]

    assert adds_up(tokenizer, "")
    assert counted(run_counts(tokenizer, "cl100k_base"), texts, "cl100k_base") == own_counts(
        tokenizer, texts
    )


def test_texts_with_the_tokenizers_own_tokens_are_left_to_it() -> None:
    tokenizer = minilm.new_tokenizer()
    tokenizer.add_tokens([AddedToken("a.b", normalized=False)])
    runs = run_counts(tokenizer, "cl100k_base")

    assert not runs.can_count("the [MASK] of")
    assert not runs.can_count("xa.by")
    assert runs.can_count("[ MASK] a. b")
    assert adds_up(tokenizer, "")


@pytest.mark.parametrize(
    ("prefix", "added"), [("query:", None), ("e", None), ("", AddedToken("É", normalized=True))]
)
def test_counts_do_not_add_up_after_what_may_join(prefix: str, added: AddedToken | None) -> None:
    tokenizer = minilm.new_tokenizer()
    tokenizer.add_tokens([added] if added else [])

    assert not adds_up(tokenizer, prefix)
    assert adds_up(minilm.tokenizer(), "query: ")
