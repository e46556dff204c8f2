"""Searches that a new generation has to answer before it goes live.

A sample of its own chunks has to be found by its text, and each canary query of the declaration
has to find what it expects. The sample is embedded as passages, so that a sound chunk has nearly
the vector it was stored with, whatever the model does to queries; what is held against each other
is scores, for a text that stands in many entities is found in any of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celeriac.catalog.indexes import Generation
from celeriac.configuration import Canary
from celeriac.errors import CanaryFailed, ModelError, UnsoundVectors
from celeriac.model import Outcome, Partition
from celeriac.runtime import Runtime
from celeriac.search import nearest
from celeriac.store.base import Hit, Marker, StoredChunk

SAMPLED = 16
"""Entities that are looked for at least, where there are so many; fewer than twice as many."""
FIRST_HITS = 10
QUERY_LENGTH = 8
"""Characters of a query that any model can read, whatever stands before it."""
SAME_TEXT = 0.9
"""Cosine that a text's vector has with the one it was stored with at least: all-MiniLM-L6-v2 gives
0.9999 in bfloat16, and 0.85 at most with another pooling."""
SCORE_TOLERANCE = 1e-3
ALIKE = 1 - 1e-5
"""Cosine from which on two vectors are the same. Texts of 700 characters that differ in one number
have 0.9998."""
DIFFERENT_TEXTS = 4
"""So many different texts with one and the same vector are no chance."""
MOST_HITS = 10_000
"""Chunks asked for at most to have so many entities as a canary query looks at."""
SHOWN = 10

Vectors = NDArray[np.float32]
Listed = Callable[[Sequence[str]], dict[str, Outcome]]
"""What the source's listing says of entities, by id; those that it does not list are missing."""


class Sample:
    """Some of the markers that are offered, evenly spread, the same for the same offers."""

    def __init__(self) -> None:
        self.markers: list[Marker] = []
        self._every = 1
        self._offered = 0

    def offer(self, marker: Marker) -> None:
        if self._offered % self._every == 0:
            self.markers.append(marker)
            if len(self.markers) == 2 * SAMPLED:
                self.markers = self.markers[::2]
                self._every *= 2
        self._offered += 1


@dataclass(frozen=True, slots=True)
class SampleFound:
    """How a generation's own texts were found."""

    sampled: int
    similarity: float | None
    """The lowest cosine between a text's vector and the stored one; None where nothing was
    sampled."""
    missed: int
    """Texts that the store finds only where it compares every point."""


def find_sample(
    runtime: Runtime, generation: Generation, sample: Sample, checkpoint: Callable[[], None]
) -> SampleFound:
    """Search for chunks of the generation by their own texts.

    Raises:
        UnsoundVectors: a vector is not that of its text, or all vectors are alike.
        CanaryFailed: a chunk is not there, or is not found.
        ModelUnavailable, StoreUnavailable: for now.
    """
    chunks = _sampled_chunks(runtime, generation.partition, sample)
    if not chunks:
        return SampleFound(0, None, 0)
    computed = _unit(runtime.usable(generation.model).embed([chunk.text for chunk in chunks]))
    stored = _unit(np.stack([_vector(chunk) for chunk in chunks]))
    scores: Vectors = np.sum(computed * stored, axis=1)
    _require_same(chunks, scores)
    _require_different(chunks, stored)
    _require_an_answer(runtime, generation, chunks)
    missed = 0
    for chunk, vector, score in zip(chunks, computed, scores, strict=True):
        checkpoint()
        missed += _look_for(runtime, generation.partition, chunk, vector, float(score))
    if 2 * missed > len(chunks):
        raise CanaryFailed(
            f"Of {len(chunks)} chunks searched for by their own texts, {missed} are found only "
            "where every point is compared: the store's graph is not sound. Have Qdrant rebuild "
            f"the collection {generation.collection}, and reindex."
        )
    return SampleFound(len(chunks), round(float(scores.min()), 4), missed)


def _sampled_chunks(runtime: Runtime, partition: Partition, sample: Sample) -> list[StoredChunk]:
    """One chunk of each sampled entity, now this one, now that."""
    wanted = [
        (marker.entity_id, int(marker.point_id[:8], 16) % marker.chunk_count)
        for marker in sample.markers
    ]
    found = runtime.store.chunks(partition, wanted, with_vectors=True)
    missing = set(wanted) - {(chunk.entity_id, chunk.chunk) for chunk in found}
    if missing:
        entity_id, number = min(missing)
        raise CanaryFailed(
            f"Chunk {number} of entity {entity_id!r} is not in the index, although its marker is; "
            "something else removes points from the collection."
        )
    return sorted(found, key=lambda chunk: (chunk.entity_id, chunk.chunk))


def _require_same(chunks: Sequence[StoredChunk], scores: Vectors) -> None:
    # What is not a number compares as false.
    other = [place for place, score in enumerate(scores) if not score >= SAME_TEXT]
    if other:
        worst = other[int(np.argmin(scores[other]))]
        raise UnsoundVectors(
            f"{len(other)} of {len(chunks)} sampled chunks are stored with a vector that is not "
            f"that of their text: {_named(chunks[worst])} has a similarity of "
            f"{scores[worst]:.3f} to it. Workers compute with different files of one model, or "
            "one of them computes wrongly."
        )


def _require_different(chunks: Sequence[StoredChunk], stored: Vectors) -> None:
    """Texts that differ in more than case and punctuation may not all have one vector."""
    rows = {_words(chunk.text): row for row, chunk in enumerate(chunks)}
    vectors = stored[list(rows.values())]
    if len(rows) >= DIFFERENT_TEXTS and float((vectors @ vectors.T).min()) > ALIKE:
        raise UnsoundVectors(
            f"{len(rows)} different texts have one and the same vector, such as "
            f"{_named(chunks[0])}: the model does not tell them apart."
        )


def _require_an_answer(
    runtime: Runtime, generation: Generation, chunks: Sequence[StoredChunk]
) -> None:
    """Search as a user does: what is found is for the canary queries to say."""
    texts = (chunk.text.strip() for chunk in chunks)
    query = next(filter(None, texts), "anything")[:QUERY_LENGTH]
    if not nearest(runtime, generation, query, top_k=1):
        raise CanaryFailed(f"A search for {query!r} finds nothing at all.")


def _look_for(
    runtime: Runtime, partition: Partition, chunk: StoredChunk, vector: Vectors, score: float
) -> bool:
    """Search for a chunk; whether only an exact search finds it.

    Raises:
        CanaryFailed: it is not found.
    """
    store = runtime.store
    if _is_among(chunk, score, store.search(partition, vector, top_k=FIRST_HITS)):
        return False
    hits = store.search(partition, vector, top_k=FIRST_HITS, exact=True)
    if _is_among(chunk, score, hits):
        return True
    raise CanaryFailed(
        f"A search for the text of {_named(chunk)} does not find it. It has a score of "
        f"{score:.3f}; found were {_shown([hit.entity_id for hit in hits])}."
    )


def _is_among(chunk: StoredChunk, score: float, hits: Sequence[Hit]) -> bool:
    """Whether the entity is among the hits, or what is there in its place is as near."""
    if any(hit.entity_id == chunk.entity_id for hit in hits):
        return True
    return len(hits) == FIRST_HITS and hits[-1].score >= score - SCORE_TOLERANCE


def ask_canaries(
    runtime: Runtime,
    generation: Generation,
    canaries: Sequence[Canary],
    listed: Listed,
    checkpoint: Callable[[], None],
) -> None:
    """Search as a user would for what is declared.

    Raises:
        CanaryFailed: names each query that finds none of the entities it expects, and what it
            finds.
        ModelUnavailable, StoreUnavailable: for now.
    """
    failures = []
    for canary in canaries:
        checkpoint()
        found = _entities(runtime, generation, canary)
        if not set(found) & set(canary.expect):
            failures.append(_failure(canary, found, listed(canary.expect)))
    if failures:
        raise CanaryFailed(" ".join(failures))


def _entities(runtime: Runtime, generation: Generation, canary: Canary) -> list[str]:
    """Ids of the first entities that are found, the best first: chunks of one count once."""
    top_k = canary.top_k
    while True:
        try:
            hits = nearest(runtime, generation, canary.text, top_k=top_k)
        except ModelError as error:
            raise CanaryFailed(f"Canary {canary.text!r} cannot be embedded: {error}") from error
        found = list(dict.fromkeys(hit.entity_id for hit in hits))
        if len(found) >= canary.top_k or len(hits) < top_k or top_k >= MOST_HITS:
            return found[: canary.top_k]
        top_k = min(4 * top_k, MOST_HITS)


def _failure(canary: Canary, found: Sequence[str], outcomes: dict[str, Outcome]) -> str:
    expected = " or ".join(canary.expect)
    gone = [one for one in canary.expect if one not in outcomes]
    failed = [
        one for one, outcome in outcomes.items() if outcome in (Outcome.FAILED, Outcome.EMPTY)
    ]
    return (
        f"Canary {canary.text!r} has to find {expected} among the first {canary.top_k} entities; "
        f"it finds {_shown(found)}."
        + (f" The source does not list {', '.join(gone)}; correct the canary." if gone else "")
        + (f" Could not be indexed: {', '.join(failed)}." if failed else "")
    )


def _shown(entity_ids: Sequence[str]) -> str:
    first = list(dict.fromkeys(entity_ids))
    more = ", ..." if len(first) > SHOWN else ""
    return ", ".join(first[:SHOWN]) + more if first else "nothing"


def _named(chunk: StoredChunk) -> str:
    return f"chunk {chunk.chunk} of entity {chunk.entity_id!r}"


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _vector(chunk: StoredChunk) -> Vectors:
    if chunk.vector is None:
        raise CanaryFailed(f"{_named(chunk)} has no vector in the store.")
    return chunk.vector


def _unit(vectors: Vectors) -> Vectors:
    """Rows of length 1; of a row of zeros, zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit
