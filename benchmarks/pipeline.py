"""The whole pipeline without a model: fetch, chunk, compare, write, verify, with the stub embedder.

    PYTHONPATH=src:tests python -m benchmarks.pipeline [--copies N] [--dimension N] [--page-size N]
    PYTHONPATH=src:tests python -m benchmarks.pipeline --million [--entities N]

The CACM collection, so many times over, goes from a JSONL file into a new collection of a Qdrant
server, through jobs as a worker runs them: the page's threads share one runtime, the catalog is
SQLite, Redis has the progress. What a process opens or loads once is not counted. A second job
finds everything unchanged but for one entity that is new, so it lists the source; a third one finds
the source as it was. Each figure is the median of its rounds, each round a process of its own.

Stages are what one thread needs, for then they add up: milliseconds by the clock and of the
processor, for 1,000 chunks of a dimension and for 1,000 entities of the second job. The clock's has
the waiting for servers, which several threads share. A stage's time is its own, without that of
those it calls. They are timed in runs of their own: timing takes a tenth of the time.

`--million` goes three times through a million small entities of vectors of 8 dimensions, and prints
the memory of the worker's process by the entities listed.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import servers
import yaml

from benchmarks._stopwatch import Spent, Stopwatch, stages
from celeriac.catalog.jobs import Job, JobState
from celeriac.chunking import Chunker
from celeriac.embedding.stub import StubEmbedder
from celeriac.finish import Finisher
from celeriac.jobs import JobRunner, request_job
from celeriac.paging import PageRunner
from celeriac.runtime import Runtime
from celeriac.settings import Settings
from workers.process import collect_seldom

DATA = Path(__file__).parents[1] / "tests" / "data" / "cacm" / "documents.jsonl"
TENANT, NAME = "acme", "article"
DIMENSIONS = (384, 1024)
SMALL_DIMENSION, SMALL_PAGE = 8, 1000
"""Of the million small entities."""
SAMPLES = 20
"""Of the memory of a job, at equal parts of the entities."""
INTERVAL = 0.5
"""Seconds between two looks at what the job has listed."""
THREADS = (1, 4)
"""One, for the stages, and as many as a worker has."""
STAGES = stages({"embed (stub)": [(StubEmbedder, "embed")]})
REST = "everything else"

Rounds = dict[tuple[int, int], list[dict[str, Any]]]
"""What was measured, by dimension and threads."""
RoundsInStages = dict[int, list[dict[str, Any]]]
"""By dimension."""


class Messages(queue.SimpleQueue[tuple[str, str, int] | None]):
    """A dispatcher whose messages threads of this process take."""

    def start_job(self, job_id: str) -> None:
        self.put(("start", job_id, 0))

    def index_page(self, job_id: str, number: int, **_: float) -> None:
        self.put(("page", job_id, number))

    def finish_job(self, job_id: str, **_: float) -> None:
        self.put(("finish", job_id, 0))


def reindex(runtime: Runtime, threads: int) -> tuple[Job, Spent]:
    """One job, run by so many threads; the job at its end, and what it took."""
    messages = Messages()
    started, cpu = time.perf_counter(), time.process_time()
    job = request_job(runtime, messages, TENANT, NAME).job
    workers = [threading.Thread(target=work, args=(runtime, messages)) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    spent = Spent(time.perf_counter() - started, time.process_time() - cpu)
    ended = runtime.catalog.jobs.get(job.id)
    assert ended is not None
    assert ended.state == JobState.SUCCEEDED, ended.message
    return ended, spent


def work(runtime: Runtime, messages: Messages) -> None:
    """Do as the messages say, until the job has ended."""
    jobs = JobRunner(runtime, messages)
    while (message := messages.get()) is not None:
        kind, job_id, number = message
        match kind:
            case "start":
                jobs.start(job_id)
            case "page":
                PageRunner(runtime, messages, jobs).run(job_id, number)
            case "finish":
                Finisher(runtime, messages, jobs).run(job_id)
                messages.put(None)
    messages.put(None)


def prepared() -> Runtime:
    """As a worker's process is, once it has opened what it works with."""
    collect_seldom()
    runtime = Runtime(Settings.load())
    runtime.catalog.ping()
    runtime.store.ping()
    runtime.redis.ping()
    spec = runtime.entity_type(TENANT, NAME).spec
    Chunker(spec.splitting, runtime.counter(spec.model)).split("one text")
    return runtime


def child(threads: int) -> None:
    """The jobs, measured in this process; prints JSON."""
    runtime = prepared()
    (first, whole), (second, again), (third, asked) = in_a_row(runtime, threads)
    measured = {
        "entities": first.counters.listed,
        "chunks": first.counters.chunks,
        "chunks_per_second": first.counters.chunks / whole.clock,
        "microseconds_a_chunk": whole.cpu / first.counters.chunks * 1e6,
        "unchanged_per_second": second.counters.unchanged / again.clock,
        "microseconds_unchanged": again.cpu / second.counters.unchanged * 1e6,
        "unlisted_per_second": third.counters.unchanged / asked.clock,
        "microseconds_unlisted": asked.cpu / third.counters.unchanged * 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(measured))


def child_in_stages() -> None:
    """The first two jobs in one thread, stage by stage; prints JSON."""
    watch = Stopwatch(STAGES)
    watch.watch()
    runtime = prepared()
    taken = []
    (first, whole), (second, again), _ = in_a_row(runtime, 1, lambda: taken.append(watch.take()))
    stages_of_first, stages_of_second, _ = taken
    measured = {
        "stages": per_thousand(stages_of_first, whole, first.counters.chunks),
        "stages_unchanged": per_thousand(stages_of_second, again, second.counters.listed),
    }
    print(json.dumps(measured))


def in_a_row(
    runtime: Runtime, threads: int, after_each: Callable[[], object] = lambda: None
) -> list[tuple[Job, Spent]]:
    """A first job, one that finds one entity more, and one that finds the source as it was."""
    first = reindex(runtime, threads)
    after_each()
    add_one(runtime)
    second = reindex(runtime, threads)
    after_each()
    third = reindex(runtime, threads)
    after_each()
    runtime.close()
    sound = first[0].counters.listed - first[0].counters.failed
    assert (second[0].counters.unchanged, second[0].counters.indexed) == (sound, 1)
    return [first, second, third]


def add_one(runtime: Runtime) -> None:
    """Have the source list one entity more: it is listed again, then."""
    source = Path(runtime.entity_type(TENANT, NAME).source["path"])
    with source.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"id": str(uuid.uuid4()), "title": "One more"}) + "\n")


def watched(entities: int, threads: int) -> None:
    """The jobs over the small entities; prints this process's memory as they go."""
    runtime = prepared()
    print(f"{'job':10}{'listed':>10}{'seconds':>9}{'entities/s':>12}{'RSS, MB':>9}", flush=True)
    for kind in ("first", "unchanged", "unlisted"):
        over = threading.Event()
        arguments = (runtime, kind, entities // SAMPLES, over)
        sampler = threading.Thread(target=sample_memory, args=arguments)
        sampler.start()
        try:
            job, _ = reindex(runtime, threads)
        finally:
            over.set()
            sampler.join()
        assert job.counters.listed == entities + (kind != "first"), job.counters
        if kind == "first":
            add_one(runtime)
    runtime.close()


def sample_memory(runtime: Runtime, kind: str, step: int, over: threading.Event) -> None:
    """Print the memory whenever another `step` entities are listed, and at the end."""
    started, following, ended = time.perf_counter(), 0, False
    while not ended:
        ended = over.wait(INTERVAL)
        (job, *_) = runtime.catalog.jobs.recent(limit=1) or [None]
        listed = 0 if job is None else job.counters.listed
        if listed < following and not ended:
            continue
        seconds = time.perf_counter() - started
        rate = listed / seconds
        print(
            f"{kind:10}{listed:>10,}{seconds:>9.0f}{rate:>12,.0f}{resident_mb():>9.0f}", flush=True
        )
        following = (listed // step + 1) * step


def resident_mb() -> float:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def per_thousand(stages: dict[str, Spent], whole: Spent, number: int) -> dict[str, list[float]]:
    """Milliseconds for 1,000, by the clock and of the processor, and what is in no stage."""
    rest = Spent(whole.clock, whole.cpu)
    for spent in stages.values():
        rest.add(spent, -1)
    return {
        name: [spent.clock / number * 1e6, spent.cpu / number * 1e6]
        for name, spent in {**stages, REST: rest}.items()
    }


def measure(
    qdrant: str, redis: str, declared: dict[str, Any], *options: str
) -> subprocess.CompletedProcess[str]:
    """One round in a process, a catalog and a collection of its own."""
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "celeriac.yaml"
        configuration.write_text(yaml.safe_dump(declared), encoding="utf-8")
        environment = {
            "PYTHONPATH": ":".join(sys.path),
            "CELERIAC_CONFIG": str(configuration),
            "CELERIAC_DATABASE_URL": f"sqlite:///{folder}/catalog.sqlite",
            "CELERIAC_REDIS_URL": redis,
            "CELERIAC_QDRANT_URL": qdrant,
        }
        command = [sys.executable, "-m", "benchmarks.pipeline", *options]
        captured = None if "--entities" in options else subprocess.PIPE
        done = subprocess.run(command, env=environment, stdout=captured, text=True, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        return done


def declaration(source: Path, dimension: int, page_size: int | None) -> dict[str, Any]:
    # Named anew each time: a collection belongs to a model's name, and it must not exist yet.
    model = f"stub-{dimension}-{uuid.uuid4().hex[:8]}"
    listing = {"page_size": page_size} if page_size else {}
    article = {
        "source": {"kind": "files", "path": str(source), "id": "id", **listing},
        "text_fields": ["title", "abstract"],
        "index": {"model": model, "chunk_size": 128, "chunk_overlap": 16},
    }
    described = {"engine": "stub", "dimension": dimension, "max_length": 512}
    return {
        "models": {model: described},
        "tenants": {TENANT: {"entity_types": {NAME: article}}},
    }


def copied(folder: Path, copies: int) -> Path:
    """The collection so many times over, under new ids."""
    path = folder / "documents.jsonl"
    records = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
    with path.open("w", encoding="utf-8") as lines:
        for number in range(copies):
            for record in records:
                lines.write(json.dumps({**record, "id": f"{record['id']}-{number}"}) + "\n")
    return path


def small(folder: Path, entities: int) -> Path:
    """So many entities of a few words each."""
    path = folder / "small.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for number in range(entities):
            title = f"Celeriac number {number}, of a million that are much like it."
            lines.write(json.dumps({"id": str(number), "title": title}) + "\n")
    return path


def report(rounds: Rounds) -> None:
    print(
        f"{'dimension':>9} {'threads':>8} {'chunks/s':>10} {'CPU us each':>12} "
        f"{'unchanged/s':>12} {'CPU us each':>12} {'unlisted/s':>12} {'CPU us each':>12} "
        f"{'peak MB':>8}"
    )
    for (dimension, threads), measured in rounds.items():
        chunks, each, unchanged, each_unchanged, unlisted, each_unlisted, peak = (
            statistics.median(one[name] for one in measured)
            for name in (
                "chunks_per_second",
                "microseconds_a_chunk",
                "unchanged_per_second",
                "microseconds_unchanged",
                "unlisted_per_second",
                "microseconds_unlisted",
                "peak_mb",
            )
        )
        print(
            f"{dimension:>9} {threads:>8} {chunks:>10,.0f} {each:>12.0f} "
            f"{unchanged:>12,.0f} {each_unchanged:>12.0f} "
            f"{unlisted:>12,.0f} {each_unlisted:>12.0f} {peak:>8.0f}"
        )


def report_stages(rounds: RoundsInStages) -> None:
    """By the clock / of the processor."""
    columns = {f"chunks, {one}": (measured, "stages") for one, measured in rounds.items()}
    columns["unchanged entities"] = (next(iter(rounds.values())), "stages_unchanged")
    print(f"\n{'ms of one thread':18}" + "".join(f"{head:>20}" for head in columns))
    for stage in (*STAGES, REST):
        cells = ""
        for measured, kind in columns.values():
            clock, cpu = (
                statistics.median(one[kind][stage][n] for one in measured) for n in (0, 1)
            )
            cells += f"{f'{clock:.1f} / {cpu:.1f}':>20}"
        print(f"{stage:18}{cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--copies", type=int, default=1, help="of the 3,204 documents")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page-size", type=int, help="entities on a page at most")
    parser.add_argument("--dimension", type=int, help=f"one, in place of {DIMENSIONS}")
    parser.add_argument("--threads", type=int, help=f"so many, in place of {THREADS}")
    parser.add_argument("--no-stages", action="store_true", help="speed alone")
    parser.add_argument("--million", action="store_true", help="memory over a million entities")
    parser.add_argument("--entities", type=int, default=1_000_000, help="with --million")
    parser.add_argument("--child", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    parser.add_argument("--child-in-stages", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child and arguments.million:
        watched(arguments.entities, arguments.child)
    elif arguments.child:
        child(arguments.child)
    elif arguments.child_in_stages:
        child_in_stages()
    elif arguments.million:
        measure_memory(arguments.entities)
    else:
        measure_speed(arguments)


def measure_memory(entities: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.qdrant(folder) as qdrant, servers.redis(folder) as redis:
            declared = declaration(small(folder, entities), SMALL_DIMENSION, SMALL_PAGE)
            options = ("--million", "--entities", str(entities), "--child", str(max(THREADS)))
            measure(qdrant.url, redis.url, declared, *options)


def measure_speed(arguments: argparse.Namespace) -> None:
    dimensions = [arguments.dimension] if arguments.dimension else DIMENSIONS
    threads = [arguments.threads] if arguments.threads else THREADS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.qdrant(folder) as qdrant, servers.redis(folder) as redis:
            source = copied(folder, arguments.copies)

            def measured(dimension: int, *options: str) -> dict[str, Any]:
                declared = declaration(source, dimension, arguments.page_size)
                found: dict[str, Any] = json.loads(
                    measure(qdrant.url, redis.url, declared, *options).stdout
                )
                return found

            rounds: Rounds = {(one, number): [] for one in dimensions for number in threads}
            in_stages: RoundsInStages = {one: [] for one in dimensions}
            for _ in range(arguments.rounds):
                for (dimension, number), found in rounds.items():
                    found.append(measured(dimension, "--child", str(number)))
                for dimension, timed in () if arguments.no_stages else in_stages.items():
                    timed.append(measured(dimension, "--child-in-stages"))
        some = next(iter(rounds.values()))[0]
        print(f"{some['entities']:,} entities, {some['chunks']:,} chunks of 128 tokens\n")
        report(rounds)
        if not arguments.no_stages:
            report_stages(in_stages)


if __name__ == "__main__":
    main()
