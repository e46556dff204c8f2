"""What a request costs: an accepted reindex beside a handler that publishes one Celery message.

    python -m benchmarks.requests [--rounds N] [--seconds N]

Both stand behind gunicorn, on the same Redis; celeriac has PostgreSQL and a Qdrant server, and the
client an API key, as in production. No worker runs: a job waits, and further requests join it, as
most do. One client asks, in turns of the one and the other, on one connection.

Then an open loop: requests are sent at times that were fixed beforehand, whatever becomes of those
before, and a latency counts from when a request was to be sent. Of 10 requests 6 are reindexes that
join a job, 1 makes a new one, 2 ask for a job, 1 for the filter metadata.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

import servers  # noqa: E402
from celery import Celery  # noqa: E402
from flask import Flask, Response  # noqa: E402

from celeriac.catalog import Catalog  # noqa: E402
from celeriac.catalog.indexes import index_id_of  # noqa: E402
from celeriac.security.principal import Scope  # noqa: E402
from workers.application import configuration  # noqa: E402

TENANT, TYPES = "acme", 2500
WARM_UP = 50
TURN = 200
"""Requests in a row of one kind."""
RATE = 200
"""Requests a second of the open loop."""
START_TIMEOUT = 60.0
TARGET = 3.0


def bare() -> Flask:
    """An application whose one handler publishes one Celery message."""
    app = Flask("bare", static_folder=None)
    celery = Celery("bare", set_as_current=False)
    celery.conf.update(configuration())

    @app.post("/reindex")
    def reindex() -> Response:
        celery.send_task("celeriac.start_job", kwargs={"job_id": "0" * 36}, queue="bare")
        return Response(status=204)

    return app


@dataclass
class Served:
    """An application behind gunicorn."""

    port: int
    pid: int

    @property
    def workers(self) -> list[Path]:
        """Their folders below /proc."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [Path("/proc", child) for child in children.split()]

    def cpu(self) -> float:
        """Seconds of the processor that its workers have had."""
        stats = [(one / "stat").read_text().rpartition(")")[2].split() for one in self.workers]
        return sum(int(one[11]) + int(one[12]) for one in stats) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> list[float]:
        """MiB of each worker that stay in memory."""
        pages = [int((one / "statm").read_text().split()[1]) for one in self.workers]
        return [one * os.sysconf("SC_PAGE_SIZE") / 2**20 for one in pages]


@contextlib.contextmanager
def gunicorn(
    application: str, folder: Path, environment: Mapping[str, str], *options: str
) -> Iterator[Served]:
    (port,) = servers.free_ports(1)
    command = [
        *(sys.executable, "-m", "gunicorn", application, "--bind", f"127.0.0.1:{port}"),
        *options,
        *("--workers", "2", "--worker-class", "gthread", "--threads", "8", "--keep-alive", "30"),
    ]
    path = f"{ROOT / 'src'}:{ROOT}"
    with (folder / f"{application.partition(':')[0]}.log").open("wb") as log:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment, "PYTHONPATH": path},
            stdout=log,
            stderr=log,
        )
    try:
        _await_port(port)
        yield Served(port, started.pid)
    finally:
        started.terminate()
        started.wait(60)


def _await_port(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            return
        if time.monotonic() > deadline:
            raise SystemExit("gunicorn does not answer")
        time.sleep(0.1)


@dataclass
class Turns:
    """One way to ask, and what it has cost so far."""

    name: str
    served: Served
    paths: Iterator[str]
    headers: Mapping[str, str]
    latencies: list[float]
    """Seconds by the clock."""
    cpu: list[float]
    """Seconds of the processor a request, one figure a turn."""

    def take(self, count: int = TURN) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=30)
        before = self.served.cpu()
        for _ in range(count):
            path = next(self.paths)
            started = time.perf_counter()
            connection.request("POST", path, headers=dict(self.headers))
            answer = connection.getresponse()
            answer.read()
            self.latencies.append(time.perf_counter() - started)
            assert answer.status == 204, answer.status
        self.cpu.append((self.served.cpu() - before) / count)
        connection.close()

    def forget(self) -> None:
        self.latencies.clear()
        self.cpu.clear()

    @property
    def median(self) -> float:
        return statistics.median(self.latencies) * 1000

    @property
    def processor(self) -> float:
        return statistics.median(self.cpu) * 1000


def reindex(number: int) -> str:
    return f"/ai-rag-indexer/{TENANT}/type{number}/reindex"


def compare(api: Served, plain: Served, key: str, rounds: int) -> bool:
    """Print the medians of turns A B A B and their ratio; whether the target is met."""
    headers = {"x-api-key": key}
    joined = iter(lambda: reindex(0), None)
    first = map(reindex, range(1, TYPES))
    ways = [
        Turns("bare handler", plain, iter(lambda: "/reindex", None), {}, [], []),
        Turns("reindex, joins a job", api, joined, headers, [], []),
        Turns("reindex, a new job", api, first, headers, [], []),
    ]
    for way in ways:
        way.take(WARM_UP)
        way.forget()
    for _ in range(rounds):
        for way in ways:
            way.take()
    print(f"{'':22}{'median':>10}{'ratio':>8}{'processor':>12}{'ratio':>8}   a request, in ms")
    base = ways[0]
    for way in ways:
        print(
            f"{way.name:22}{way.median:10.2f}{way.median / base.median:8.2f}"
            f"{way.processor:12.2f}{way.processor / base.processor:8.2f}"
        )
    return ways[1].median <= TARGET * base.median


class Connections:
    """HTTP/1.1 on connections that are kept: next to nothing, so that the client costs little."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1\r\nx-api-key: {key}\r\nContent-Length: 0\r\n\r\n"
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def ask(self, method: str, path: str) -> tuple[int, str]:
        """Status and head of the answer."""
        streams = self._idle.popleft() if self._idle else None
        reader, writer = streams or await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if found := re.search(r"content-length: (\d+)", head, re.IGNORECASE):
            await reader.readexactly(int(found[1]))
        self._idle.append((reader, writer))
        return int(head.split(" ", 2)[1]), head

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


@dataclass
class Loop:
    """An open loop of requests."""

    served: Served
    key: str
    seconds: int
    latencies: list[float]
    errors: list[str]
    job: str = ""

    def request(self, number: int) -> tuple[str, str]:
        """Method and path of a request, in the mix that is said above."""
        match number % 10:
            case 0 | 5:
                return "GET", self.job
            case 3:
                return "GET", f"/ai-rag-indexer/{TENANT}/type0/filter-metadata"
            case 7:
                return "POST", reindex(TYPES - 1 - number // 10)
        return "POST", reindex(number % 3)

    async def run(self) -> list[list[float]]:
        """The workers' memory before, at half and after."""
        connections = Connections(self.served.port, self.key)
        _, head = await connections.ask("POST", reindex(0))
        self.job = re.findall(r"location: (\S+)", head, re.IGNORECASE)[0]
        memory = [self.served.rss()]
        tasks, started = [], time.perf_counter()
        for number in range(RATE * self.seconds):
            intended = started + number / RATE
            await asyncio.sleep(max(0.0, intended - time.perf_counter()))
            tasks.append(asyncio.create_task(self.send(connections, number, intended)))
            if number == RATE * self.seconds // 2:
                memory.append(self.served.rss())
        await asyncio.gather(*tasks)
        connections.close()
        return [*memory, self.served.rss()]

    async def send(self, connections: Connections, number: int, intended: float) -> None:
        method, path = self.request(number)
        try:
            status, _ = await connections.ask(method, path)
        except (OSError, EOFError) as error:
            self.errors.append(f"{method} {path}: {error!r}")
            return
        self.latencies.append(time.perf_counter() - intended)
        if status not in (200, 204):
            self.errors.append(f"{method} {path}: {status}")


def load(api: Served, key: str, seconds: int) -> bool:
    """Print latencies, errors and memory under the open loop; whether there were no errors."""
    loop = Loop(api, key, seconds, [], [])
    before = api.cpu()
    memory = asyncio.run(loop.run())
    cuts = statistics.quantiles(loop.latencies, n=1000)
    figures = {"median": cuts[499], "95 %": cuts[949], "99 %": cuts[989], "99.9 %": cuts[998]}
    print(
        f"\n{RATE} requests a second for {seconds} s: {len(loop.errors)} errors", *loop.errors[:3]
    )
    print("latency in ms: " + ", ".join(f"{k} {v * 1000:.1f}" for k, v in figures.items()))
    print(f"processor: {(api.cpu() - before) / seconds:.2f} of a core")
    for name, rss in zip(("before", "at half", "after"), memory, strict=True):
        print(f"memory {name:8}" + " ".join(f"{one:7.1f} MiB" for one in rss))
    return not loop.errors


def settings(folder: Path, redis: str, database: str, qdrant: str) -> dict[str, str]:
    """The environment of both applications; many types, none of which is ever listed."""
    declared = {
        f"type{number}": {
            "source": {"kind": "files", "path": "nothing.jsonl"},
            "text_fields": ["text"],
            "index": {"model": "stub"},
        }
        for number in range(TYPES)
    }
    security = {"requests_per_minute": 60 * 100_000}
    document: dict[str, Any] = {"tenants": {TENANT: {"entity_types": declared}}}
    path = folder / "celeriac.yaml"
    path.write_text(yaml.safe_dump({**document, "security": security}), "utf-8")
    return {
        "CELERIAC_CONFIG": str(path),
        "CELERIAC_REDIS_URL": redis,
        "CELERIAC_DATABASE_URL": database,
        "CELERIAC_QDRANT_URL": qdrant,
    }


def new_key(database: str) -> str:
    """A key of a catalog in which every type has been indexed before."""
    catalog = Catalog(database)
    catalog.migrate()
    for number in range(TYPES):
        name = f"type{number}"
        job = catalog.requests.queue(index_id_of(TENANT, name), TENANT, name).job
        catalog.jobs.cancel(job.id)
    _, secret = catalog.api_keys.create(tenants=[TENANT], scopes=list(Scope))
    catalog.close()
    return secret.reveal()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each kind")
    parser.add_argument("--seconds", type=int, default=60, help="of the open loop; 0: none")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(servers.redis(folder)).url
        database = stack.enter_context(servers.postgres(folder)).url
        qdrant = stack.enter_context(servers.qdrant(folder)).url
        key = new_key(database)
        environment = settings(folder, redis, database, qdrant)
        api = stack.enter_context(gunicorn("api:create_app()", folder, environment))
        # gunicorn.conf.py is about celeriac's own application.
        plain = stack.enter_context(
            gunicorn("benchmarks.requests:bare()", folder, environment, "--config", os.devnull)
        )
        met = compare(api, plain, key, arguments.rounds)
        if arguments.seconds:
            met = load(api, key, arguments.seconds) and met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
