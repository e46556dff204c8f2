"""A driver as a child process: ordered about, listened to, killed."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.against.drivers.wire import Json, Setup

STOP_SECONDS = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


class NotPlayed(Exception):
    """A scenario could not be played to its end; the message says why."""


class DriverFailed(NotPlayed):
    """A driver ended by itself or took too long; the message ends with what it said last."""


@dataclass(frozen=True)
class Run:
    """How one run of a system ended."""

    ok: bool
    """Whether the system says that it succeeded."""
    message: str
    seconds: float
    cpu: float
    """Processor seconds of the process and its children."""
    embedded: int
    """Chunks that went through the model."""
    written: int
    """Points sent to Qdrant."""
    peak: int
    """Bytes of memory the process and its children held at most during the run."""
    counters: Mapping[str, int] = field(default_factory=dict)
    served: Mapping[str, str] | None = None
    """Where a search would read."""
    profile: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Seconds of each stage, summed over threads: by the clock, and of the processor."""


class Driver:
    """One process of a system."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        left: Callable[[], float],
    ) -> None:
        """`left` says how many seconds the driver may take for what it is at."""
        self._log = log
        self._left = left
        self._spawned = time.perf_counter()
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                process_group=0,  # Ctrl-C ends the benchmark, and it ends its drivers
            )
        self._runs = 0
        self._cpu_before: dict[int, float] = {}
        self.texts: set[str] = set()
        """Digests of the texts that were embedded since it was opened, as far as it told."""
        self._heard: queue.SimpleQueue[Json | None] = queue.SimpleQueue()
        self._unheard: list[Json] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.about: Json = {}
        """Versions, and threads that the model computes with."""
        self.startup = 0.0
        """Seconds from the process's start until it was ready, with the model loaded."""

    def open(self, setup: Setup) -> None:
        self.texts.clear()
        self._order(op="open", setup=asdict(setup))
        opened = self.await_event("opened")
        self.about = {name: opened[name] for name in ("versions", "threads")}
        self.startup = self.startup or time.perf_counter() - self._spawned

    def start(self, pause: Mapping[str, int] | None = None) -> int:
        """Begin a run; its number."""
        self._runs += 1
        self._cpu_before[self._runs] = self._cpu()
        for pid in self._family():
            _forget_peak(pid)
        self._order(op="index", run=self._runs, pause=pause)
        return self._runs

    def finish(self, number: int) -> Run:
        """Wait for the end of a run."""
        told = self.await_event("done", run=number)
        names = ("ok", "message", "seconds", "embedded", "written")
        return Run(
            **{name: told[name] for name in names},
            cpu=self._cpu() - self._cpu_before[number],
            peak=sum(_status(pid, "VmHWM") for pid in self._family()),
            counters=told.get("counters", {}),
            served=told.get("served"),
            profile=told.get("profile", {}),
        )

    def pauses(self, number: int) -> Mapping[str, int] | None:
        """Wait until the run pauses; what it counted by then, None where it ended instead."""
        event = self.await_event("paused", "done", run=number)
        if event["event"] == "paused":
            return {what: event[what] for what in ("embedded", "written")}
        self._unheard.append(event)
        return None

    def index(self) -> Run:
        return self.finish(self.start())

    def split(self) -> dict[str, list[str]]:
        self._order(op="split")
        chunks: dict[str, list[str]] = self.await_event("split")["chunks"]
        return chunks

    def go_on(self) -> None:
        self._order(op="continue")

    def await_event(self, *names: str, run: int | None = None) -> Json:
        """The next event of these names, of this run where one is given."""
        heard = next((one for one in self._unheard if _is(one, names, run)), None)
        if heard is not None:
            self._unheard.remove(heard)
            return heard
        while (event := self._hear(names)) is not None:
            self.texts.update(event.pop("texts", ()))
            if _is(event, names, run):
                return event
            self._unheard.append(event)
        raise DriverFailed(self._last_words("it ended"))

    def _hear(self, names: tuple[str, ...]) -> Json | None:
        try:
            return self._heard.get(timeout=self._left())
        except queue.Empty:
            told = f"it was not {' or '.join(names)} in time"
            raise DriverFailed(self._last_words(told)) from None

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._heard.put(json.loads(line))
        self._heard.put(None)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """As the kernel's out-of-memory killer would."""
        self._process.kill()
        self._process.wait()
        self._close()
        self._listener.join()

    def close(self) -> None:
        """Let it end by itself."""
        self._close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._listener.join()

    def _close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _order(self, **order: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise DriverFailed(self._last_words("it ended")) from None

    def _last_words(self, what: str) -> str:
        lines = self._log.read_text("utf-8", "replace").splitlines()[-10:]
        return "\n".join([f"{what}; its log ends with:", *lines])

    def _family(self) -> list[int]:
        return [self._process.pid, *_descendants(self._process.pid)]

    def _cpu(self) -> float:
        return sum(_cpu_seconds(pid) for pid in self._family())


def _is(event: Json, names: tuple[str, ...], run: int | None) -> bool:
    return event["event"] in names and run in (None, event.get("run"))


def _descendants(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += [int(child) for child in task.read_text().split()]
    return children + [one for child in children for one in _descendants(child)]


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _forget_peak(pid: int) -> None:
    """Have the kernel measure VmHWM anew (proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, name: str) -> int:
    """A size in /proc/PID/status, bytes."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0
