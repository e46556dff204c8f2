"""Drivers of benchmarks/against: one that ends or is silent for too long fails, and says so."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.against.process import Driver, DriverFailed

Start = Callable[[str, float], Driver]
LONG = 600.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a driver that runs this Python code, with so many seconds left at any time."""
    with ExitStack() as stack:

        def started(code: str, left: float) -> Driver:
            command = [sys.executable, "-c", code]
            driver = Driver(command, dict(os.environ), tmp_path / "log", lambda: left)
            stack.callback(driver.kill)
            return driver

        yield started


def test_an_event_is_awaited_past_others(start: Start) -> None:
    driver = start("""print('{"event": "queued"}\\n{"event": "done", "run": 1}')""", LONG)

    assert driver.await_event("done", run=1) == {"event": "done", "run": 1}
    assert driver.await_event("queued") == {"event": "queued"}


def test_a_driver_that_ends_fails_with_its_last_words(start: Start) -> None:
    driver = start("import sys; sys.exit('no such model')", LONG)

    with pytest.raises(DriverFailed, match="it ended; its log ends with:\nno such model"):
        driver.await_event("done")


def test_a_driver_that_says_nothing_in_time_fails(start: Start) -> None:
    driver = start("import sys; sys.stdin.read()", 0.0)

    with pytest.raises(DriverFailed, match="it was not done in time"):
        driver.await_event("done")
