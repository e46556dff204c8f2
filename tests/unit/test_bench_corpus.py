"""What the benchmarks beside others index."""

from __future__ import annotations

from benchmarks.against import corpus
from benchmarks.against.drivers.wire import text_of

DOCUMENTS = [{"id": str(n), "title": f"title {n}", "abstract": f"text {n}"} for n in range(5)]


def test_documents_joined_have_all_texts() -> None:
    joined = corpus.joined(DOCUMENTS, 2)

    assert [one["id"] for one in joined] == ["0", "2", "4"]
    assert text_of(joined[0]) == "From 0 on\ntitle 0\ntext 0\ntitle 1\ntext 1"
    assert corpus.joined(DOCUMENTS, 1) == DOCUMENTS


def test_copies_differ_in_id_and_text() -> None:
    copied = corpus.copied(DOCUMENTS, 3)

    assert len({one["id"] for one in copied}) == len({text_of(one) for one in copied}) == 15
    assert corpus.copied(DOCUMENTS, 1) == DOCUMENTS
