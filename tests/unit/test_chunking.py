from __future__ import annotations

import itertools
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from random import Random

import pytest
import regex
from embedding_support import minilm
from hypothesis import example, given, settings
from hypothesis import strategies as st

from celeriac.chunking import Chunker, SplitText
from celeriac.chunking.graphemes import Graphemes
from celeriac.chunking.measures import MeasuredText
from celeriac.encodings import encoding
from celeriac.errors import ModelError
from celeriac.model import Splitting, SplittingMethod

TOKEN, SENTENCE = SplittingMethod.TOKEN, SplittingMethod.SENTENCE

FAMILY, FLAG, ROCKET = "👨‍👩‍👧‍👦", "🇩🇪", "👩🏽‍🚀"
FRAGMENTS = [
    *("The", "celeriac", " ", " grows. ", "Dr. Smith", "e.g. this", "\n", "\n\n", "\r\n", "\t"),
    *("ein längeres Wort", "Donaudampfschifffahrt", "naïve café", "e\u0301", "n\u0303o", "?! "),
    *(
        "我们吃芹菜。",
        "根芹，",
        "これは文です。",
        "カタカナ",
        "ข้าวต้มมัด",
        " ผัก",
        "한국어 텍스트",
        "각",
    ),
    *("क्षत्रिय ", "नमस्ते। ", "مرحبا بالعالم؟ ", "שָׁלוֹם", "தமிழ்", "ខ្មែរ។"),
    *(FAMILY, FLAG, ROCKET, "🇫🇷🇪🇸🇮", "❤️", "1️⃣", "\u200d", "\ufe0f", "\u0600", "🧪"),
    *("\x00", "\u2028", "\u2029", "\u00a0", "\u200b", "    ", "<|endoftext|>", "x" * 40, "="),
    *("https://example.org/a/very/long/path?with=parameters&and=more", "1234567890", "'"),
]
SEAMS = [
    *("word", "Wörter's", "我们", "，", "。\n", " ", "\n\n", "12", "\t", "é"),
    *("'s", "’", "...", "한국", "e\u0301", "\u00a0", "  ", ";", "A"),
]
JOINERS = [
    *("a", "\r", "\n", " ", "é", "한", "각", "क", "\u094d", "ष", "ᄀ", "ᅡ", "ᆨ"),
    *("\u0301", "\u200d", "\ufe0f", "\u0600", "\u0903", "\u00ad", "\U000e0067"),
    *("👩", "🚀", "🏽", "❤", "🇩", "🇪"),
]

every_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
real_text = st.lists(
    st.tuples(st.sampled_from(FRAGMENTS), st.integers(1, 40)), min_size=1, max_size=30
).map(lambda parts: "".join(fragment * times for fragment, times in parts))
texts = every_text | real_text
splittings = st.builds(
    lambda method, size, overlap, name: Splitting(method, size, int(overlap * size), name),
    st.sampled_from(SplittingMethod),
    st.integers(100, 160),
    st.sampled_from([0, 0, 0.05, 0.3, 0.99]),
    st.sampled_from(["cl100k_base", "o200k_base"]),
)


class ByteCounter:
    """A model that reads bytes, between two special tokens."""

    def __init__(self, max_length: int = 10**9) -> None:
        self.max_length = max_length

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.encode()) + 2 for text in texts]


class MiniLmCounter:
    """all-MiniLM-L6-v2's own tokenizer."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(one) for one in minilm.tokenizer().encode_batch(list(texts))]


counters = st.builds(MiniLmCounter, st.sampled_from([64, 128, 256])) | st.builds(
    ByteCounter, st.sampled_from([64, 200, 1000, 10**9])
)


def split(
    text: str, method: SplittingMethod, size: int = 100, overlap: int = 0, reads: int = 10**9
) -> SplitText:
    return Chunker(Splitting(method, size, overlap), ByteCounter(reads)).split(text)


def pieces(result: SplitText) -> list[str]:
    return [chunk.text for chunk in result.chunks]


def clusters(text: str) -> list[int]:
    """The boundaries of the text's grapheme clusters."""
    return [0, *(cluster.end() for cluster in regex.finditer(r"\X", text))]


class Reference:
    """Tokens of stretches of a text, counted the slow way: byte by byte."""

    def __init__(self, text: str, name: str) -> None:
        tokens = encoding(name)
        lengths = [len(tokens.decode_single_token_bytes(t)) for t in tokens.encode_ordinary(text)]
        self.tokens = len(lengths)
        self._token_starts = [0, *itertools.accumulate(lengths)][:-1]
        self._char_starts = [0, *itertools.accumulate(len(c.encode()) for c in text)]

    def tokens_of(self, start: int, end: int) -> int:
        first = bisect_right(self._token_starts, self._char_starts[start]) - 1
        return bisect_left(self._token_starts, self._char_starts[end]) - first


# --- what holds for every text ------------------------------------------------------------------


@settings(deadline=None)
@given(texts, splittings, counters)
def test_chunks_are_slices_that_cover_the_text_in_its_order(
    text: str, splitting: Splitting, counter: ByteCounter | MiniLmCounter
) -> None:
    chunks = Chunker(splitting, counter).split(text).chunks

    if not text.strip():
        assert chunks == ()
        return
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.text == text[chunk.start : chunk.end] for chunk in chunks)
    assert chunks[0].start == 0
    assert chunks[-1].end == len(text)
    for one, following in itertools.pairwise(chunks):
        assert one.start < following.start <= one.end < following.end


@settings(deadline=None)
@given(texts, splittings, counters)
def test_no_chunk_is_longer_than_the_model_can_read(
    text: str, splitting: Splitting, counter: ByteCounter | MiniLmCounter
) -> None:
    result = Chunker(splitting, counter).split(text)

    assert all(count <= counter.max_length for count in counter.count(pieces(result)))
    windows = Chunker(splitting, ByteCounter()).split(text)
    too_long = sum(count > counter.max_length for count in counter.count(pieces(windows)))
    assert result.split_for_model == too_long


@settings(deadline=None)
@given(texts, splittings, counters)
@example(  # where a chunk ends before a long word, at a mark that stands on a space
    "0" * 13 + "\x81" * 12 + " \u200c" + "0" * 213,
    Splitting(SENTENCE, 100, 30),
    MiniLmCounter(64),
)
def test_clusters_are_split_only_where_the_model_cannot_read_one(
    text: str, splitting: Splitting, counter: ByteCounter | MiniLmCounter
) -> None:
    chunks = Chunker(splitting, counter).split(text).chunks

    boundaries = clusters(text)
    for cut in {chunk.end for chunk in chunks} - set(boundaries):
        around = bisect_left(boundaries, cut)
        cluster = text[boundaries[around - 1] : boundaries[around]]
        assert counter.count([cluster])[0] > counter.max_length


@settings(deadline=None)
@given(texts, splittings)
def test_chunks_and_overlaps_stay_within_their_sizes(text: str, splitting: Splitting) -> None:
    result = Chunker(splitting, ByteCounter()).split(text)

    reference = Reference(text, splitting.encoding)
    assert result.tokens == (reference.tokens if result.chunks else 0)
    for chunk in result.chunks:
        assert chunk.tokens == reference.tokens_of(chunk.start, chunk.end)
        one_cluster = len(regex.findall(r"\X", chunk.text)) == 1
        assert chunk.tokens <= splitting.chunk_size or one_cluster
    for one, following in itertools.pairwise(result.chunks):
        shared = reference.tokens_of(following.start, one.end)
        if splitting.method is SENTENCE and following.start < one.end:
            assert shared <= splitting.chunk_overlap
        if splitting.chunk_overlap == 0:
            assert following.start == one.end


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=126, exclude_characters="\r")), splittings)
def test_token_windows_are_exact_where_no_cluster_stands_in_the_way(
    text: str, splitting: Splitting
) -> None:
    text = f"{text} tokens, " * 30
    size, step = splitting.chunk_size, splitting.chunk_size - splitting.chunk_overlap
    tokens = encoding(splitting.encoding)
    encoded = tokens.encode_ordinary(text)
    exact = Splitting(TOKEN, size, splitting.chunk_overlap, splitting.encoding)

    result = Chunker(exact, ByteCounter()).split(text)

    starts = [
        at for at in range(0, len(encoded), step) if at == 0 or at + size - step < len(encoded)
    ]
    assert pieces(result) == [tokens.decode(encoded[at : at + size]) for at in starts]
    assert [chunk.tokens for chunk in result.chunks] == [
        min(size, len(encoded) - at) for at in starts
    ]


@settings(deadline=None, max_examples=50)
@given(st.lists(texts, max_size=5), splittings, counters)
def test_a_page_is_split_as_its_texts_are_and_twice_alike(
    page: list[str], splitting: Splitting, counter: ByteCounter | MiniLmCounter
) -> None:
    chunker = Chunker(splitting, counter)

    result = chunker.split_many(page)

    assert result == [chunker.split(text) for text in page]
    assert result == Chunker(splitting, counter).split_many(page)


@settings(deadline=None)
@given(st.lists(texts, max_size=5), splittings, st.sampled_from([64, 128, 256]))
@example(["[MASK] " * 200, "[MAS" * 200, "plain"], Splitting(TOKEN, 100), 64)
@example(["a" * 101, "b" * 5000], Splitting(TOKEN, 100), 64)
def test_the_products_counter_splits_as_the_models_own_tokenizer_does(
    page: list[str], splitting: Splitting, reads: int
) -> None:
    ours, own = minilm.counter(reads), MiniLmCounter(reads)

    assert Chunker(splitting, ours).split_many(page) == Chunker(splitting, own).split_many(page)


@settings(max_examples=300)
@given(
    st.text(st.sampled_from(JOINERS) | st.characters(exclude_categories=["Cs"])),
    st.randoms(use_true_random=False),
)
def test_clusters_found_in_any_order_are_those_of_the_whole_text(text: str, order: Random) -> None:
    boundaries = clusters(text)
    graphemes = Graphemes(text)
    places = list(range(len(text) + 1))
    order.shuffle(places)

    for place in places:
        assert graphemes.floor(place) == boundaries[bisect_right(boundaries, place) - 1]
        assert graphemes.ceil(place) == boundaries[bisect_left(boundaries, place)]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(SEAMS), min_size=30, max_size=200),
    st.sampled_from(["cl100k_base", "o200k_base"]),
)
def test_a_text_encoded_in_segments_has_the_tokens_of_the_whole(
    words: list[str], name: str
) -> None:
    text = " and ".join("".join(words[at : at + 5]) for at in range(0, len(words), 5))

    whole, segmented = MeasuredText(text, name), MeasuredText(text, name, segment=100)

    assert whole.tokens == segmented.tokens
    for token in range(whole.tokens + 1):
        assert whole.floor(token) == segmented.floor(token)
        assert whole.ceil(token) == segmented.ceil(token)


# --- where sentences are cut --------------------------------------------------------------------

WORDS = "the old garden grows well under rain and sun for many long days "


def prose(tokens: int, end: str = ".") -> str:
    """A sentence of so many tokens, the full stop included."""
    words = itertools.islice(itertools.cycle(WORDS.split()), tokens - 1)
    return " ".join(words).capitalize() + end


def test_a_paragraph_end_comes_before_a_later_sentence_end() -> None:
    first, second = f"{prose(30)} {prose(30)}\n\n", f"{prose(30)} {prose(30)}"

    assert pieces(split(first + second, SENTENCE)) == [first, second]


def test_a_sentence_end_comes_before_a_later_line_or_word_end() -> None:
    first, second = f"{prose(60)} ", prose(80).replace(" well", "\nwell")

    assert pieces(split(first + second, SENTENCE)) == [first, second]


def test_a_line_end_comes_before_a_later_word_end() -> None:
    first, second = prose(60, end="\n"), prose(80, end="")

    assert pieces(split(first + second, SENTENCE)) == [first, second]


def test_words_are_kept_whole_where_a_sentence_is_too_long() -> None:
    text = prose(350)

    chunks = pieces(split(text, SENTENCE))

    assert len(chunks) == 4
    assert " ".join(chunk.strip() for chunk in chunks) == text


def test_chunks_are_filled_with_as_many_sentences_as_fit() -> None:
    text = " ".join(prose(24) for _ in range(8))

    chunks = pieces(split(text, SENTENCE))

    assert [chunk.count(".") for chunk in chunks] == [4, 4]


def test_a_heading_is_no_chunk_of_its_own() -> None:
    text = f"Root vegetables\n\n{prose(60)} {prose(60)}"

    chunks = pieces(split(text, SENTENCE))

    assert chunks[0].startswith("Root vegetables\n\nThe old garden")
    assert chunks[1].startswith("The old garden")


def test_a_long_word_that_fits_into_a_chunk_is_not_broken() -> None:
    address = "https://example.org/" + "/".join(f"q{at}" for at in range(28))
    text = f"{prose(20, end='')} {address} {prose(60)}"

    chunks = pieces(split(text, SENTENCE))

    assert any(address in chunk for chunk in chunks)


def test_a_word_longer_than_a_chunk_is_broken_into_full_chunks() -> None:
    text = "start " + "qzj" * 2000 + " end"

    result = split(text, SENTENCE)

    assert "".join(pieces(result)) == text
    assert all(chunk.tokens == 100 for chunk in result.chunks[:-1])


@pytest.mark.parametrize(
    "name",
    ["Dr. Smith", "J. Smith", "Fig. 3", "cf. Table", "e.g. celeriac", "approx. five", "3.14"],
)
def test_a_full_stop_within_a_sentence_does_not_end_it(name: str) -> None:
    first = f"{prose(60)} "
    text = f"{first}{prose(10, end='')} {name} {prose(60)}"

    assert pieces(split(text, SENTENCE))[0] == first


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param("我们今天去市场买了很多新鲜的蔬菜和水果。", id="Chinese"),
        pytest.param("今日は市場で新鮮な野菜をたくさん買いました。", id="Japanese"),
        pytest.param("彼は「これは本当に美味しい！」", id="Japanese, quoted"),
        pytest.param("आज हमने बाज़ार से ताज़ी सब्ज़ियाँ खरीदीं। ", id="Hindi"),
        pytest.param("هل اشتريت الخضار الطازجة من السوق اليوم؟ ", id="Arabic"),
        pytest.param("Сегодня мы купили на рынке свежие овощи! ", id="Russian"),
        pytest.param("Η σελινόριζα μεγαλώνει αργά. ", id="Greek"),
        pytest.param('"We bought fresh vegetables!" ', id="English, quoted"),
    ],
)
def test_sentences_are_kept_whole_in_every_script(sentence: str) -> None:
    result = split(sentence * 40, SENTENCE)

    assert len(result.chunks) > 2
    end, beginning = sentence.rstrip()[-2:], sentence[:3]
    assert all(chunk.text.rstrip().endswith(end) for chunk in result.chunks)
    assert all(chunk.text.lstrip().startswith(beginning) for chunk in result.chunks)


def test_thai_is_cut_at_spaces() -> None:
    phrase = "วันนี้เราไปซื้อผักสดที่ตลาด"
    text = " ".join([phrase] * 30)

    chunks = pieces(split(text, SENTENCE))

    assert len(chunks) > 2
    assert all(set(chunk.split()) == {phrase} for chunk in chunks)


def test_overlap_begins_with_a_sentence() -> None:
    text = " ".join(f"{number} {prose(18)}".replace("The", "the") for number in range(20))

    chunks = split(text, SENTENCE, overlap=30).chunks

    assert len(chunks) > 3
    for one, following in itertools.pairwise(chunks):
        assert following.text.split()[0].isdigit()
        assert text[following.start : one.end].count(".") == 1


def test_overlap_begins_with_a_word_where_no_sentence_begins_in_it() -> None:
    text = prose(400)

    chunks = split(text, SENTENCE, overlap=20).chunks

    for one, following in itertools.pairwise(chunks):
        shared = text[following.start : one.end]
        assert set(shared.split()) <= set(WORDS.split())
        assert 18 <= len(shared.split()) <= 20


def test_a_token_window_that_would_divide_a_cluster_ends_before_it() -> None:
    before, after = " word" * 98, FAMILY + " word" * 50

    first, second = split(before + after, TOKEN).chunks

    assert (first.text, first.tokens) == (before, 98)
    assert second.text == after


def test_a_token_window_that_would_begin_within_a_cluster_begins_before_it() -> None:
    text = " word" * 88 + FAMILY + " word" * 60

    chunks = split(text, TOKEN, size=110, overlap=10).chunks

    assert chunks[0].tokens == 110
    assert chunks[1].text.startswith(FAMILY)


def test_crlf_is_never_divided() -> None:
    for method in SplittingMethod:
        chunks = pieces(split("one\r\n" * 300, method, overlap=10))
        assert not any(chunk.startswith("\n") for chunk in chunks)


def test_trailing_white_space_is_no_sentence_chunk_of_its_own() -> None:
    for tail in range(8):
        text = prose(98) + " \t" * tail
        assert all(chunk.strip() for chunk in pieces(split(text, SENTENCE)))


# --- what the model cannot read -----------------------------------------------------------------


@pytest.mark.parametrize("method", SplittingMethod)
def test_what_is_too_long_is_split_into_as_few_pieces_as_it_needs(method: SplittingMethod) -> None:
    text = " ".join(prose(20) for _ in range(60))
    counter = MiniLmCounter(128)

    result = Chunker(Splitting(method, 300), counter).split(text)

    assert result.split_for_model == 4
    assert len(result.chunks) == 4 * 3
    assert all(chunk.text.rstrip().endswith(".") for chunk in result.chunks[:-1])
    assert min(counter.count(pieces(result))) > 60


def test_a_cluster_longer_than_the_model_reads_is_cut_between_code_points() -> None:
    zalgo = "e" + "\u0301" * 5000
    text = f"before {FAMILY} {zalgo}{FAMILY} after"

    result = split(text, SENTENCE, reads=64)

    assert "".join(pieces(result)) == text
    assert max(ByteCounter().count(pieces(result))) <= 64
    assert len(result.chunks) < len(zalgo.encode()) / 62 * 1.2 + 4
    assert sum(chunk.text.count(FAMILY) for chunk in result.chunks) == 2


def test_a_cluster_longer_than_a_chunk_stays_whole_where_the_model_reads_it() -> None:
    zalgo = "e" + "\u0301" * 500

    for method in SplittingMethod:
        chunks = pieces(split(f"before {zalgo} after", method, overlap=50))
        assert sum(zalgo in chunk for chunk in chunks) == 1


@pytest.mark.parametrize(("reads", "cause"), [(2, "prefix and special tokens"), (4, "character")])
def test_a_model_that_cannot_read_a_character_is_refused(reads: int, cause: str) -> None:
    with pytest.raises(ModelError, match=cause):
        split("芹", SENTENCE, reads=reads)


# --- hostile texts ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "\n\r\n\t", "\u2028\u2029\u3000\u00a0"])
def test_white_space_alone_gives_no_chunk(text: str) -> None:
    assert split(text, SENTENCE) == SplitText((), 0, 0)


@pytest.mark.parametrize("method", SplittingMethod)
def test_white_space_around_a_text_stays_with_it(method: SplittingMethod) -> None:
    assert pieces(split("\n\n  text \r\n", method)) == ["\n\n  text \r\n"]


def test_special_tokens_in_a_text_are_plain_text() -> None:
    text = "<|endoftext|>" * 100

    result = split(text, TOKEN)

    assert result.tokens == len(encoding("cl100k_base").encode_ordinary(text))
    assert "".join(pieces(result)) == text


HOSTILE = {
    "one letter": "a",
    "spaces": " ",
    "line feeds": "\n",
    "CR LF": "\r\n",
    "line separators": "\u2028 ",
    "carets": "^",
    "NUL": "\x00",
    "full stops": ".",
    "full stops and spaces": ". ",
    "full stops and brackets": ".)",
    "question marks": "?",
    "ideographic full stops": "。",
    "Han": "芹",
    "flags": FLAG,
    "families": FAMILY,
    "combining marks": "\u0301",
    "spaces with marks": " \u0301",
    "Hangul jamo": "\u1100\u1161\u11a8",
    "Devanagari": "क्ष",
}


@pytest.mark.parametrize("method", SplittingMethod)
@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_is_linear_in_the_length_of_a_hostile_text(unit: str, method: SplittingMethod) -> None:
    def seconds(characters: int) -> float:
        text = "x" + unit * (characters // len(unit)) + "x"
        chunker = Chunker(Splitting(method, 256, 32), ByteCounter(512))
        best = float("inf")
        for _ in range(2):
            before = time.thread_time()
            chunker.split(text)
            best = min(best, time.thread_time() - before)
        return best

    seconds(1000)

    assert seconds(80_000) < 12 * seconds(20_000) + 0.02


@pytest.mark.parametrize("text", ["a" * 10**6, " " * 10**6 + "x", "x" + "\u2028 " * 5 * 10**5])
def test_a_million_characters_without_a_word_are_split(text: str) -> None:
    result = Chunker(Splitting(SENTENCE, 256, 32), MiniLmCounter(256)).split(text)

    assert result.chunks[-1].end == len(text)
    assert max(chunk.tokens for chunk in result.chunks) <= 256
