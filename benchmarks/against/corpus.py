"""The collection, and what happens to it between two runs.

Everything is a function of the documents and a fixed seed: each system meets the same changes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.against.drivers.wire import Json, text_of

SEED = 20
Documents = list[Json]


def sample(documents: Sequence[Json], number: int) -> Documents:
    """So many documents with an abstract; all documents, with and without, for 0."""
    if not number:
        return list(documents)
    return [document for document in documents if document["abstract"]][:number]


def joined(documents: Documents, number: int) -> Documents:
    """So many documents as the abstract of one; the last one may be of fewer."""
    if number == 1:
        return documents
    return [
        {
            **documents[start],
            "title": f"From {documents[start]['id']} on",
            "abstract": "\n".join(map(text_of, documents[start : start + number])),
        }
        for start in range(0, len(documents), number)
    ]


def copied(documents: Documents, copies: int) -> Documents:
    """So many times over, under new ids and with other texts: nothing is indexed twice."""
    if copies == 1:
        return documents
    return [
        {**one, "id": f"{one['id']}-{number}", "title": f"{number}. {one['title']}"}
        for number in range(copies)
        for one in documents
    ]


def changed(documents: Sequence[Json], share: float) -> Documents:
    """A word in the middle of the abstract is another one."""
    return _edited(documents, share, _with_another_word)


def retitled(documents: Documents, number: int) -> Documents:
    """The first document has another title, for each number another one."""
    first, *others = documents
    return [{**first, "title": f"{first['title']}, version {number}"}, *others]


def shrunk(documents: Sequence[Json], share: float) -> Documents:
    """The second half of the text is gone."""
    return _edited(documents, share, lambda text: text[: len(text) // 2])


def emptied(documents: Sequence[Json], number: int) -> Documents:
    """Documents that are still listed, without any text."""
    chosen = set(_chosen(documents, number))
    return [
        {**document, "title": "", "abstract": ""} if position in chosen else document
        for position, document in enumerate(documents)
    ]


def without(documents: Sequence[Json], share: float) -> Documents:
    """Some documents are gone."""
    gone = set(_chosen(documents, max(1, round(share * len(documents)))))
    return [document for position, document in enumerate(documents) if position not in gone]


def moved_on(documents: Sequence[Json]) -> Documents:
    """A week later: a fifth is changed, a tenth has shrunk, a tenth is gone."""
    return without(shrunk(changed(documents, 0.2), 0.1), 0.1)


def _edited(documents: Sequence[Json], share: float, edit: object) -> Documents:
    assert callable(edit)
    chosen = set(_chosen(documents, max(1, round(share * len(documents)))))
    return [
        {**document, "abstract": edit(document["abstract"])} if position in chosen else document
        for position, document in enumerate(documents)
    ]


def _chosen(documents: Sequence[Json], number: int) -> list[int]:
    """Positions of documents with an abstract."""
    candidates = [position for position, one in enumerate(documents) if one["abstract"]]
    return random.Random(SEED).sample(candidates, number)


def _with_another_word(text: str) -> str:
    words = text.split(" ")
    words[len(words) // 2] = "celeriac"
    return " ".join(words)
