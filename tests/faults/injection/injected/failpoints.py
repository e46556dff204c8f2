"""What tests ask of processes at named stages, by files in a folder that they share.

STAGE.kill   who is the first to reach the stage takes the file away and ends, as the kernel
             would end it
STAGE.hold   whoever reaches it adds a line to STAGE.held and waits until the file is gone
STAGE.log    whoever reaches it adds a line
NAME.switch  something is otherwise while the file is there; it may hold a value
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ENVIRONMENT = "CELERIAC_TEST_FAILPOINTS"
PATIENCE = 120.0
"""Seconds until a test that waits for a stage gives up."""


class Failpoints:
    """One folder of failpoints, as tests and processes see it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # The tests' side.

    def kill(self, stage: str) -> None:
        """Have one process end at the stage."""
        (self.folder / f"{stage}.kill").touch()

    def await_kill(self, stage: str) -> None:
        """Return once a process has ended at the stage."""
        self._await(lambda: not (self.folder / f"{stage}.kill").exists(), stage)

    @contextmanager
    def holding(self, stage: str) -> Iterator[None]:
        """Have processes wait at the stage until the block is left."""
        hold, held = self.folder / f"{stage}.hold", self.folder / f"{stage}.held"
        held.unlink(missing_ok=True)
        hold.touch()
        try:
            yield
        finally:
            hold.unlink(missing_ok=True)

    def await_held(self, stage: str, count: int = 1) -> None:
        """Return once so many threads wait at the stage."""
        self._await(lambda: len(self.held(stage)) >= count, stage)

    def held(self, stage: str) -> list[str]:
        """A line for each thread that has waited at the stage."""
        return _lines(self.folder / f"{stage}.held")

    def log(self, stage: str) -> None:
        """Have processes write down that they reach the stage."""
        (self.folder / f"{stage}.log").touch()

    def logged(self, stage: str) -> list[str]:
        """A line for each time that a process reached the stage."""
        return _lines(self.folder / f"{stage}.log")

    def await_logged(self, stage: str, pid: int) -> None:
        """Return once this process has reached the stage."""
        self._await(lambda: any(line.startswith(f"{pid} ") for line in self.logged(stage)), stage)

    def switch(self, name: str, value: object = "") -> None:
        (self.folder / f"{name}.switch").write_text(str(value))

    def clear(self) -> None:
        """Ask nothing any more."""
        for path in self.folder.iterdir():
            path.unlink(missing_ok=True)

    def _await(self, reached: Callable[[], bool], stage: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not reached():
            assert time.monotonic() < deadline, f"no process reached {stage!r}"
            time.sleep(0.02)

    # The processes' side.

    def reach(self, stage: str, note: str = "") -> None:
        """Do what is asked at the stage."""
        with suppress(FileNotFoundError):
            (self.folder / f"{stage}.kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (self.folder / f"{stage}.log").exists():
            _add(self.folder / f"{stage}.log", note)
        hold = self.folder / f"{stage}.hold"
        if hold.exists():
            _add(self.folder / f"{stage}.held", note)
            while hold.exists():
                time.sleep(0.02)

    def value(self, name: str) -> str | None:
        """The value of a switch; None where it is off."""
        try:
            return (self.folder / f"{name}.switch").read_text()
        except FileNotFoundError:
            return None


def _add(path: Path, note: str) -> None:
    # One write to a file opened for appending: lines of several processes do not mix.
    with path.open("a") as file:
        file.write(f"{os.getpid()} {note}\n")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []
