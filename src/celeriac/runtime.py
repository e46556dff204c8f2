"""What a process holds to do the work: connections, sources, models, each opened when needed."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from celeriac.catalog import Catalog
from celeriac.catalog.data_sources import DataSource
from celeriac.catalog.indexes import Generation
from celeriac.catalog.knowledge_bases import KEY_PREFIX
from celeriac.chunking import Chunker
from celeriac.configuration import EntityType
from celeriac.data_sources import open_link
from celeriac.definitions import LINKED, UPLOADS, knowledge_entity_type
from celeriac.embedding import registry
from celeriac.embedding.base import Embedder, TokenCounter, Vectors
from celeriac.embedding.torch_engine import TorchEmbedder
from celeriac.errors import ConfigurationError, ModelError, NotFound
from celeriac.events import Events, Feed
from celeriac.indexer import Indexer
from celeriac.job_names import JobNames
from celeriac.lately import Lately
from celeriac.leases import Heartbeat
from celeriac.metrics import Metrics, count_batch
from celeriac.presence import Workers
from celeriac.progress import Progress
from celeriac.rendering import Renderer
from celeriac.security.limits import RATE_LIMIT_TIMEOUT, RateLimits
from celeriac.settings import Settings
from celeriac.slots import Slots
from celeriac.sources.base import Source
from celeriac.sources.linked import Link, LinkedSources
from celeriac.sources.registry import build_source
from celeriac.sources.uploads import UploadedDocuments
from celeriac.store import open_store
from celeriac.store.base import VectorStore
from celeriac.tracing import Tracing, open_tracing

REDIS_TIMEOUT = 3.0
"""Seconds until an answer of Redis is given up."""

ANNOUNCED = 1.0
"""Seconds in which further requests that join a job do not announce it once more."""

Value = TypeVar("Value")


class Runtime:
    """Opened lazily, shared by a process's threads, closed once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.heartbeat = Heartbeat()
        self.slots = Slots()
        self.announced = Lately(ANNOUNCED)
        """Jobs that the workers were told of."""
        self.job_names = JobNames(lambda: self.catalog)
        self.stopping = threading.Event()
        """Set when the process is asked to end: pages in hand are given back at their next
        checkpoint."""
        self._locks: defaultdict[Hashable, threading.RLock] = defaultdict(threading.RLock)
        self._opened: dict[Hashable, object] = {}

    @property
    def catalog(self) -> Catalog:
        """The catalog, its schema brought up to date on first use."""
        return self._once("catalog", self._open_catalog)

    def _open_catalog(self) -> Catalog:
        catalog = Catalog(required("CELERIAC_DATABASE_URL", self.settings.database_url))
        catalog.migrate()
        return catalog

    @property
    def redis(self) -> Redis:
        return self._once(
            "redis", lambda: connect_redis(required("CELERIAC_REDIS_URL", self.settings.redis_url))
        )

    @property
    def progress(self) -> Progress:
        return self._once("progress", lambda: Progress(self.redis))

    @property
    def events(self) -> Events:
        return self._once("events", lambda: Events(self.redis))

    @property
    def feed(self) -> Feed:
        return self._once("feed", lambda: Feed(self.events))

    @property
    def metrics(self) -> Metrics:
        return self._once("metrics", lambda: Metrics(lambda: self.redis))

    @property
    def tracing(self) -> Tracing:
        return self._once(
            "tracing", lambda: open_tracing(self.settings.environ, lambda: self.redis)
        )

    @property
    def workers(self) -> Workers:
        return self._once("workers", lambda: Workers(self.redis))

    @property
    def limits(self) -> RateLimits:
        """Of requests; it does not wait for Redis as long as others do."""
        return self._once("limits", lambda: RateLimits(self._connect_limits()))

    def _connect_limits(self) -> Redis:
        url = required("CELERIAC_REDIS_URL", self.settings.redis_url)
        return connect_redis(url, RATE_LIMIT_TIMEOUT)

    @property
    def store(self) -> VectorStore:
        settings = self.settings
        return self._once(
            "store",
            lambda: open_store(
                settings.qdrant_url, settings.home / "qdrant", settings.qdrant_api_key
            ),
        )

    def entity_type(self, tenant: str, name: str) -> EntityType:
        """The declaration of an entity type, or of an index of a knowledge base by its key.

        Raises:
            NotFound: there is none.
            ConfigurationError: its embedding model is not declared any more.
        """
        if not name.startswith(KEY_PREFIX):
            return self.settings.configuration.entity_type(tenant, name)
        index = self.catalog.knowledge_bases.index_by_key(tenant, name)
        if index is None:
            raise NotFound(f"There is no index {name!r} of a knowledge base.")
        return knowledge_entity_type(index, self.settings.configuration.models)

    def source(self, entity_type: EntityType) -> Source:
        key = ("source", entity_type.tenant, entity_type.name)
        return self._once(key, lambda: self._build_source(entity_type))

    def _build_source(self, entity_type: EntityType) -> Source:
        options = entity_type.source
        if options["kind"] == UPLOADS:
            base, index = options["knowledge_base_id"], options["index_id"]
            return UploadedDocuments(self.catalog, base, index)
        if options["kind"] == LINKED:
            base = options["knowledge_base_id"]
            return LinkedSources(base, lambda: self._links(base))
        return build_source(options)

    def _links(self, knowledge_base_id: str) -> list[Link]:
        """What is linked to the knowledge base now."""
        return [self._link(one) for one in self.catalog.data_sources.linked(knowledge_base_id)]

    def _link(self, data_source: DataSource) -> Link:
        configuration = self.settings.configuration
        key = ("link", data_source.id, data_source.updated_at)
        return self._once(key, lambda: open_link(data_source, configuration))

    def embedder(self, model: str) -> Embedder:
        """The embedding model of that name, loaded once a process."""
        return self._once(("embedder", model), lambda: self._load(model))

    def _load(self, model: str) -> Embedder:
        settings = self.settings
        embedder = registry.load(
            settings.configuration.models[model],
            device=settings.device,
            dtype=settings.dtype,
            environ=settings.environ,
            token_budget=settings.token_budget,
            calibrations=settings.home / "calibrations",
        )
        if isinstance(embedder, TorchEmbedder):
            embedder.on_batch = lambda batch: count_batch(self.metrics, model, batch)
        return embedder

    def counter(self, model: str) -> TokenCounter:
        """The model's own tokenizer, without the model."""
        settings = self.settings
        return self._once(
            ("counter", model),
            lambda: registry.counter(settings.configuration.models[model], settings.environ),
        )

    def indexer(self, entity_type: EntityType, generation: Generation) -> Indexer:
        key = ("indexer", generation.index_id, generation.number)
        return self._once(key, lambda: self._indexer(entity_type, generation))

    def _indexer(self, entity_type: EntityType, generation: Generation) -> Indexer:
        spec = entity_type.spec
        return Indexer(
            partition=generation.partition,
            identity={"tenant": entity_type.tenant, "entity_type": entity_type.name},
            renderer=Renderer(spec),
            chunker=Chunker(spec.splitting, self.counter(spec.model)),
            model=_JobModel(self, spec.model),
            digest=spec.chunk_digest,
            store=self.store,
        )

    def usable(self, model: str) -> Embedder:
        """The model, for a job: loaded only once it finds something changed. One that cannot be
        loaded is no fault of the texts.

        Raises:
            ConfigurationError: it cannot be loaded.
        """
        try:
            return self.embedder(model)
        except ModelError as error:
            raise ConfigurationError(str(error)) from error

    def has_loaded(self, model: str) -> bool:
        """Whether the model is ready in this process."""
        return ("embedder", model) in self._opened

    def preset(
        self,
        *,
        store: VectorStore | None = None,
        source: tuple[EntityType, Source] | None = None,
    ) -> None:
        """Have the runtime use these instead of opening its own; it closes them all the same."""
        if store is not None:
            self._opened["store"] = store
        if source is not None:
            declared, opened = source
            self._opened["source", declared.tenant, declared.name] = opened

    def close(self) -> None:
        """Close whatever was opened."""
        self.stopping.set()
        self.slots.close()
        self.heartbeat.close()
        metrics = self._opened.pop("metrics", None)
        if isinstance(metrics, Metrics):
            metrics.close()  # it writes once more
        opened, self._opened = self._opened, {}
        for value in reversed(list(opened.values())):
            close = getattr(value, "close", None)
            if close is not None:
                close()

    def _once(self, key: Hashable, build: Callable[[], Value]) -> Value:
        # A lock for each key: loading a model must not hold up who asks for the catalog.
        if key not in self._opened:
            with self._locks[key]:
                if key not in self._opened:
                    self._opened[key] = build()
        return self._opened[key]  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class _JobModel:
    """A model for a job; see `LazyModel`."""

    runtime: Runtime
    name: str

    @property
    def is_loaded(self) -> bool:
        return self.runtime.has_loaded(self.name)

    def load(self) -> Embedder:
        return self.runtime.usable(self.name)

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self.load().embed(texts)


def connect_redis(url: str, timeout: float = REDIS_TIMEOUT) -> Redis:
    """A client that gives up within seconds instead of hanging."""
    return Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        socket_keepalive=True,
        health_check_interval=10,
        retry=Retry(NoBackoff(), 1),
    )


def required(variable: str, value: str | None) -> str:
    """The value of a setting that only standalone mode can do without."""
    if not value:
        raise ConfigurationError(
            f"{variable} is not set; it is needed everywhere but in standalone mode (make up)."
        )
    return value
