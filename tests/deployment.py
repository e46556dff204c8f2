"""celeriac as its users run it: standalone, or API, workers and beat as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).resolve().parent.parent
API_KEY = "celeriac_test_key"
START_TIMEOUT = 120.0
STOP_TIMEOUT = 90.0

Json = dict[str, Any]


@dataclass
class Process:
    """One process of ours, its output in a file."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    popen: subprocess.Popen[bytes] | None = None
    _logged: int = 0
    """Bytes of its log from before its last start."""

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._logged = output.tell()
            self.popen = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environment, stdout=output, stderr=output
            )

    @property
    def alive(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def running(self) -> subprocess.Popen[bytes]:
        assert self.popen is not None, f"{self.name} was not started"
        return self.popen

    def kill(self) -> None:
        """End it at once, as the kernel's out-of-memory killer would."""
        self.running().kill()
        self.running().wait()

    def stop(self) -> int:
        """Ask it to end and wait; its exit status."""
        process = self.running()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop:\n{self.tail()}") from None

    def logged(self) -> list[str]:
        """What it has logged since its last start."""
        return self.log.read_bytes()[self._logged :].decode(errors="replace").splitlines()

    def await_logged(self, words: str, seconds: float) -> None:
        """Return once it has logged these words since its last start."""
        deadline = time.monotonic() + seconds
        while not any(words in line for line in self.logged()):
            assert time.monotonic() < deadline, f"{self.name} did not log {words!r}:\n{self.tail()}"
            time.sleep(0.05)

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


@dataclass
class Service:
    """A running celeriac and a client that speaks to it."""

    url: str
    client: httpx.Client
    processes: dict[str, Process] = field(default_factory=dict)

    def await_ready(self) -> None:
        """Wait until it answers and all it depends on does."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            for process in self.processes.values():
                assert process.running().poll() is None, f"{process.name} ended:\n{process.tail()}"
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/readyz").status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"celeriac did not start:\n{self.logs()}")

    def restart_ended(self) -> None:
        """Start again what ended by itself, as a restart policy does."""
        for process in self.processes.values():
            if process.popen is not None and process.popen.poll() not in (None, 0):
                process.start()

    def logs(self) -> str:
        return "\n\n".join(f"{one.name}:\n{one.tail()}" for one in self.processes.values())

    def request_reindex(self, tenant: str, entity_type: str) -> str:
        """The path of the job that a reindex request leads to."""
        answer = self.client.post(f"/ai-rag-indexer/{tenant}/{entity_type}/reindex")
        assert answer.status_code == 204, answer.text
        location: str = answer.headers["Location"]
        return location

    def reindex(self, tenant: str, entity_type: str, timeout: float = 600) -> Json:
        """Reindex and wait; the job resource at the end."""
        return self.await_job(self.request_reindex(tenant, entity_type), timeout)

    def await_job(self, location: str, timeout: float = 600) -> Json:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            job = self.job(location)
            if job["state"] not in ("queued", "running"):
                return job
            time.sleep(0.1)
        raise AssertionError(f"the job did not end: {self.job(location)}\n{self.logs()}")

    def job(self, location: str) -> Json:
        answer = self.client.get(location)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def check(self, tenant: str, entity_type: str, kind: str, timeout: float = 300) -> Json:
        """A plan or an audit, once a worker has made it."""
        path = f"/ai-rag-indexer/{tenant}/{entity_type}/checks"
        answer = self.client.post(path, json={"kind": kind})
        assert answer.status_code == 202, answer.text
        deadline = time.monotonic() + timeout
        while (found := self.job(answer.headers["Location"]))["state"] in ("waiting", "running"):
            assert time.monotonic() < deadline, f"{found}\n{self.logs()}"
            time.sleep(0.1)
        return found

    def search(
        self, tenant: str, entity_type: str, text: str, top_k: int = 10, **body: Any
    ) -> list[Json]:
        answer = self.client.post(
            f"/ai-rag-indexer/{tenant}/{entity_type}/search",
            json={"text": text, "top_k": top_k, **body},
        )
        assert answer.status_code == 200, answer.text
        hits: list[Json] = answer.json()["hits"]
        return hits


def keys(service: Service, *arguments: str) -> Any:
    """What `celeriac keys` answers beside a standalone celeriac."""
    answer = subprocess.run(
        [sys.executable, "-m", "celeriac.cli", "keys", *arguments, "--json"],
        env=dict(service.processes["standalone"].environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(answer.stdout)


def write_configuration(folder: Path, tenants: Mapping[str, Mapping[str, Json]]) -> Path:
    """A configuration file with these entity types by tenant and name."""
    path = folder / "celeriac.yaml"
    declared = {tenant: {"entity_types": dict(types)} for tenant, types in tenants.items()}
    path.write_text(yaml.safe_dump({"tenants": declared}), encoding="utf-8")
    return path


def injection(**variables: str) -> dict[str, str]:
    """The environment in which workers load `faults/injection`; its variables without prefix."""
    paths = (ROOT / "src", ROOT, ROOT / "tests" / "faults" / "injection")
    return {
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths),
        **{f"CELERIAC_TEST_{name}": value for name, value in variables.items()},
    }


@contextlib.contextmanager
def standalone(folder: Path, configuration: Path, **environment: str) -> Iterator[Service]:
    """`make up`, its data under `folder`."""
    port = _free_port()
    variables = _environment(
        configuration,
        CELERIAC_HOME=str(folder / "home"),
        CELERIAC_PORT=str(port),
        **environment,
    )
    process = Process(
        "standalone",
        [sys.executable, "-m", "api.standalone"],
        variables,
        folder / "standalone.log",
    )
    with _running(f"http://127.0.0.1:{port}", [process]) as service:
        yield service


@contextlib.contextmanager
def deployment(
    folder: Path,
    configuration: Path,
    *,
    redis_url: str,
    database_url: str,
    qdrant_url: str,
    workers: int = 2,
    **environment: str,
) -> Iterator[Service]:
    """API behind gunicorn, workers and beat, on servers that the caller runs."""
    port = _free_port()
    variables = _environment(
        configuration,
        CELERIAC_REDIS_URL=redis_url,
        CELERIAC_DATABASE_URL=database_url,
        CELERIAC_QDRANT_URL=qdrant_url,
        **environment,
    )
    celery = [sys.executable, "-m", "celery", "-A", "workers"]
    commands = {
        "api": [
            *(sys.executable, "-m", "gunicorn", "api:create_app()"),
            *("--bind", f"127.0.0.1:{port}", "--threads", "32"),
        ],
        "beat": [*celery, "beat", "--loglevel", "INFO"],
    }
    for number in range(workers):
        name = f"worker-{number}"
        commands[name] = [*celery, "worker", "--loglevel", "INFO", "-n", f"{name}@localhost"]
    processes = [
        Process(name, command, variables, folder / f"{name}.log")
        for name, command in commands.items()
    ]
    with _running(f"http://127.0.0.1:{port}", processes) as service:
        yield service


@contextlib.contextmanager
def _running(url: str, processes: list[Process]) -> Iterator[Service]:
    headers = {"x-api-key": API_KEY}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        service = Service(url, client, {process.name: process for process in processes})
        try:
            for process in processes:
                process.start()
            service.await_ready()
            yield service
        finally:
            _stop(processes)


def _stop(processes: list[Process]) -> None:
    """End them all, whatever becomes of one."""
    started = [process for process in processes if process.popen is not None]
    for process in started:
        if process.running().poll() is None:
            process.running().send_signal(signal.SIGTERM)
    for process in started:
        process.stop()


def _environment(configuration: Path, **variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if "CELERIAC" not in name}
    return {
        **inherited,
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "HF_HUB_OFFLINE": "1",
        "CELERIAC_CONFIG": str(configuration),
        "CELERIAC_TOKEN_BUDGET": "1024",  # or each new home would measure it
        "CELERIAC_API_KEY": API_KEY,
        **variables,
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
