"""A found chunk in its text: what stands before and after it in its entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celeriac.catalog.indexes import Generation
from celeriac.runtime import Runtime

SHOWN = 240
"""Characters shown of each neighbour at most."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk with the text around it."""

    before: str
    text: str
    after: str
    chunk: int
    """0-based."""
    chunk_count: int


def passages(
    runtime: Runtime, live: Generation, hits: Sequence[Mapping[str, Any]]
) -> list[Passage]:
    """The chunks of these hits, each with the end of the chunk before it and the beginning of the
    one after it, without what chunks share."""
    wanted = {
        (hit["entity_id"], hit["chunk"] + step)
        for hit in hits
        for step in (-1, 1)
        if hit["chunk"] + step >= 0
    }
    found = runtime.store.chunks(live.partition, sorted(wanted)) if wanted else []
    texts = {(one.entity_id, one.chunk): one.text for one in found}
    return [_passage(hit, texts) for hit in hits]


def _passage(hit: Mapping[str, Any], texts: Mapping[tuple[str, int], str]) -> Passage:
    entity, chunk, text = hit["entity_id"], hit["chunk"], hit["text"]
    before = texts.get((entity, chunk - 1), "")
    after = texts.get((entity, chunk + 1), "")
    before = before[: len(before) - _shared(before, text)]
    after = after[_shared(text, after) :]
    return Passage(
        before=f"…{before[-SHOWN:]}" if len(before) > SHOWN else before,
        text=text,
        after=f"{after[:SHOWN]}…" if len(after) > SHOWN else after,
        chunk=chunk,
        chunk_count=hit["metadata"]["chunk_count"],
    )


def _shared(first: str, second: str) -> int:
    """Length of the longest end of the first text that the second begins with."""
    longest = min(len(first), len(second))
    return next((n for n in range(longest, 0, -1) if first.endswith(second[:n])), 0)
