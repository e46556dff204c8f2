"""What an index of so many entities needs: chunks, time, memory, disk.

docs/capacity.md explains it. What is called measured, `python -m benchmarks.capacity` measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from celeriac.chunking import Chunker
from celeriac.embedding.base import TokenCounter
from celeriac.errors import ConfigurationError
from celeriac.ledger import temporary_ledger
from celeriac.model import IndexSpec, Splitting, SplittingMethod
from celeriac.rendering import Renderer
from celeriac.sources.base import Source
from celeriac.sources.listing import SHORT_PAGE
from celeriac.survey import Survey, SurveyedPage

SAMPLE = 1000
"""Entities of a sample, rounded up to a page."""

SENTENCE_FILL = 0.77
"""Of `chunk_size`, what chunks cut by SENTENCE have; measured on English prose."""
LAST_CHUNK = 0.5
"""The last chunk of a text is as often nearly empty as nearly full."""
BYTES_A_TOKEN = 5.0
"""UTF-8 of English prose; measured, 4.6 to 5.5."""

VECTOR_BYTES = 4
"""Of a dimension: vectors are kept as float32."""
GRAPH_BYTES = 140
"""Of a point in Qdrant's graph (`payload_m` 16); measured."""
POINT_BYTES = 400
"""Of a point's id, version and celeriac's own payload indexes; measured."""
FILTER_BYTES = 80
"""Of a point and a filter field; measured."""
PAYLOAD_BYTES = 400
"""Of a point on disk besides vector and text: the rest of the payload, its indexes; measured."""
COLLECTION_BYTES = 64 << 20
"""Of a collection's log of writes, on disk and mapped; measured."""
PROCESS_BYTES = 100 << 20
"""Of a server without points; measured."""
REWRITING = 1.5
"""Room for segments that are written anew; Qdrant's own rule for memory has the same factor:
https://qdrant.tech/documentation/guides/capacity-planning/"""

GENERATIONS = MappingProxyType(
    {
        1: "the first indexing",
        2: "a rebuild, and from then on: one generation is kept",
        3: "every further rebuild",
    }
)
"""How many there are at once, and when."""

LISTING_BYTES = MappingProxyType({"sqlite": 320, "postgresql": 650})
"""Of an entity in the catalog while its job runs; measured."""
REDIS_BYTES = 256 << 10
"""Of a running job, at most; measured."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens a second that are embedded, and where that was so."""

    tokens_per_second: float
    where: str


_CPU = "a worker on 2 cores of an AMD EPYC with AVX-512, {}, measured 2026-11-21"
RATES: Mapping[str, tuple[Rate, ...]] = MappingProxyType(
    {
        "all-minilm-l6-v2": (
            Rate(5383.0, _CPU.format("float32")),
            Rate(8960.0, _CPU.format("bfloat16")),
            Rate(6393.0, _CPU.format("int8")),
        )
    }
)
"""By model, the default first: benchmarks/results/engine-2026-11-21.json. No GPU was measured."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What is to be indexed."""

    entities: int
    chunks: int
    tokens: int
    """To embed: what chunks share counts in each."""
    chunk_bytes: float
    """Of a chunk's text, on average."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Qdrant's bytes while so many generations are there."""

    generations: int
    when: str
    memory: int
    disk: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What an index needs, in bytes where nothing else is said."""

    texts: Texts
    vectors: int
    """Of one generation, as are the next three; in memory and on disk."""
    graph: int
    points: int
    """Ids, versions, payload indexes."""
    payload: int
    """On disk alone."""
    rule: int
    """Qdrant's own rule for the memory of one generation: vectors, and half as much."""
    stages: tuple[Stage, ...]
    catalog_rows: int
    """While a job runs; its listing is forgotten afterwards."""
    catalog: Mapping[str, int]
    """By kind of database, likewise."""
    redis: int


@dataclass(frozen=True, slots=True)
class Time:
    """How long embedding everything takes at a rate."""

    rate: Rate
    seconds: float
    times: int | None
    """As many of what the rate is of keep within the window; None without one."""


def estimated(entities: int, tokens: float, splitting: Splitting) -> Texts:
    """Of entities of so many tokens on average. Their lengths differ, so a sample says more."""
    size, overlap = splitting.chunk_size, splitting.chunk_overlap
    fill = SENTENCE_FILL if splitting.method == SplittingMethod.SENTENCE else 1.0
    step = max(fill * size - overlap, 1.0)
    each = max(1.0, (tokens - overlap) / step + LAST_CHUNK)
    embedded = tokens + overlap * (each - 1)
    return Texts(
        entities,
        math.ceil(entities * each),
        math.ceil(entities * embedded),
        BYTES_A_TOKEN * embedded / each,
    )


def sampled(source: Source, spec: IndexSpec, counter: TokenCounter, entities: int | None) -> Texts:
    """By the first entities that the source lists, rendered and cut as a job would.

    `entities` is how many there are in all; None where the source has no more than a sample.

    Raises:
        SourceUnavailable, SourceError: the source cannot be listed so far.
        ConfigurationError: there is no text, or more than a sample and nobody says how much more.
    """
    chunker, found = Chunker(spec.splitting, counter), _Sample()
    with temporary_ledger() as ledger:
        for page in Survey(source, Renderer(spec), ledger).pages():
            if found.listed >= SAMPLE:
                found.complete = False
                break
            found.add(page, chunker)
    return found.scaled_to(entities)


@dataclass(slots=True)
class _Sample:
    listed: int = 0
    chunks: int = 0
    tokens: int = 0
    size: int = 0
    complete: bool = True

    def add(self, page: SurveyedPage, chunker: Chunker) -> None:
        self.listed += page.listed
        for split in chunker.split_many([one.text for one, _ in page.rendered]):
            self.chunks += len(split.chunks)
            self.tokens += sum(one.tokens for one in split.chunks)
            self.size += sum(len(one.text.encode()) for one in split.chunks)

    def scaled_to(self, entities: int | None) -> Texts:
        if not self.chunks:
            raise ConfigurationError("The sample has no text: nothing can be estimated from it.")
        if entities is None and not self.complete:
            raise ConfigurationError(
                f"The source has more than the {self.listed:,} entities of a sample: say how many "
                "there are, --entities 1000000."
            )
        entities = self.listed if entities is None else entities
        each = entities / self.listed
        chunks, tokens = math.ceil(self.chunks * each), math.ceil(self.tokens * each)
        return Texts(entities, chunks, tokens, self.size / self.chunks)


def needs(texts: Texts, dimension: int, filter_fields: int) -> Needs:
    """What an index of these texts needs, with vectors of that length."""
    vectors = texts.chunks * dimension * VECTOR_BYTES
    graph = texts.chunks * GRAPH_BYTES
    points = texts.chunks * (POINT_BYTES + FILTER_BYTES * filter_fields)
    payload = math.ceil(texts.chunks * (texts.chunk_bytes + PAYLOAD_BYTES))
    return Needs(
        texts=texts,
        vectors=vectors,
        graph=graph,
        points=points,
        payload=payload,
        rule=round(vectors * REWRITING),
        stages=tuple(
            Stage(
                number,
                when,
                memory=round(
                    PROCESS_BYTES
                    + COLLECTION_BYTES
                    + number * REWRITING * (vectors + graph + points)
                ),
                disk=round(COLLECTION_BYTES + number * REWRITING * (vectors + graph + payload)),
            )
            for number, when in GENERATIONS.items()
        ),
        catalog_rows=texts.entities + math.ceil(texts.entities / SHORT_PAGE),
        catalog={kind: texts.entities * each for kind, each in LISTING_BYTES.items()},
        redis=REDIS_BYTES,
    )


def times(texts: Texts, rates: Iterable[Rate], window: float | None) -> list[Time]:
    """How long it takes at each rate; `window` is the seconds that it may take."""
    return [_time(rate, texts.tokens / rate.tokens_per_second, window) for rate in rates]


def _time(rate: Rate, seconds: float, window: float | None) -> Time:
    return Time(rate, seconds, math.ceil(seconds / window) if window else None)
