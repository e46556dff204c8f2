from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from collection import Cacm
from embedding_support import minilm
from embedding_support.tiny_models import byte_bpe
from hypothesis import example, given, settings
from hypothesis import strategies as st

from celeriac.chunking.counts import TextSpan, span_counts
from celeriac.chunking.measures import MeasuredText
from celeriac.embedding.models import EmbeddingModel, Engine, Pooling
from celeriac.embedding.tokenization import ModelTokenizer

ENCODINGS = ["cl100k_base", "o200k_base"]
PIECES = [
    *("word", " the", "Unbelievably", "snake_case", "3rd", "1234567", " ", "  ", "\n", "\t"),
    *(".", "...", "(", "'s", "-", "_", "#", "≠", "=", "\u0338", "¿", "«"),
    *("Zürich", "e\u0301", "\u0301", "\u0345", "\u302e", "\U0001d165", "İ", "ß", "Σ", "ﬁ"),
    *("中文", "芹", "\U00020000", "한국", "ᄀ", "ᅡ", "ᆨ", "ひらがな", "カタ", "ข้าว", "क्ष", "।", "שָׁל"),
    *("👩‍👩‍👧", "🇩🇪", "\u200d", "\ufe0f", "\0", "\ufffd", "\x7f", "\u00ad", "\ue000", "\x85"),
    *("\u00a0", "\u2028", "\u3000", "\u200b", "\U0010ffff", "a" * 101, "é" * 120, "x" * 300),
    *("[CLS]", "[MASK]", "[MASK", "MASK]", "##", "[UNK] "),
]
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.lists(
    st.sampled_from(PIECES), min_size=1
).map("".join)


@st.composite
def pages(draw: st.DrawFn) -> tuple[list[str], list[TextSpan]]:
    """Texts, and spans of them that are not empty."""
    page = draw(st.lists(texts, min_size=1, max_size=5))
    spans = []
    for number in draw(st.lists(st.integers(0, len(page) - 1), min_size=1, max_size=8)):
        start = draw(st.integers(0, len(page[number]) - 1))
        spans.append((number, (start, draw(st.integers(start + 1, len(page[number]))))))
    return page, spans


def counted(
    counter: ModelTokenizer, page: Sequence[str], spans: Sequence[TextSpan], encoding: str
) -> list[int]:
    measured = [MeasuredText(text, encoding) for text in page]
    return span_counts(counter, measured, encoding).count(spans)


def own_counts(page: Sequence[str], spans: Sequence[TextSpan], prefix: str = "") -> list[int]:
    """What the model's tokenizer itself says."""
    stretches = [prefix + page[text][start:end] for text, (start, end) in spans]
    return [len(one) for one in minilm.tokenizer().encode_batch_fast(stretches)]


@settings(deadline=None, max_examples=500)
@given(pages(), st.sampled_from(ENCODINGS))
@example((["unbelievable"], [(0, (3, 9)), (0, (0, 12)), (0, (11, 12))]), "cl100k_base")
@example((["[MASK][MASK]", "mask"], [(0, (0, 6)), (0, (1, 12)), (1, (0, 4))]), "cl100k_base")
def test_spans_count_as_the_models_own_tokenizer_counts_them(
    page: tuple[list[str], list[TextSpan]], encoding: str
) -> None:
    assert counted(minilm.counter(), *page, encoding) == own_counts(*page)


@settings(deadline=None)
@given(pages(), st.sampled_from(["passage: ", "passage:", "[MA", "\n", "e"]))
def test_spans_are_counted_after_the_prefix(
    page: tuple[list[str], list[TextSpan]], prefix: str
) -> None:
    counter = minilm.counter(passage_prefix=prefix)

    assert counted(counter, *page, "cl100k_base") == own_counts(*page, prefix)


def test_tokenizers_whose_counts_do_not_add_up_are_asked_for_each_span(tmp_path: Path) -> None:
    byte_bpe(["some words to begin with"]).save(str(tmp_path / "tokenizer.json"))
    model = EmbeddingModel("mine", Engine.TORCH, 8, 64, str(tmp_path), pooling=Pooling.MEAN)
    counter = ModelTokenizer(model, tmp_path)
    page = ["some words", "to begin\u0301 with"]
    spans = [(1, (0, 14)), (0, (3, 7)), (1, (6, 9))]

    assert counter.run_counts("cl100k_base") is None
    assert counted(counter, page, spans, "cl100k_base") == counter.count(
        ["to begin\u0301 with", "e wo", "in\u0301"]
    )


def test_several_threads_count_alike(cacm: Cacm) -> None:
    texts = [f"{one['title']}\n{one['abstract']}" for one in cacm.documents[:800]]
    spans = [(number, (0, len(text))) for number, text in enumerate(texts)]
    counter = minilm.counter(511)  # which nobody else has used

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: counted(counter, texts, spans, "cl100k_base"), range(4)))

    assert found == [own_counts(texts, spans)] * 4
