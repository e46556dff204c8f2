"""Jobs run in this process: a source that tests write, real catalog, store and Redis, and a
dispatcher whose messages can be lost, doubled and shuffled."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oracle import Comparison, IndexedChunk, compare, indexed_chunks

from celeriac.catalog.indexes import index_id_of
from celeriac.catalog.jobs import Job, JobState
from celeriac.configuration import Configuration, EntityType, Tenant
from celeriac.embedding import registry
from celeriac.finish import Finisher
from celeriac.jobs import JobRunner, request_job
from celeriac.model import (
    Entity,
    EntityFailure,
    FilterField,
    FilterType,
    IndexSpec,
    Page,
    Partition,
    Selection,
    SourceVersion,
    Splitting,
    TextField,
    digest_of,
)
from celeriac.paging import PageRunner
from celeriac.retrying import request_retry
from celeriac.runtime import Runtime
from celeriac.settings import Settings
from celeriac.store.base import VectorStore
from celeriac.store.opening import open_local

Message = tuple[str, str, int]
TENANT, NAME = "acme", "article"


def declared(**changes: Any) -> EntityType:
    """An entity type on the stub model, with `changes` to its spec."""
    model = registry.BUILTIN["stub"]
    spec = IndexSpec(
        model=model.name,
        model_digest=model.digest,
        dimension=model.dimension,
        splitting=Splitting(chunk_size=100),
        text_fields=(TextField("title"), TextField("body")),
        filter_fields=(FilterField("code", FilterType.STRING),),
    )
    return EntityType(TENANT, NAME, {}, replace(spec, **changes), None, 0.2)


def article(number: int, words: int = 20, **fields: Any) -> Entity:
    """Entity `a<number>`, with a body of so many words of its own."""
    body = " ".join(f"word{number}x{position}" for position in range(words))
    values = {"title": f"Title {number}", "body": body, "code": f"c{number % 7}", **fields}
    return Entity(f"a{number}", values)


@dataclass
class ListSource:
    """Lists what it holds in pages, by position: it slides when the list changes meanwhile."""

    entities: list[Entity]
    page_size: int = 10
    stable_listing: bool = True
    failures: dict[int, EntityFailure] = field(default_factory=dict)
    """By page."""
    before_page: Callable[[int], None] | None = None
    """Called with each page's number before it is read; may raise."""
    pages_read: int = 0

    def page(self, cursor: str | None) -> Page:
        start = int(cursor or 0)
        number = start // self.page_size
        self.pages_read += 1
        if self.before_page is not None:
            self.before_page(number)
        found = self.entities[start : start + self.page_size]
        end = start + self.page_size
        failure = self.failures.get(number)
        return Page(
            entities=tuple(found),
            next_cursor=str(end) if end < len(self.entities) else None,
            failures=(failure,) if failure else (),
            bytes_read=100,
        )

    def close(self) -> None:
        pass


@dataclass
class VersionedListSource(ListSource):
    """A list that knows which state it is in."""

    writes: int = 0
    tellable: bool = True

    def version(self) -> SourceVersion | None:
        content = digest_of([[one.id, dict(one.fields)] for one in self.entities])
        return SourceVersion(content, str(self.writes)) if self.tellable else None

    def write(self, entities: list[Entity]) -> None:
        self.entities = entities
        self.writes += 1


@dataclass
class LookupListSource(ListSource):
    """A list whose entities can be asked for by their ids, too."""

    lookup_size: int = 4
    before_lookup: Callable[[Sequence[str]], None] | None = None
    """Called with the ids of each lookup; may raise."""
    looked_up: list[str] = field(default_factory=list)

    def lookup(self, entity_ids: Sequence[str]) -> Page:
        assert 0 < len(entity_ids) <= self.lookup_size
        if self.before_lookup is not None:
            self.before_lookup(entity_ids)
        self.looked_up += entity_ids
        held = {entity.id: entity for entity in reversed(self.entities)}
        return Page(tuple(held[one] for one in entity_ids if one in held), None, bytes_read=10)


class Messages:
    """A dispatcher that keeps what is sent until it is delivered."""

    def __init__(self) -> None:
        self.waiting: list[Message] = []

    def start_job(self, job_id: str) -> None:
        self.waiting.append(("start", job_id, 0))

    def index_page(self, job_id: str, number: int, *, delay: float = 0) -> None:
        self.waiting.append(("page", job_id, number))

    def finish_job(self, job_id: str, *, delay: float = 0) -> None:
        self.waiting.append(("finish", job_id, 0))

    def depth(self) -> int:
        return len(self.waiting)


class World:
    """A runtime on given servers, one entity type, and the hands to run jobs with."""

    def __init__(
        self, *, home: Path, database_url: str, redis_url: str, store: VectorStore
    ) -> None:
        self.source = ListSource([])
        self.entity_type = declared()
        self.messages = Messages()
        self._ended: list[Runtime] = []
        self.models = dict(registry.BUILTIN)
        self._settings = Settings.load(
            {
                "CELERIAC_HOME": str(home),
                "CELERIAC_TOKEN_BUDGET": "1024",
                "CELERIAC_DATABASE_URL": database_url,
                "CELERIAC_REDIS_URL": redis_url,
            }
        )
        self.runtime = self._runtime(store)
        self.store = store

    def _runtime(self, store: VectorStore) -> Runtime:
        runtime = Runtime(self._settings)
        runtime.preset(store=store)
        return runtime

    def restart(self) -> None:
        """Have another process in place of this one, with the same store."""
        self._ended.append(self.runtime)
        self.runtime = self._runtime(self.store)

    def declare(self, **changes: Any) -> None:
        """Declare the entity type anew, with another spec."""
        self.entity_type = declared(**changes)
        self.refresh()

    def refresh(self) -> None:
        tenant = Tenant(TENANT, {NAME: self.entity_type})
        configuration = Configuration({TENANT: tenant}, dict(self.models), Path("test.yaml"))
        self.runtime.settings = replace(self._settings, configuration=configuration)
        self.runtime.preset(source=(self.entity_type, self.source))

    @property
    def jobs(self) -> JobRunner:
        return JobRunner(self.runtime, self.messages)

    def request(self, **options: Any) -> Job:
        self.refresh()
        return request_job(self.runtime, self.messages, TENANT, "ARTICLE", **options).job

    def deliver(self, message: Message) -> None:
        """Do what a worker does with a message."""
        kind, job_id, number = message
        match kind:
            case "start":
                self.jobs.start(job_id)
            case "page":
                PageRunner(self.runtime, self.messages, self.jobs).run(job_id, number)
            case "finish":
                Finisher(self.runtime, self.messages, self.jobs).run(job_id)

    def run(self, *, twice: bool = False, shuffle: random.Random | None = None) -> None:
        """Deliver messages until none is left."""
        while self.messages.waiting:
            position = shuffle.randrange(len(self.messages.waiting)) if shuffle else 0
            message = self.messages.waiting.pop(position)
            self.deliver(message)
            if twice:
                self.deliver(message)

    def reindex(self, **options: Any) -> Job:
        """Request a job and run it to its end."""
        job = self.request(**options)
        self.run()
        return self.job(job.id)

    def request_retry(self, job: Job, **options: Any) -> Job:
        self.refresh()
        selection = Selection(job.id, **options)
        return request_retry(self.runtime, self.messages, selection).job

    def retry(self, job: Job, **options: Any) -> Job:
        """Request a retry of what failed in a job and run it to its end."""
        new = self.request_retry(job, **options)
        self.run()
        return self.job(new.id)

    def job(self, job_id: str) -> Job:
        job = self.runtime.catalog.jobs.get(job_id)
        assert job is not None
        return job

    def partition(self) -> Partition:
        index = self.runtime.catalog.indexes.find(TENANT, NAME)
        assert index is not None
        live = self.runtime.catalog.indexes.live(index.id)
        assert live is not None
        return live.partition

    def indexed(self) -> set[IndexedChunk]:
        return indexed_chunks(self.store, self.partition())

    def compare(self, entities: Sequence[Entity]) -> Comparison:
        """What the live generation must hold of the entities, and what it does hold."""
        return compare(self.store, self.partition(), self.entity_type, entities)

    def assert_index_equals(self, entities: Sequence[Entity]) -> None:
        """Every entity, every chunk, its text and its fingerprint; nothing else."""
        self.compare(entities).assert_equal()

    def assert_succeeded(self, job: Job) -> None:
        assert (job.state, job.message) == (JobState.SUCCEEDED, ""), job.message
        counters = job.counters
        assert counters.listed == counters.unchanged + counters.indexed + counters.failed

    def clear(self) -> None:
        """Remove what the tests wrote: the next one's index has the same id."""
        for generation in self.runtime.catalog.generations.of_index(index_id_of(TENANT, NAME)):
            self.store.delete_partition(generation.partition)

    def close(self) -> None:
        for runtime in [*self._ended, self.runtime]:
            runtime.close()


@contextmanager
def local_world(
    home: Path, *, redis_url: str, database_url: str | None = None, **settings: Any
) -> Iterator[World]:
    """A world on local mode; on SQLite where no catalog is named, with `settings` of its own."""
    store = open_local(None)
    world = World(
        home=home,
        database_url=database_url or f"sqlite:///{home / 'catalog.sqlite'}",
        redis_url=redis_url,
        store=store,
    )
    world._settings = replace(world._settings, **settings)
    world.refresh()
    yield world
    world.close()
    store.close()
