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
JOB_TIMEOUT = 900.0
SEARCH_TIMEOUT = 180.0
"""Seconds for the first search: where nothing had to be embedded, the model is loaded for it."""

console = Console(highlight=False)


def main() -> int:
    """Run the demo; the exit status."""
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
    )
    try:
        yield await_ready(f"http://127.0.0.1:{port}", process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=90)


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
    deadline = time.monotonic() + JOB_TIMEOUT
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("indexing", total=100, rate="")
        while time.monotonic() < deadline:
            job: dict[str, Any] = client.get(accepted.headers["Location"]).raise_for_status().json()
            rate = f"{job['rates']['tokens_per_second']:,.0f} tokens/s"
            progress.update(bar, completed=job["progress_percentage"], rate=rate)
            if job["state"] not in ("queued", "running"):
                return job
            time.sleep(0.25)
    raise SystemExit(f"The job did not end within {JOB_TIMEOUT:.0f} s.")


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
    while True:
        answer = client.post("/ai-rag-indexer/demo/jargon/search", json=body)
        if "Retry-After" not in answer.headers or time.monotonic() > deadline:
            hits: list[dict[str, Any]] = answer.raise_for_status().json()["hits"]
            return hits
        time.sleep(float(answer.headers["Retry-After"]))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
