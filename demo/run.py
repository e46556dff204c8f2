"""make demo: start standalone, reindex the sample through the REST API, search it, stop."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).parent.parent
QUESTIONS = (
    "Why are defects in programs called bugs?",
    "code that nobody understands but that works",
    "how to pronounce punctuation characters",
)
START_TIMEOUT = 120.0
STOP_TIMEOUT = 90.0
STANDSTILL = 300.0
"""Seconds without any progress of the job after which it is given up; a slow machine may take
however long it needs."""
SEARCH_TIMEOUT = 180.0
"""Seconds for the first search: where nothing had to be embedded, the model is still loading."""

console = Console(highlight=False)


class Terminated(Exception):
    """SIGTERM came."""


def main() -> int:
    """Run the demo; the exit status."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return demonstrate()
    except httpx.HTTPError as error:
        console.print(f"celeriac answers no more ({error}); its messages above may say why.")
        return 1
    except (KeyboardInterrupt, Terminated) as reason:
        console.print("The demo was stopped; make demo goes on where this one ended.")
        return 128 + (signal.SIGTERM if isinstance(reason, Terminated) else signal.SIGINT)


def _terminate(*_: object) -> None:
    raise Terminated


def demonstrate() -> int:
    """Index the sample, report on it, search it; the exit status."""
    key = f"celeriac_{secrets.token_urlsafe(32)}"
    with standalone(key) as url, httpx.Client(base_url=url, timeout=30) as client:
        client.headers["x-api-key"] = key
        job = reindex(client)
        if job["state"] != "succeeded":
            console.print(f"[red]The job {job['state']}:[/red] {job['message']}")
            return 1
        report(job)
        for question in QUESTIONS:
            search(client, question)
    return 0


@contextmanager
def standalone(key: str) -> Iterator[str]:
    """A standalone celeriac of its own, on a free port; its data stays for the next time."""
    port = free_port()
    home = Path(os.environ.get("CELERIAC_HOME") or ".celeriac") / "demo"
    environment = {
        **os.environ,
        "CELERIAC_HOME": str(home),
        "CELERIAC_CONFIG": str(ROOT / "demo" / "celeriac.yaml"),
        "CELERIAC_PORT": str(port),
        "CELERIAC_API_KEY": key,
        "HF_HUB_OFFLINE": "1",
    }
    for name in ("CELERIAC_HOST", "CELERIAC_REDIS_URL", "CELERIAC_DATABASE_URL"):
        environment.pop(name, None)
    environment.pop("CELERIAC_QDRANT_URL", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "api.standalone"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C ends the demo, and the demo ends it
    )
    try:
        yield await_ready(f"http://127.0.0.1:{port}", process)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it; what it had in hand it gives back."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_ready(url: str, process: subprocess.Popen[bytes]) -> str:
    """The URL, once the service answers there."""
    deadline = time.monotonic() + START_TIMEOUT
    with console.status("starting celeriac: API, worker, beat, Redis, SQLite and Qdrant"):
        while time.monotonic() < deadline and process.poll() is None:
            try:
                httpx.get(f"{url}/healthz", timeout=2).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.2)
            else:
                console.print(f"celeriac runs at {url}")
                return url
    raise SystemExit("celeriac did not start; its messages above say why.")


def reindex(client: httpx.Client) -> dict[str, Any]:
    """Ask for a reindex and watch the job to its end."""
    accepted = client.post("/ai-rag-indexer/demo/jargon/reindex")
    accepted.raise_for_status()
    console.print(f"POST /ai-rag-indexer/demo/jargon/reindex -> {accepted.status_code}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    moved, before = time.monotonic(), None
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("indexing", total=100, rate="")
        while time.monotonic() - moved < STANDSTILL:
            job: dict[str, Any] = client.get(accepted.headers["Location"]).raise_for_status().json()
            rate = f"{job['rates']['tokens_per_second']:,.0f} tokens/s"
            progress.update(bar, completed=job["progress_percentage"], rate=rate)
            if job["state"] not in ("queued", "running"):
                return job
            if (done := so_far(job)) != before:
                moved, before = time.monotonic(), done
            time.sleep(0.25)
    raise SystemExit(standstill(job))


def so_far(job: dict[str, Any]) -> object:
    """What differs between two looks at a job exactly where it has moved."""
    stages = {name: stage["items"] for name, stage in job["stages"].items()}
    return job["state"], job["counters"], stages


def standstill(job: dict[str, Any]) -> str:
    """What is said of a job that does not move."""
    why = job["waiting"] or job["message"] or "its messages above may say why"
    return (
        f"The job has not moved for {STANDSTILL / 60:.0f} minutes ({why}); it is given up. What it "
        "has done is kept: make demo goes on where this one ended."
    )


def report(job: dict[str, Any]) -> None:
    """Say what the job did."""
    counters = job["counters"]
    if counters["listed"] == counters["unchanged"]:
        console.print(f"nothing changed: all {counters['unchanged']} entries are indexed already")
        return
    console.print(
        f"{counters['listed']} entries listed: {counters['indexed']} indexed, "
        f"{counters['unchanged']} unchanged, {counters['failed']} failed, "
        f"{counters['removed']} removed; {counters['chunks']} chunks, "
        f"{counters['embedded']} embedded"
    )


def search(client: httpx.Client, question: str) -> None:
    """Show the nearest entries to a question."""
    hits = find(client, {"text": question, "top_k": 3})
    console.print(f"\n[bold]{question}[/bold]")
    for hit in hits:
        text = re.sub(r"\s+", " ", hit["text"])
        line = f"  {hit['score']:.3f}  [cyan]{hit['entity_id']}[/cyan]  {escape(text)}"
        console.print(line, no_wrap=True, overflow="ellipsis")


def find(client: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The hits, asked for again as long as the answer says that it may come later."""
    deadline = time.monotonic() + SEARCH_TIMEOUT
    with console.status("searching; the first search waits for the model to be loaded"):
        while True:
            answer = client.post("/ai-rag-indexer/demo/jargon/search", json=body)
            if "Retry-After" not in answer.headers or time.monotonic() > deadline:
                hits: list[dict[str, Any]] = answer.raise_for_status().json()["hits"]
                return hits
            console.print("still loading the model; searching again")
            time.sleep(float(answer.headers["Retry-After"]))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
