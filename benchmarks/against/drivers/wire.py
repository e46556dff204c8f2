"""What a driver and the benchmark say to each other: a JSON object a line, over stdin and stdout.

    benchmark -> driver                        driver -> benchmark
    {"op": "open", "setup": {...}}             {"event": "opened", "versions": ...}
    {"op": "index", "run": 1, "pause": {...}}  {"event": "queued", "run": 1}
                                               {"event": "paused", "run": 1}
    {"op": "continue"}                         {"event": "done", "run": 1, "ok": true, ...}
    {"op": "split"}                            {"event": "split", "chunks": {id: [text, ...]}}

A run pauses, if it is told to, once so many chunks went through the model ("embedded") or into
Qdrant ("written"): there the benchmark kills the process, or lets it go on. Both events tell what
was counted since the run before ended, and `texts`, digests of all that was embedded since it was
opened. The driver ends when stdin does. Standard library only, for the systems live in two
environments.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

Json = dict[str, Any]

CHUNK_SIZE, CHUNK_OVERLAP, ENCODING = 128, 16, "cl100k_base"


@dataclass(frozen=True)
class Setup:
    """What a driver works on."""

    state: str
    """Folder of what the system remembers besides Qdrant."""
    collection: str
    qdrant_url: str
    grpc_port: int
    model_name: str
    model: str
    """The model's folder."""
    dimension: int
    source: Mapping[str, Any]
    """{"path": JSON lines} or {"url": ..., "page_size": ...}."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The system's own."""


class Gauge:
    """Counts what goes through the model and into Qdrant, and pauses the run where it is told."""

    def __init__(self) -> None:
        self.counts = {"embedded": 0, "written": 0}
        self.texts: set[str] = set()
        """Digests of what was embedded."""
        self._limits: dict[str, int] = {}
        self._on_pause: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._go_on = threading.Event()

    def pause_at(self, pause: Mapping[str, int], on_pause: Callable[[], None]) -> None:
        """Pause once so many more than now are counted; call `on_pause` then, once."""
        self._go_on.clear()
        self._on_pause = on_pause
        self._limits = {what: self.counts[what] + number for what, number in pause.items()}

    def embedded(self, texts: Iterable[bytes]) -> None:
        """Count texts that went through the model, in whatever form it takes them."""
        digests = [hashlib.blake2b(text, digest_size=8).hexdigest() for text in texts]
        with self._lock:
            self.texts.update(digests)
        self.add("embedded", len(digests))

    def add(self, what: str, number: int) -> None:
        """Count, and wait here once the run is to pause; every thread that comes by waits."""
        with self._lock:
            before, after = self.counts[what], self.counts[what] + number
            self.counts[what] = after
        limit = self._limits.get(what)
        if limit is None or after < limit:
            return
        if before < limit:
            self._on_pause()
        self._go_on.wait()

    def go_on(self) -> None:
        self._limits = {}
        self._go_on.set()


class Wire:
    """The driver's end."""

    def __init__(self) -> None:
        self._output = _private_stdout()
        self._orders: queue.Queue[Json | None] = queue.Queue()
        self._lock = threading.Lock()
        self._told = {"embedded": 0, "written": 0}
        """What was counted by the end of the last run."""
        self.gauge = Gauge()
        threading.Thread(target=self._read, daemon=True).start()

    def orders(self) -> Iterator[Json]:
        """What the benchmark asks for, until it closes stdin."""
        while (order := self._orders.get()) is not None:
            yield order

    def say(self, event: str, **fields: Any) -> None:
        with self._lock:
            self._output.write(json.dumps({"event": event, **fields}) + "\n")
            self._output.flush()

    def run(self, order: Json, index: Callable[[], Json]) -> None:
        """Run `index` as ordered and say how it ended."""
        number = order["run"]
        if pause := order.get("pause"):
            self.gauge.pause_at(pause, lambda: self.say("paused", run=number, **self._counted()))
        started = time.perf_counter()
        try:
            told = index()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the system's answer
            told = {"ok": False, "message": f"{type(error).__name__}: {error}"[:500]}
        seconds = time.perf_counter() - started
        answer = {"run": number, "seconds": seconds, "ok": True, "message": "", **told}
        self.say("done", **answer, **self._counted())
        self._told = dict(self.gauge.counts)

    def _counted(self) -> Json:
        counts = {what: now - self._told[what] for what, now in self.gauge.counts.items()}
        return {**counts, "texts": sorted(self.gauge.texts)}

    def _read(self) -> None:
        for line in sys.stdin:
            order = json.loads(line)
            if order["op"] == "continue":
                self.gauge.go_on()
            else:
                self._orders.put(order)
        self._orders.put(None)


def serve(open_system: Callable[[Setup, Gauge], Any]) -> None:
    """Serve a system whose runs are calls: `open_system` gives what has `index()`, `split()` and
    `about()`; it may be opened again, on another state, in the same process."""
    wire = Wire()
    system: Any = None
    for order in wire.orders():
        match order["op"]:
            case "open":
                wire.gauge.texts.clear()
                system = open_system(Setup(**order["setup"]), wire.gauge)
                wire.say("opened", **system.about())
            case "index":
                wire.run(order, system.index)
            case "split":
                wire.say("split", chunks=system.split())


def documents(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Id and text of each document, lazily, as a loader written for this source would.

    Raises:
        OSError: the file or the server fails; an HTTP status that is an error is one.
    """
    records = _pages(source) if "url" in source else _lines(Path(source["path"]))
    for record in records:
        yield record["id"], text_of(record)


def text_of(record: Mapping[str, Any]) -> str:
    """Title and abstract, a line each, as celeriac renders them."""
    return "\n".join(part for part in (record["title"], record["abstract"]) if part.strip())


def _lines(path: Path) -> Iterator[Json]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _pages(source: Mapping[str, Any]) -> Iterator[Json]:
    """Numbered pages, the last of which is short."""
    number, size = 1, source["page_size"]
    while True:
        query = f"?pageNumber={number}&pageSize={size}"
        with urllib.request.urlopen(source["url"] + query, timeout=30) as answer:
            page = json.load(answer)
        yield from page
        if len(page) < size:
            return
        number += 1


def _private_stdout() -> TextIO:
    """Stdout for the wire alone; whatever else prints goes to stderr."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return private
