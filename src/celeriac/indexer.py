"""One page of entities through the whole pipeline. Read this first.

    render -> fingerprint -> ask the store which changed -> chunk -> embed -> write

An entity's chunk 0 is its *marker*: it carries the fingerprint of everything that shapes the
entity's points, and it is written last. So a marker with the right fingerprint means that every
chunk is there, and whatever is interrupted is done again. A replacement voids the marker before
it touches another chunk; it puts the new chunks in place before it deletes those left over.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from celeriac.chunking import Chunker, SplitText
from celeriac.embedding.base import Vectors
from celeriac.errors import EmptyText, EntityError, ModelError
from celeriac.model import (
    Entity,
    Outcome,
    Partition,
    RenderedEntity,
)
from celeriac.rendering import Renderer
from celeriac.stages import Stage
from celeriac.store.base import VOID, Marker, Point, VectorStore
from celeriac.tally import PageResult, Tally

GROUP_CHUNKS = 128
"""Chunks embedded and written in one go; bounds memory and the time between two checkpoints."""

Vector = NDArray[np.float32]
Checkpoint = Callable[[Tally], None]
"""Called before each batch and each write with what became of the page so far; raises JobStopped,
LeaseLost, WorkerStopping, JobPaused or TurnOver when this page is no longer ours to write."""


class LazyModel(Protocol):
    """An embedding model that is loaded only once there is something to embed."""

    @property
    def is_loaded(self) -> bool: ...

    def load(self) -> object:
        """Make it ready, once a process."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed passages; shape (len(texts), dimension)."""
        ...


@dataclass(slots=True)
class _Changed:
    """An entity on its way into the store."""

    rendered: RenderedEntity
    fingerprint: str
    split: SplitText
    marker: Marker | None
    digests: tuple[str, ...]

    @property
    def id(self) -> str:
        return self.rendered.id

    @property
    def extent(self) -> int:
        """How many chunk ids may exist while the entity is rewritten."""
        return max(len(self.split.chunks), self.marker.chunk_count if self.marker else 0)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A page's entities as the model is to read them."""

    entities: Sequence[tuple[RenderedEntity, str]]
    """Each with its fingerprint."""
    errors: Sequence[tuple[str, EntityError]]
    """Ids of those that cannot be rendered, and why."""

    def without(self, ids: Container[str]) -> Rendered:
        """The others."""
        return Rendered(
            [one for one in self.entities if one[0].id not in ids],
            [one for one in self.errors if one[0] not in ids],
        )


class Indexer:
    """Brings entities of one index's generation into the store. Safe to call from threads."""

    def __init__(
        self,
        *,
        partition: Partition,
        identity: Mapping[str, str],
        renderer: Renderer,
        chunker: Chunker,
        model: LazyModel,
        digest: Callable[[str], str],
        store: VectorStore,
    ) -> None:
        """`identity` is what each point's metadata says of the index: tenant and entity_type;
        `digest` tells chunks apart whose vectors differ: `IndexSpec.chunk_digest`."""
        self.partition = partition
        self._identity = identity
        self._renderer = renderer
        self._chunker = chunker
        self._model = model
        self._digest = digest
        self._store = store

    def render(self, entities: Iterable[Entity]) -> Rendered:
        """The text and metadata of each entity, and the fingerprint of all that shapes its points.

        One that cannot be rendered is among the errors and does not stop the others.
        """
        rendered, errors = [], []
        for entity in entities:
            try:
                one = self._renderer.render(entity)
            except EntityError as error:
                errors.append((entity.id, error))
            else:
                rendered.append((one, self._renderer.fingerprint(one)))
        return Rendered(rendered, errors)

    def index(
        self, rendered: Rendered, checkpoint: Checkpoint, tally: Tally | None = None
    ) -> PageResult:
        """Make the store hold exactly these entities' present chunks.

        A `tally` that is given tells how far it came where it is broken off.

        An entity that cannot be indexed is reported and does not stop the others; what the store
        held of it before stays. One without text is for the end of the job to remove: that all
        texts went away may be a mistake of the source.

        Raises:
            TransientError: a service failed; the page can be run again, whatever was written.
            JobStopped: from `checkpoint`.
        """
        tally = tally or Tally()
        for entity_id, error in rendered.errors:
            tally.fail(entity_id, error)
        ids = [one.id for one, _ in rendered.entities]
        markers = self._store.markers(self.partition, ids)
        changed = self._sort_out(rendered.entities, markers, tally)
        for group in _groups(changed):
            self._replace(group, checkpoint, tally)
        return tally.result(self.partition)

    def _sort_out(
        self,
        rendered: Sequence[tuple[RenderedEntity, str]],
        markers: Mapping[str, Marker],
        tally: Tally,
    ) -> list[_Changed]:
        """Count the unchanged and those without text, cut the changed ones."""
        changed = []
        for one, fingerprint in rendered:
            marker = markers.get(one.id)
            if marker is not None and marker.fingerprint == fingerprint:
                tally.unchanged(one.id, fingerprint, marker.chunk_count)
            elif not one.text.strip():
                tally.fail(one.id, EmptyText(one.lacking), Outcome.EMPTY)
            else:
                changed.append((one, fingerprint, marker))
        with tally.stages.time(Stage.CHUNK) as step:
            splits = self._chunker.split_many([one.text for one, _, _ in changed])
            step.items = sum(len(split.chunks) for split in splits)
        return [
            _Changed(one, fingerprint, split, marker, self._digests(split))
            for (one, fingerprint, marker), split in zip(changed, splits, strict=True)
        ]

    def _digests(self, split: SplitText) -> tuple[str, ...]:
        return tuple(self._digest(chunk.text) for chunk in split.chunks)

    def _replace(self, group: list[_Changed], checkpoint: Checkpoint, tally: Tally) -> None:
        checkpoint(tally)
        vectors = self._stored_vectors(group)
        group = self._embed(group, vectors, checkpoint, tally)
        checkpoint(tally)
        with tally.stages.time(Stage.WRITE) as step:
            self._write(group, vectors)
            step.items = sum(len(one.split.chunks) for one in group)
        for one in group:
            tally.indexed(one.id, one.fingerprint, one.split)

    def _stored_vectors(self, group: Sequence[_Changed]) -> dict[str, Vector]:
        """Vectors of the chunks these entities have already, by digest."""
        held = [
            (one.id, number)
            for one in group
            if one.marker is not None
            for number in range(one.marker.chunk_count)
        ]
        if not held:
            return {}
        chunks = self._store.chunks(self.partition, held, with_vectors=True)
        return {chunk.digest: chunk.vector for chunk in chunks if chunk.vector is not None}

    def _embed(
        self,
        group: list[_Changed],
        vectors: dict[str, Vector],
        checkpoint: Checkpoint,
        tally: Tally,
    ) -> list[_Changed]:
        """Add the missing vectors to `vectors`; returns the entities that have all of theirs."""
        missing = list(_missing(group, vectors).items())
        if missing and not self._model.is_loaded:
            with tally.stages.time(Stage.LOAD) as step:
                self._model.load()
                step.items = 1
        poison: dict[str, ModelError] = {}
        for start in range(0, len(missing), GROUP_CHUNKS):
            if start:
                tally.shares = _shares(group, vectors)
                checkpoint(tally)
            with tally.stages.time(Stage.EMBED) as step:
                for digests, computed in self._embed_isolating(
                    missing[start : start + GROUP_CHUNKS], poison
                ):
                    vectors.update(zip(digests, computed, strict=True))
                    tally.embedded(len(digests))
                    step.items += len(digests)
        tally.shares = {}
        if not poison:
            return group
        sound = []
        for one in group:
            error = next((poison[digest] for digest in one.digests if digest in poison), None)
            if error is None:
                sound.append(one)
            else:
                self._give_up(one, error, tally)
        return sound

    def _embed_isolating(
        self, texts: list[tuple[str, str]], poison: dict[str, ModelError]
    ) -> Iterator[tuple[list[str], Vector]]:
        """Embed, halving on failure until the texts that the model cannot embed stand alone."""
        if not texts:
            return
        try:
            computed = self._model.embed([text for _, text in texts])
            _require_finite(computed)
        except ModelError as error:
            if len(texts) == 1:
                poison[texts[0][0]] = error
                return
            middle = len(texts) // 2
            yield from self._embed_isolating(texts[:middle], poison)
            yield from self._embed_isolating(texts[middle:], poison)
        else:
            yield [digest for digest, _ in texts], computed

    def _write(self, group: Sequence[_Changed], vectors: Mapping[str, Vector]) -> None:
        replaced = {one.id: one.extent for one in group if one.marker is not None}
        if replaced:
            self._store.void(self.partition, replaced)
        points = [point for one in group for point in self._points(one, vectors)]
        self._store.upsert(self.partition, [point for point in points if point.chunk > 0])
        leftover = [
            (one.id, number) for one in group for number in range(len(one.split.chunks), one.extent)
        ]
        if leftover:
            self._store.delete_chunks(self.partition, leftover)
        self._store.upsert(self.partition, [point for point in points if point.chunk == 0])

    def _points(self, one: _Changed, vectors: Mapping[str, Vector]) -> Iterator[Point]:
        metadata = {**one.rendered.metadata, **self._identity}
        for digest, chunk in zip(one.digests, one.split.chunks, strict=True):
            yield Point(
                entity_id=one.id,
                chunk=chunk.number,
                chunk_count=len(one.split.chunks),
                text=chunk.text,
                fingerprint=one.fingerprint,
                digest=digest,
                vector=vectors[digest],
                metadata=metadata,
            )

    def _give_up(self, one: _Changed, error: Exception, tally: Tally) -> None:
        # A voided marker is what a crash left of a replacement: half an entity is worse than none.
        if one.marker is not None and one.marker.fingerprint == VOID:
            self._remove(one.marker)
        tally.fail(one.id, error)

    def _remove(self, marker: Marker | None) -> None:
        if marker is not None:
            remove_entities(self._store, self.partition, [marker])


def remove_entities(store: VectorStore, partition: Partition, markers: Iterable[Marker]) -> None:
    """Delete entities, their markers last, so that an interrupted removal is found again."""
    markers = list(markers)
    rest = [
        (marker.entity_id, number) for marker in markers for number in range(1, marker.chunk_count)
    ]
    if rest:
        store.void(partition, {marker.entity_id: marker.chunk_count for marker in markers})
        store.delete_chunks(partition, rest)
    store.delete_chunks(partition, [(marker.entity_id, 0) for marker in markers])


def _require_finite(vectors: Vector) -> None:
    if not np.isfinite(vectors).all():
        raise ModelError("The model gives a vector that is not finite for this text.")


def _missing(group: Sequence[_Changed], vectors: Mapping[str, Vector]) -> dict[str, str]:
    """The texts to be embedded, by their digests."""
    return {
        digest: chunk.text
        for one in group
        for digest, chunk in zip(one.digests, one.split.chunks, strict=True)
        if digest not in vectors
    }


def _shares(group: Sequence[_Changed], vectors: Mapping[str, Vector]) -> dict[str, float]:
    """How much of each entity is embedded, 0 to 1."""
    return {
        one.id: sum(digest in vectors for digest in one.digests) / len(one.digests) for one in group
    }


def _groups(changed: Sequence[_Changed]) -> Iterator[list[_Changed]]:
    group: list[_Changed] = []
    size = 0
    for one in changed:
        if group and size + len(one.split.chunks) > GROUP_CHUNKS:
            yield group
            group, size = [], 0
        group.append(one)
        size += len(one.split.chunks)
    if group:
        yield group
