from __future__ import annotations

import pytest
from collection import Cacm
from embedding_support import minilm
from embedding_support.tiny_models import byte_bpe
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from celeriac.embedding import count_cache
from celeriac.embedding.word_counts import WordCounts, is_additive

TOKENIZER = minilm.tokenizer()
COUNTS = WordCounts(TOKENIZER)
SPACES = [" ", "\n", "\r\n", "\t", "\x0b", "\x1c", "\u00a0", "\u2028", "\u3000"]
WORDS = ["word", "Zürich", "e\u0301", "\u0301", "中文", "한국", "👩‍👩‍👧", "\u200d", "\0", "a" * 120]
PIECES = st.sampled_from([*SPACES, *WORDS, "[CLS]", "[MASK]", "##"])


@settings(deadline=None, max_examples=400)
@given(st.text(st.characters(exclude_categories=["Cs"])) | st.lists(PIECES).map("".join))
@example("")
@example(" \u0301a")
@example("[CLS] [SEP][MASK]")
def test_the_sum_over_words_is_the_tokenizers_own_count(text: str) -> None:
    assert COUNTS.count([text]) == [len(TOKENIZER.encode(text).ids)]


def test_on_real_text_too(cacm: Cacm) -> None:
    texts = [f"{one['title']}\n{one['abstract']}" for one in cacm.documents]
    own = [len(encoding) for encoding in TOKENIZER.encode_batch_fast(texts)]
    assert WordCounts(TOKENIZER).count(texts) == own


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count_cache, "MOST", 10)
    counts = WordCounts(TOKENIZER)
    for first in range(0, 100, 7):
        texts = [" ".join(f"w{number}" for number in range(first, first + 7)), "x" * 200]
        assert counts.count(texts) == [len(TOKENIZER.encode(text).ids) for text in texts]
        assert len(counts._words) <= 10


@pytest.mark.parametrize("own", ["celery", "É", "[X]"])
@pytest.mark.parametrize("normalized", [False, True])
def test_tokens_that_were_added_count_as_one(own: str, normalized: bool) -> None:
    tokenizer = minilm.new_tokenizer()
    tokenizer.add_tokens([AddedToken(own, normalized=normalized)])
    texts = ["celeryceleryx celery Celery", "CÉlery éclair e", "[X] [x]", "plain words"]

    assert is_additive(tokenizer)
    assert WordCounts(tokenizer).count(texts) == [len(tokenizer.encode(text)) for text in texts]


def test_tokenizers_that_look_across_spaces_are_not_counted_by_words() -> None:
    assert is_additive(TOKENIZER)
    assert not is_additive(byte_bpe(["some words to begin with"]))
    spanning = minilm.new_tokenizer()
    spanning.add_tokens([AddedToken("New York", normalized=False)])
    assert not is_additive(spanning)
