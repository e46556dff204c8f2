"""A thousand people who watch jobs, and the latency of ordinary requests meanwhile.

gunicorn with one process as gunicorn.conf.py has it, on a real Redis; the jobs' events are
published as workers publish them. How long an event takes to reach those who watch is measured too.

python benchmarks/watchers.py [--watchers 1000] [--jobs 1,100] [--seconds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import servers

from celeriac.catalog.indexes import index_id_of
from celeriac.catalog.jobs import Seen
from celeriac.model import Counters
from celeriac.runtime import Runtime
from celeriac.settings import Settings

ROOT = Path(__file__).parent.parent
KEY = "key"
PAUSE = 0.02
"""Seconds between two ordinary requests."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--jobs", default="1,100", help="watched at once, one run for each number")
    parser.add_argument("--events", type=float, default=20.0, help="a second, over all jobs")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--watch", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if arguments.watch:
        url, *jobs = arguments.watch
        asyncio.run(watch_all(url, jobs, arguments.watchers))
        return
    with tempfile.TemporaryDirectory() as folder, servers.redis(Path(folder)) as redis:
        environment = {
            "CELERIAC_HOME": folder,
            "CELERIAC_DATABASE_URL": f"sqlite:///{folder}/catalog.sqlite",
            "CELERIAC_REDIS_URL": redis.url,
            "CELERIAC_API_KEY": KEY,
        }
        runtime = Runtime(Settings.load(environment))
        with gunicorn(environment) as (url, process):
            for jobs in map(int, arguments.jobs.split(",")):
                measure(runtime, url, process, jobs, arguments)
        runtime.close()


def measure(
    runtime: Runtime,
    url: str,
    server: subprocess.Popen[bytes],
    count: int,
    arguments: argparse.Namespace,
) -> None:
    jobs = [running(runtime, f"type{number}") for number in range(count)]
    with publishing(runtime, jobs, arguments.events):
        show("nobody watches", latencies(url, jobs, arguments.seconds), server)
        command = [sys.executable, __file__, "--watchers", str(arguments.watchers)]
        command += ["--watch", url, *(one.job.id for one in jobs)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as watchers:
            assert watchers.stdout
            print(watchers.stdout.readline().decode().strip())
            title = f"{arguments.watchers} watch {count} jobs"
            show(title, latencies(url, jobs, arguments.seconds), server)
            found, _ = watchers.communicate(b"\n")
            print(found.decode().strip())


def running(runtime: Runtime, entity_type: str) -> Seen:
    """A job that runs, as a worker publishes it."""
    index_id = index_id_of("acme", entity_type)
    waiting = runtime.catalog.requests.queue(index_id, "acme", entity_type).job
    runtime.catalog.jobs.take_up(waiting.id)
    active = next(one for one in runtime.catalog.jobs.of_index(index_id) if one.started_at)
    seen = runtime.catalog.jobs.seen(active.id)
    assert seen is not None
    runtime.progress.start(seen)
    return seen


@contextmanager
def publishing(runtime: Runtime, jobs: Sequence[Seen], rate: float) -> Iterator[None]:
    """Publish so many events a second, of one job after the other."""
    stop = threading.Event()

    def publish() -> None:
        number = 0
        while not stop.wait(1 / rate):
            number += 1
            job_id = jobs[number % len(jobs)].job.id
            # What is counted is the time, so that whoever receives it knows how old it is.
            counted = Counters(listed=int(time.time() * 1000), tokens=number)
            runtime.progress.page(job_id, 0, counted, {})

    thread = threading.Thread(target=publish)
    thread.start()
    yield
    stop.set()
    thread.join()


def latencies(url: str, jobs: Sequence[Seen], seconds: float) -> dict[str, list[float]]:
    """Of polls and of requests that ask nobody, in milliseconds."""
    found: dict[str, list[float]] = {"GET /jobs/{id}": [], "GET /healthz": []}
    until = time.monotonic() + seconds
    with httpx.Client(base_url=url, headers={"x-api-key": KEY}, timeout=30) as client:
        number = 0
        while time.monotonic() < until:
            number += 1
            paths = (f"/jobs/{jobs[number % len(jobs)].job.id}", "/healthz")
            for name, path in zip(found, paths, strict=True):
                begin = time.perf_counter()
                client.get(path).raise_for_status()
                found[name].append((time.perf_counter() - begin) * 1000)
            time.sleep(PAUSE)
    return found


def show(title: str, found: dict[str, list[float]], server: subprocess.Popen[bytes]) -> None:
    for name, values in found.items():
        cuts = statistics.quantiles(values, n=100)
        print(
            f"{title:24} {name:16} {len(values):5} requests: median {cuts[49]:6.1f} ms, "
            f"p95 {cuts[94]:6.1f} ms, p99 {cuts[98]:6.1f} ms"
        )
    print(f"{title:24} memory of the API: {memory(server.pid):.0f} MB", flush=True)


def memory(master: int) -> float:
    """Resident megabytes of gunicorn's worker."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:
            continue
        if int(fields["PPid"]) == master:
            return int(fields["VmRSS"].split()[0]) / 1024
    return 0.0


@contextmanager
def gunicorn(environment: dict[str, str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    (port,) = servers.free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gunicorn", "api:create_app()", "--bind", f"127.0.0.1:{port}"]
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    variables = {**os.environ, **environment, "PYTHONPATH": paths}
    with subprocess.Popen(command, cwd=ROOT, env=variables) as process:
        try:
            await_answer(url)
            yield url, process
        finally:
            process.terminate()


def await_answer(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/healthz").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)


# The watchers, in a process of their own.


async def watch_all(url: str, jobs: Sequence[str], count: int) -> None:
    """Watch until a line comes on stdin, then tell what was received."""
    delays: list[float] = []
    open_streams: list[int] = []
    begin = time.monotonic()
    tasks = [
        asyncio.create_task(watch(url, jobs[number % len(jobs)], delays, open_streams))
        for number in range(count)
    ]
    while len(open_streams) < count and time.monotonic() < begin + 60:
        await asyncio.sleep(0.05)
    print(f"{len(open_streams)} streams open after {time.monotonic() - begin:.1f} s", flush=True)
    delays.clear()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    ended = sum(task.done() for task in tasks)
    cuts = statistics.quantiles(delays, n=100)
    print(
        f"{len(delays)} events received, median {cuts[49]:.0f} ms old, p99 {cuts[98]:.0f} ms; "
        f"{ended} streams ended",
        flush=True,
    )
    for task in tasks:
        task.cancel()


async def watch(url: str, job_id: str, delays: list[float], open_streams: list[int]) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: {host}\r\nx-api-key: {KEY}\r\n\r\n".encode()
    )
    kind = b""
    while line := await reader.readline():
        if line.startswith(b"retry: 1000"):
            open_streams.append(1)
        elif line.startswith(b"event: "):
            kind = line[7:].strip()
        elif line.startswith(b"data: ") and kind == b"progress":
            sent = json.loads(line[6:])["counters"]["listed"]
            delays.append(time.time() * 1000 - sent)


if __name__ == "__main__":
    main()
