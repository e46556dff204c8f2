"""The stages of a page's work, and the time that each of them took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """What a worker does with a page."""

    LIST = "list"
    """Fetching it from the source; items are entities."""
    LOAD = "load"
    """Making the model ready, where a process has not yet: from its files into memory, and measured
    the first time; items are models."""
    CHUNK = "chunk"
    """Cutting texts; items are chunks."""
    EMBED = "embed"
    """Computing vectors; items are chunks."""
    WRITE = "write"
    """Writing to the store; items are chunks."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What went through a stage, and how long it took there."""

    items: int = 0
    seconds: float = 0.0

    def __add__(self, other: Timing) -> Timing:
        return Timing(self.items + other.items, self.seconds + other.seconds)


class Step:
    """One go at a stage; whoever takes it says how many items came of it."""

    items = 0


class Stages:
    """Times the stages of one page, in one thread; `timed` is told of each go at one, and `span`
    gives what is held meanwhile."""

    def __init__(
        self,
        timed: Callable[[Stage, Timing], None] | None = None,
        span: Callable[[str], AbstractContextManager[None]] | None = None,
    ) -> None:
        self._timed = timed
        self._span = span
        self._timings: dict[Stage, Timing] = {}

    @contextmanager
    def time(self, stage: Stage) -> Iterator[Step]:
        """Time the block, whether or not it succeeds."""
        step, begun = Step(), time.perf_counter()
        try:
            with self._span(stage) if self._span else nullcontext():
                yield step
        finally:
            timing = Timing(step.items, time.perf_counter() - begun)
            self._timings[stage] = self._timings.get(stage, Timing()) + timing
            if self._timed is not None:
                self._timed(stage, timing)

    def take(self) -> Mapping[Stage, Timing]:
        """What was timed since this was asked last."""
        taken, self._timings = self._timings, {}
        return taken
