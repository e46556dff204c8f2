"""What is compared: a system, its state on disk and in Qdrant, and a driver that runs it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from qdrant_client import QdrantClient
from redis import Redis

from benchmarks.against import oracle
from benchmarks.against.corpus import Documents
from benchmarks.against.drivers.wire import CHUNK_OVERLAP, CHUNK_SIZE, ENCODING, Setup, text_of
from benchmarks.against.oracle import Chunks, Findings, Held
from benchmarks.against.process import Driver, NotPlayed, Run
from celeriac.chunking import Chunker
from celeriac.embedding.registry import BUILTIN, counter
from celeriac.model import Splitting, SplittingMethod

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = Path(__file__).parent / "drivers"


@dataclass(frozen=True)
class Model:
    """An embedding model's files."""

    name: str
    folder: Path
    dimension: int = 384


@dataclass(frozen=True)
class System:
    """One of the systems compared."""

    name: str
    driver: str
    python: str
    read_payload: oracle.ReadPayload
    reopens: bool
    """Whether one process can be opened on one state after another."""
    collections: str
    """What the names of its collections begin with."""
    options: Mapping[str, object] = field(default_factory=dict)
    redis: str | None = None
    split: Callable[[list[str]], list[list[str]]] | None = None
    """Its own splitter, where it is at hand here; otherwise the driver is asked."""
    stores: bool = True
    """Whether it writes to Qdrant at all."""

    @property
    def served(self) -> Mapping[str, str] | None:
        """Where a search reads before there was a run; nowhere where that is for a run to say."""
        return {"collection": self.collections} if self.reopens else None


@dataclass
class Bench:
    """What all subjects share."""

    folder: Path
    qdrant_url: str
    grpc_port: int
    environment: Mapping[str, str]
    model: Model
    patience: float
    """Seconds that a scenario may take; see `Subject.allow`."""

    def client(self) -> QdrantClient:
        return QdrantClient(
            url=self.qdrant_url,
            grpc_port=self.grpc_port,
            prefer_grpc=True,
            timeout=120,
            check_compatibility=False,
        )


@dataclass(frozen=True)
class _Kept:
    """A state to come back to."""

    state: Path
    snapshots: Mapping[str, str]
    redis: Mapping[bytes, bytes]
    served: Mapping[str, str] | None


@dataclass(frozen=True)
class Broken:
    """A run that was broken off."""

    embedded: int
    """Chunks that had gone through the model."""
    texts: frozenset[str]
    """Digests of their texts."""


class Subject:
    """One system under one set of options, with a folder and collections of its own."""

    def __init__(self, bench: Bench, system: System) -> None:
        self.system = system
        self.name = system.name
        self.bench = bench
        self.served = system.served
        """Where a search reads, as the last run said."""
        self._options = dict(system.options)
        self._client = bench.client()
        self._folder = bench.folder / system.name
        self._state = self._folder / "state"
        self._source = self._folder / "documents.jsonl"
        self._spare: Driver | None = None
        self._splits: dict[str, list[str]] = {}
        self._kept: _Kept | None = None
        self._folder.mkdir()
        self.allow(bench.patience)

    def allow(self, seconds: float) -> None:
        """Give what comes next so much time; where a driver takes longer, it fails."""
        self._deadline = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds of that time."""
        return max(0.0, self._deadline - time.monotonic())

    # What happens to the source

    def write(self, documents: Documents) -> None:
        """Make the source hold these; who reads it goes on reading what it was."""
        new = self._folder / "new.jsonl"
        new.write_text("".join(json.dumps(one) + "\n" for one in documents), encoding="utf-8")
        new.replace(self._source)

    # What the system does

    @contextmanager
    def opened(
        self,
        *,
        source: Mapping[str, object] | None = None,
        model: Model | None = None,
        fresh: bool = False,
        **options: object,
    ) -> Iterator[Driver]:
        """A driver on the present state; in a new process where that matters (`fresh`)."""
        driver = self._opened_driver(source=source, model=model, fresh=fresh, **options)
        try:
            yield driver
        except BaseException:
            driver.kill()
            raise
        self._put(driver)

    def index(self, **opened: object) -> Run:
        """One run on the present state."""
        with self.opened(**opened) as driver:  # type: ignore[arg-type]
            return self.note(driver.index())

    def note(self, run: Run) -> Run:
        """Remember where a search reads since this run."""
        self.served = run.served or self.served
        return run

    def interrupt(self, pause: Mapping[str, int], **opened: object) -> Broken:
        """Begin a run and kill its process where it pauses."""
        driver = self._opened_driver(**opened)  # type: ignore[arg-type]
        try:
            counted = driver.pauses(driver.start(pause))
        finally:
            driver.kill()
        if counted is None:
            raise NotPlayed(f"its run ended before it counted {pause}")
        return Broken(counted["embedded"], frozenset(driver.texts))

    # What is in Qdrant

    def held(self) -> list[Held]:
        return oracle.read(self._client, self.served, self.system.read_payload)

    def compare(self, documents: Documents) -> Findings:
        """What a search may find, held against the source."""
        if not self.system.stores:
            return Findings()
        return oracle.compare(self.held(), self.expected(documents))

    def expected(self, documents: Documents) -> Chunks:
        """What the system's own splitter makes of these documents."""
        texts = {document["id"]: text_of(document) for document in documents}
        unknown = sorted(set(texts.values()) - self._splits.keys())
        if unknown:
            self._splits.update(zip(unknown, self._split(unknown), strict=True))
        return {name: self._splits[text] for name, text in texts.items()}

    def lose_points(self, share: float) -> int:
        """Take points out of the collection behind the system's back."""
        assert self.served is not None
        records, _ = self._client.scroll(
            self.served["collection"], limit=1_000_000, with_payload=False
        )
        lost = [record.id for record in records][:: round(1 / share)]
        self._client.delete(self.served["collection"], lost, wait=True)
        return len(lost)

    # State kept and brought back

    def reset(self) -> None:
        """No collection, no state."""
        self._end_redis()
        for name in self._collections():
            self._client.delete_collection(name)
        shutil.rmtree(self._state, ignore_errors=True)
        self._state.mkdir()
        self.served = self.system.served
        if self.system.redis:
            Redis.from_url(self.system.redis).flushdb()

    def save(self) -> None:
        """Keep the present state, to be restored as often as wanted."""
        kept = self._folder / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self._state, kept, ignore=shutil.ignore_patterns("*.sock"))
        snapshots = {name: self._snapshot(name) for name in self._collections()}
        self._kept = _Kept(kept, snapshots, self._dump(), self.served)

    def restore(self) -> None:
        """The state that was kept.

        Raises:
            NotPlayed: none was.
        """
        if self._kept is None:
            raise NotPlayed("it has no first index to begin with")
        self.reset()
        kept, self.served = self._kept, self._kept.served
        shutil.rmtree(self._state)
        shutil.copytree(kept.state, self._state)
        for name, snapshot in kept.snapshots.items():
            self._recover(name, snapshot)
        if self.system.redis:
            redis = Redis.from_url(self.system.redis)
            for key, value in kept.redis.items():
                redis.restore(key, 0, value)

    def close(self) -> None:
        """End what is left."""
        if self._spare is not None:
            self._spare.close()
        self._end_redis()
        self._client.close()

    # Inside

    def _end_redis(self) -> None:
        """End the Redis of a celeriac that was killed; one that ends by itself leaves none."""
        for endpoint in self._state.glob("home/redis/endpoint.json"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(json.loads(endpoint.read_text())["pid"], signal.SIGKILL)

    def _split(self, texts: list[str]) -> list[list[str]]:
        if self.system.split is not None:
            return self.system.split(texts)
        path = self._folder / "texts.jsonl"
        records = [{"id": str(n), "title": text, "abstract": ""} for n, text in enumerate(texts)]
        path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
        with self.opened(source={"path": str(path)}) as driver:
            chunks = driver.split()
        return [chunks.get(str(number), []) for number in range(len(texts))]

    def _opened_driver(
        self,
        *,
        source: Mapping[str, object] | None = None,
        model: Model | None = None,
        fresh: bool = False,
        **options: object,
    ) -> Driver:
        driver = self._take(fresh=fresh)
        source = source or {"path": str(self._source)}
        try:
            driver.open(self._setup(source, model or self.bench.model, options))
        except BaseException:
            driver.kill()
            raise
        return driver

    def _take(self, *, fresh: bool) -> Driver:
        if self.system.reopens and not fresh and self._spare is not None:
            driver, self._spare = self._spare, None
            return driver
        command = [self.system.python, str(DRIVERS / self.system.driver)]
        log = self._folder / "driver.log"
        return Driver(command, self.bench.environment, log, self.left)

    def _put(self, driver: Driver) -> None:
        if self.system.reopens and self._spare is None and driver.alive:
            self._spare = driver
        else:
            driver.close()

    def _setup(
        self, source: Mapping[str, object], model: Model, options: Mapping[str, object]
    ) -> Setup:
        return Setup(
            state=str(self._state),
            collection=self.system.collections,
            qdrant_url=self.bench.qdrant_url,
            grpc_port=self.bench.grpc_port,
            model_name=model.name,
            model=str(model.folder),
            dimension=model.dimension,
            source=source,
            options={**self._options, **options},
        )

    def _collections(self) -> list[str]:
        found = [one.name for one in self._client.get_collections().collections]
        return [name for name in found if name.startswith(self.system.collections)]

    def _snapshot(self, collection: str) -> str:
        """A collection's snapshot, by the name under which the server finds it again."""
        snapshot = self._client.create_snapshot(collection, wait=True)
        assert snapshot is not None
        kept = self._folder / f"{collection}.snapshot"
        with (
            httpx.stream(
                "GET",
                f"{self.bench.qdrant_url}/collections/{collection}/snapshots/{snapshot.name}",
                timeout=120,
            ) as answer,
            kept.open("wb") as file,
        ):
            for part in answer.iter_bytes():
                file.write(part)
        return kept.resolve().as_uri()

    def _recover(self, collection: str, snapshot: str) -> None:
        self._client.recover_snapshot(collection, location=snapshot, wait=True)

    def _dump(self) -> dict[bytes, bytes]:
        if not self.system.redis:
            return {}
        redis = Redis.from_url(self.system.redis)
        return {key: redis.dump(key) for key in redis.scan_iter()}


def systems(python: Path) -> list[System]:
    """celeriac with this interpreter, the others with that of their environment."""
    return [
        System(
            "celeriac",
            "celeriac_standalone.py",
            sys.executable,
            oracle.read_page_content,
            reopens=False,
            collections="celeriac_",
            split=split_by_celeriac,
        ),
        System(
            "langchain",
            "langchain_index.py",
            str(python),
            oracle.read_page_content,
            reopens=True,
            collections="langchain",
            options={"cleanup": "full"},
        ),
        System(
            "llamaindex",
            "llamaindex_pipeline.py",
            str(python),
            oracle.read_node,
            reopens=True,
            collections="llamaindex",
        ),
    ]


def llamaindex_on_redis(python: Path, redis_url: str) -> System:
    """LlamaIndex with docstore and cache in Redis."""
    return System(
        "llamaindex-redis",
        "llamaindex_pipeline.py",
        str(python),
        oracle.read_node,
        reopens=True,
        collections="redis_llamaindex",
        options={"redis": redis_url},
        redis=redis_url,
    )


def sentence_transformers(python: Path) -> System:
    """The model without anything around it."""
    return System(
        "sentence-transformers",
        "sentence_transformers_alone.py",
        str(python),
        oracle.read_page_content,
        reopens=True,
        collections="sentence-transformers",
        stores=False,
    )


def split_by_celeriac(texts: list[str]) -> list[list[str]]:
    splitting = Splitting(SplittingMethod.TOKEN, CHUNK_SIZE, CHUNK_OVERLAP, ENCODING)
    chunker = Chunker(splitting, counter(BUILTIN["all-minilm-l6-v2"], {}))
    return [[chunk.text for chunk in split.chunks] for split in chunker.split_many(texts)]
