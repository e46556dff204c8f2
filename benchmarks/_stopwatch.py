"""What each stage of the pipeline spends, by the clock and of the processor."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celeriac.catalog.indexes import Indexes
from celeriac.catalog.jobs import Jobs
from celeriac.catalog.listings import Listings
from celeriac.catalog.pages import Pages
from celeriac.chunking import Chunker
from celeriac.finish import Finisher
from celeriac.progress import Progress
from celeriac.rendering import Renderer
from celeriac.sources.files import FilesSource
from celeriac.store.qdrant import QdrantStore

Methods = Sequence[tuple[type, str]]


def stages(embed: Mapping[str, Methods]) -> dict[str, Methods]:
    """The methods of each stage; `embed` has those of the embedder at hand."""
    return {
        "fetch": [(FilesSource, "page")],
        "render": [(Renderer, "render"), (Renderer, "fingerprint")],
        "compare": [(QdrantStore, "markers"), (QdrantStore, "chunks")],
        "chunk": [(Chunker, "split_many")],
        **embed,
        "write": [(QdrantStore, "upsert"), (QdrantStore, "void"), (QdrantStore, "delete_chunks")],
        "catalog": [
            (table, name)
            for table in (Indexes, Jobs, Listings, Pages)
            for name, member in vars(table).items()
            if inspect.isfunction(member) and not name.startswith("_")
        ],
        "progress": [(Progress, "_publish")],
        "verify": [(Finisher, "run")],
    }


@dataclass
class Spent:
    """Seconds."""

    clock: float = 0.0
    cpu: float = 0.0

    def add(self, other: Spent, sign: int = 1) -> None:
        self.clock += sign * other.clock
        self.cpu += sign * other.cpu

    @classmethod
    def now(cls) -> Spent:
        """By the clock, and of this thread's processor time."""
        return cls(time.perf_counter(), time.thread_time())


class Stopwatch:
    """What each stage spends, without the stages it calls, added up over all threads."""

    def __init__(self, stages: Mapping[str, Methods]) -> None:
        self._stages = stages
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._spent = {stage: Spent() for stage in stages}

    def watch(self) -> None:
        for stage, methods in self._stages.items():
            for owner, name in methods:
                setattr(owner, name, self._timed(stage, getattr(owner, name)))

    def take(self) -> dict[str, Spent]:
        """What was spent since this was asked last."""
        with self._lock:
            spent, self._spent = self._spent, {stage: Spent() for stage in self._stages}
        return spent

    def _timed(self, stage: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def timed(*arguments: Any, **options: Any) -> Any:
            waiting: list[Spent] = self._threads.__dict__.setdefault("waiting", [])
            started, inner = Spent.now(), Spent()
            waiting.append(inner)
            try:
                return method(*arguments, **options)
            finally:
                waiting.pop()
                spent = Spent.now()
                spent.add(started, -1)
                if waiting:
                    waiting[-1].add(spent)
                spent.add(inner, -1)
                with self._lock:
                    self._spent[stage].add(spent)

        return timed
