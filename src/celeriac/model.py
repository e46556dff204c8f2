"""The nouns of celeriac: frozen dataclasses without I/O."""

from __future__ import annotations

import functools
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import IntEnum, StrEnum
from typing import Any

Scalar = str | int | float | bool
MetadataValue = Scalar | list[Scalar]

MIN_CHUNK_SIZE = 100
MIN_RATE, MAX_RATE = 0.001, 1_000_000
"""Entities a second that a throttle can be set to."""


class SplittingMethod(StrEnum):
    """How a text is cut."""

    TOKEN = "TOKEN"
    """Windows of exactly chunk_size tokens."""
    SENTENCE = "SENTENCE"
    """At the best boundary below chunk_size tokens: paragraph, sentence, word."""


@dataclass(frozen=True, slots=True)
class Splitting:
    """How texts are cut into chunks; sizes are tiktoken tokens of `encoding`."""

    method: SplittingMethod = SplittingMethod.SENTENCE
    chunk_size: int = 256
    chunk_overlap: int = 0
    encoding: str = "cl100k_base"

    def __post_init__(self) -> None:
        if self.chunk_size < MIN_CHUNK_SIZE:
            raise ValueError(f"chunk_size is {self.chunk_size}; it must be at least 100")
        if not 0 <= self.chunk_overlap < self.chunk_size:
            raise ValueError(
                f"chunk_overlap is {self.chunk_overlap}; "
                f"it must be at least 0 and below chunk_size ({self.chunk_size})"
            )


@dataclass(frozen=True, slots=True)
class TextField:
    """One field of an entity that is embedded; `alias` stands before its value."""

    path: str
    """Dotted path in the entity, such as `mixins.care.en`."""
    alias: str | None = None


class FilterType(StrEnum):
    """Types of filterable fields; the names are those of the `filter-metadata` contract."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    DATE = "date"
    TIME = "time"
    DICTIONARY = "dictionary"
    LIST = "list"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class FilterField:
    """One field of an entity kept beside its chunks for filtering, under `key`."""

    key: str
    type: FilterType = FilterType.STRING
    path: str = ""
    """Dotted path in the entity; the key where empty."""
    description: str = ""


COMPARED = (FilterType.INTEGER, FilterType.FLOAT, FilterType.DATE, FilterType.DATETIME)
"""Types whose values have an order that searches can go by."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds that the value of a filter field has to keep; numbers, or dates and datetimes in ISO
    8601, UTC where they name no zone."""

    gte: int | float | str | None = None
    gt: int | float | str | None = None
    lte: int | float | str | None = None
    lt: int | float | str | None = None


BOUNDS = tuple(field.name for field in fields(Range))

FilterValue = MetadataValue | Range
"""What a search asks of a filter field: the value, one of several, or bounds."""


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """Everything that shapes an index's vectors and payloads.

    Two specs with one digest give the same points for the same entities; a change of the digest
    calls for a new generation.
    """

    model: str
    """Key of the embedding model in the registry."""
    model_digest: str
    """Digest of the model's description: revision, pooling, prefixes, length, normalization."""
    dimension: int
    splitting: Splitting
    text_fields: tuple[TextField, ...]
    filter_fields: tuple[FilterField, ...] = ()
    own_collection: bool = False

    @property
    def digest(self) -> str:
        return _spec_digest(self)

    def chunk_digest(self, text: str) -> str:
        """Of a chunk's text and of the model that embeds it: equal ones mean equal vectors."""
        return digest_of([self.model_digest, text])


@functools.lru_cache(maxsize=1024)
def _spec_digest(spec: IndexSpec) -> str:
    return digest_of(asdict(spec))


@dataclass(frozen=True, slots=True)
class Entity:
    """What a source lists: an id and its fields as they came."""

    id: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EntityFailure:
    """Why one entity was not indexed."""

    entity_id: str | None
    """None where the entity has no id; the message then says where it stands."""
    error_class: str
    message: str
    retryable: bool = False

    @classmethod
    def of(cls, entity_id: str | None, error: Exception) -> EntityFailure:
        return cls(
            entity_id, type(error).__name__, str(error), bool(getattr(error, "retryable", False))
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of the entities that failed in an ended job a retry takes."""

    job_id: str
    error_class: str | None = None
    """Those that failed with this class alone; None for any."""
    retryable_only: bool = False
    """Those alone that may succeed although nothing has changed."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a source's listing."""

    entities: tuple[Entity, ...]
    next_cursor: str | None
    """Where the listing goes on; None when this page is the last."""
    failures: tuple[EntityFailure, ...] = ()
    """Listed, but not to be had as entities: no id, not readable."""
    bytes_read: int = 0
    total: int | None = None
    """Entities in the whole listing, where the source says so."""
    estimate: int | None = None
    """The same, estimated: for progress alone, where the source does not say."""
    gone: tuple[str, ...] = ()
    """Ids that were asked for and that the source does not have."""
    disturbed: bool = False
    """Whether the source changed since the listing began, or is read by another version of what
    reads it, so that a `SourceVersion` may not tell what was listed."""


@dataclass(frozen=True, slots=True)
class RenderedEntity:
    """An entity as text and filterable metadata."""

    id: str
    text: str
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    lacking: str = ""
    """Why there is nothing to embed; empty where there is text."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of an entity's text: `text[start:end]` of the rendered text, in characters."""

    number: int
    """0-based, in the order of the text."""
    text: str
    tokens: int
    """Length in tiktoken tokens."""
    start: int
    end: int


class Priority(IntEnum):
    """How a job stands to others; pages of a higher one go first, whoever's they are."""

    HIGH = 0
    NORMAL = 1
    LOW = 2

    @property
    def label(self) -> str:
        """The name as the configuration and the API spell it."""
        return self.name.lower()

    @classmethod
    def labelled(cls, label: str) -> Priority:
        return cls[label.upper()]


PRIORITIES = tuple(priority.label for priority in Priority)


class Outcome(IntEnum):
    """What became of a listed entity."""

    UNCHANGED = 1
    INDEXED = 2
    FAILED = 3
    EMPTY = 4
    """It has no text; it counts as failed and has no points."""
    REPEATED = 5
    """An earlier page listed it too and deals with it."""
    GONE = 6
    """It was looked up by its id, and the source does not have it."""
    REMOVED = 7
    """No page listed it: the sweep removes it from the index."""


@dataclass(frozen=True, slots=True)
class ListedEntity:
    """An entity of a page and what became of it."""

    key: uuid.UUID
    """The id of its marker's point."""
    outcome: Outcome
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """What a job, or one page of it, did. Entities are counted once each."""

    listed: int = 0
    unchanged: int = 0
    indexed: int = 0
    failed: int = 0
    removed: int = 0
    chunks: int = 0
    """Chunks of the listed entities, whether new or found unchanged."""
    embedded: int = 0
    """Chunks sent through the model."""
    tokens: int = 0
    """tiktoken tokens of the texts that were cut."""
    bytes: int = 0
    """Bytes read from the source."""
    split_for_model: int = 0
    """Chunks cut again because the model could not have read them whole."""

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, name) + getattr(other, name) for name in COUNTERS))

    @property
    def done(self) -> int:
        """Entities that nothing more is to be done with."""
        return self.unchanged + self.indexed + self.failed

    @property
    def shortfall(self) -> str:
        """What people are told of a job that succeeded without some entities; else empty."""
        if not self.failed:
            return ""
        indexed = self.listed - self.failed
        return f"{indexed:,} of {self.listed:,} indexed; {self.failed:,} cannot be, see the errors."

    def negated(self) -> Counters:
        """What takes these back when it is added."""
        return Counters(*(-getattr(self, name) for name in COUNTERS))


COUNTERS = tuple(field.name for field in fields(Counters))


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """Which state a source is in."""

    content: str
    """As long as it is the same, so is every page of the listing."""
    writes: str
    """Another one after each write, also after one that changes nothing, or changes it back."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What a generation held when a job found it equal to its source."""

    source: str
    """`SourceVersion.content` of what the job listed."""
    entities: int
    points: int
    ids: str
    """The sum of the points' ids, hexadecimal."""
    markers: str
    """`MarkerCensus.digest`, hexadecimal."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One generation of one index, and the collection that holds it."""

    collection: str
    index_id: str
    generation: int

    @property
    def key(self) -> str:
        """The value of the payload key `partition`."""
        return f"{self.index_id}:{self.generation}"

    def point_id(self, entity_id: str, chunk: int) -> str:
        """The deterministic id of one chunk's point: uuid5(index, generation, entity, chunk)."""
        digits = f"{self._point_number(entity_id, chunk):032x}"
        parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        return "-".join(parts)

    def marker_key(self, entity_id: str) -> uuid.UUID:
        """The id of an entity's marker."""
        return uuid.UUID(int=self._point_number(entity_id, 0))

    def sum_of_ids(self, entity_id: str, chunks: int) -> int:
        """Of the points of an entity of so many chunks, as numbers."""
        return sum(self._point_number(entity_id, chunk) for chunk in range(chunks))

    def _point_number(self, entity_id: str, chunk: int) -> int:
        if chunk == 0:
            return _marker_number(self.index_id, self.generation, entity_id)
        return _number(self.index_id, self.generation, entity_id, chunk)


def _number(index_id: str, generation: int, entity_id: str, chunk: int) -> int:
    # What `uuid.uuid5` does, in a fifth of its time.
    name = f"{generation}/{chunk}/{entity_id}".encode()
    digest = hashlib.sha1(_namespace(index_id) + name, usedforsecurity=False).digest()
    return int.from_bytes(digest[:16], "big") & _UUID_DIGEST | _UUID5


@functools.lru_cache(maxsize=1 << 14)
def _marker_number(index_id: str, generation: int, entity_id: str) -> int:
    # Kept, for it is asked for five times while an entity's page is indexed.
    return _number(index_id, generation, entity_id, 0)


_UUID_DIGEST = ~(0xF << 76 | 0x3 << 62)
"""The bits of a UUID that are its digest's."""
_UUID5 = 5 << 76 | 0x2 << 62
"""Its version and variant."""


@functools.lru_cache(maxsize=1024)
def _namespace(index_id: str) -> bytes:
    return uuid.UUID(index_id).bytes


def storable(text: str) -> str:
    """The text as any database takes it: no lone surrogates, no NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def digest_of(value: Any) -> str:
    """128 bits of SHA-256 over the canonical JSON of `value`, in hexadecimal."""
    canonical = _CANONICAL.encode(value)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:32]


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
