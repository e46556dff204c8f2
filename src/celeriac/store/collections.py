"""The shape of a collection: created where missing, checked where present."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from qdrant_client import QdrantClient, models

from celeriac.errors import StoreMismatch
from celeriac.model import FilterField, FilterType
from celeriac.store import payload
from celeriac.store.base import Fault, Indexing
from celeriac.store.failures import already_exists
from celeriac.store.filters import field_path

_KEYWORD = models.PayloadSchemaType.KEYWORD
_DATETIME = models.PayloadSchemaType.DATETIME

_INDEX_TYPES: Mapping[FilterType, models.PayloadSchemaType] = {
    FilterType.STRING: _KEYWORD,
    FilterType.TIME: _KEYWORD,
    FilterType.LIST: _KEYWORD,
    FilterType.INTEGER: models.PayloadSchemaType.INTEGER,
    FilterType.FLOAT: models.PayloadSchemaType.FLOAT,
    FilterType.BOOLEAN: models.PayloadSchemaType.BOOL,
    FilterType.DATETIME: _DATETIME,
    FilterType.DATE: _DATETIME,
}
"""A dictionary or an object has no index: it has no value to compare."""

_OWN_INDEXES: Mapping[str, models.PayloadSchemaType] = {
    payload.PARTITION: _KEYWORD,
    payload.MARKER: models.PayloadSchemaType.INTEGER,
}
"""As few as may be: Qdrant builds a graph over the points of each value that many have, and that is
nearly all that indexing costs. A partition is of one tenant and one entity type, which need none
beside it; markers have a value each."""

_DEFAULT_THRESHOLD = 10_000
"""Kilobytes of vectors in a segment from which on Qdrant indexes it."""

# Many tenants in one collection: a graph inside each partition, none across them.
_HNSW = models.HnswConfigDiff(m=0, payload_m=16)

Indexes = Mapping[str, models.PayloadSchemaType]


class Collections:
    """What a collection looks like is not asked for again once it was found or made to be of the
    right shape, as long as it is there."""

    def __init__(
        self,
        client: QdrantClient,
        *,
        indexed: bool,
        created: Callable[[str], None] | None = None,
    ) -> None:
        """`indexed` is False for local mode, which has no payload indexes.

        `created` is called with the name of each collection made here.
        """
        self._client = client
        self._indexed = indexed
        self._created = created
        self._ensured: set[tuple[str, int, frozenset[str]]] = set()

    def ensure(self, collection: str, dimension: int, filter_fields: Sequence[FilterField]) -> None:
        indexes = indexes_of(filter_fields)
        key = (collection, dimension, frozenset(f"{path} {kind}" for path, kind in indexes.items()))
        # Somebody may have deleted it, and who only plans jobs makes no other call to it.
        if key in self._ensured and self._client.collection_exists(collection):
            return
        info = self._found_or_created(collection, dimension)
        _check_vectors(collection, dimension, info)
        if self._indexed:
            self._ensure_indexes(collection, indexes, info)
        self._ensured.add(key)

    def faults(
        self, collection: str, dimension: int, filter_fields: Sequence[FilterField]
    ) -> list[Fault] | None:
        """What keeps it from being as `ensure` would have it; None where there is none."""
        if not self._client.collection_exists(collection):
            return None
        info = self._client.get_collection(collection)
        try:
            _check_vectors(collection, dimension, info)
            indexes = indexes_of(filter_fields) if self._indexed else {}
            missing = _missing_indexes(collection, indexes, info)
        except StoreMismatch as error:
            message, _, remedy = str(error).partition("; ")
            return [Fault(message, remedy)]
        return [
            Fault(
                f"collection {collection!r} has no payload index on {path!r}: what filters by it "
                "reads every point",
                "Reindex one of its entity types: a job makes the index.",
            )
            for path in missing
        ]

    def indexing(self, collection: str) -> Indexing | None:
        """How far its points are indexed; None for local mode."""
        if not self._indexed:
            return None
        info = self._client.get_collection(collection)
        threshold = info.config.optimizer_config.indexing_threshold
        return Indexing(
            points=info.points_count or 0,
            indexed=info.indexed_vectors_count or 0,
            settled=info.status is models.CollectionStatus.GREEN,
            threshold=_DEFAULT_THRESHOLD if threshold is None else threshold,
        )

    def index_from(self, collection: str, kilobytes: int) -> None:
        if self._indexed:
            changed = models.OptimizersConfigDiff(indexing_threshold=kilobytes)
            self._client.update_collection(collection, optimizers_config=changed)

    def forget(self, collection: str) -> None:
        """The collection has turned out to be missing."""
        self._ensured = {key for key in self._ensured if key[0] != collection}

    def _found_or_created(self, collection: str, dimension: int) -> models.CollectionInfo:
        if not self._client.collection_exists(collection):
            self._create(collection, dimension)
        return self._client.get_collection(collection)

    def _create(self, collection: str, dimension: int) -> None:
        vectors = models.VectorParams(size=dimension, distance=models.Distance.COSINE)
        try:
            self._client.create_collection(
                collection, vectors_config=vectors, hnsw_config=_HNSW, on_disk_payload=True
            )
        except Exception as error:
            if not already_exists(error):
                raise
        else:
            if self._created is not None:
                self._created(collection)

    def _ensure_indexes(
        self, collection: str, indexes: Indexes, info: models.CollectionInfo
    ) -> None:
        missing = _missing_indexes(collection, indexes, info)
        for path, kind in missing.items():
            self._client.create_payload_index(collection, path, _index_params(path, kind))
        if missing:
            # Creating replaces an index of another type that another worker made meanwhile.
            _missing_indexes(collection, indexes, self._client.get_collection(collection))


def indexes_of(filter_fields: Sequence[FilterField]) -> dict[str, models.PayloadSchemaType]:
    """Index type by payload path, celeriac's own keys first.

    Raises:
        ConfigurationError: a filter field's key cannot be addressed.
    """
    paths = {
        field_path(field.key): _INDEX_TYPES[field.type]
        for field in filter_fields
        if field.type in _INDEX_TYPES
    }
    return {**_OWN_INDEXES, **paths, **_OWN_INDEXES}


def _index_params(
    path: str, kind: models.PayloadSchemaType
) -> models.PayloadSchemaType | models.KeywordIndexParams | models.IntegerIndexParams:
    if path == payload.PARTITION:
        return models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    if path == payload.MARKER:
        # Ranges of values would have graphs.
        return models.IntegerIndexParams(
            type=models.IntegerIndexType.INTEGER, lookup=True, range=False
        )
    return kind


def _missing_indexes(
    collection: str, indexes: Indexes, info: models.CollectionInfo
) -> dict[str, models.PayloadSchemaType]:
    missing = {}
    for path, kind in indexes.items():
        found = info.payload_schema.get(path)
        if found is None:
            missing[path] = kind
        elif found.data_type is not kind:
            raise StoreMismatch(
                f"collection {collection!r} indexes {path!r} as {found.data_type.value}, "
                f"and this index needs {kind.value}; declare the filter field with the type the "
                "others have, or give this index a collection of its own (own_collection)"
            )
    return missing


def _check_vectors(collection: str, dimension: int, info: models.CollectionInfo) -> None:
    vectors = info.config.params.vectors
    if not isinstance(vectors, models.VectorParams):
        raise StoreMismatch(
            f"collection {collection!r} was not made by celeriac: it has no single unnamed vector; "
            "give this index a collection of its own (own_collection)"
        )
    if (vectors.size, vectors.distance) != (dimension, models.Distance.COSINE):
        raise StoreMismatch(
            f"collection {collection!r} holds vectors of {vectors.size} dimensions compared by "
            f"{vectors.distance.value}, and this index needs {dimension} compared by Cosine; "
            "give this index a collection of its own (own_collection)"
        )
