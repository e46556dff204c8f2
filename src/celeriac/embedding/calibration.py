"""How many batches are computed beside each other, and how many tokens each has: measured on the
machine at hand, once, and remembered in a file."""

from __future__ import annotations

import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

from celeriac.model import digest_of

SECONDS = 4.0
"""No further batch is begun after that long; after half of it, none to compare how many streams."""
AS_GOOD = 0.97
"""Share of the best speed that is as good as the best: fewer and smaller batches let searches in
sooner."""
ROUNDS = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Streams:
    """Threads that compute batches beside each other."""

    number: int
    token_budget: int
    """Tokens in a batch of each, at most."""
    threads: int = 1
    """That each computes with, itself included."""

    def speed(self, seconds: Sequence[float]) -> float:
        """Tokens in a second of all streams, where a batch of each took so long. None waits for the
        slowest: it takes its next batch."""
        return sum(self.token_budget / one for one in seconds)


def remembered_streams(
    folder: Path, subject: Mapping[str, str], measure: Callable[[], Streams | None]
) -> Streams | None:
    """What a file in `folder` says, or `measure`, for next time.

    Args:
        folder: made where it is missing. One that cannot be written costs a measurement each time.
        subject: what speed depends on: model, processor, threads, dtype, versions.
    """
    path = folder / f"{digest_of(dict(subject))}.json"
    known = _read(path)
    if known is not None:
        return known
    found = measure()
    if found is None:
        return None
    _log.info(
        "%d streams with batches of %d tokens for %s",
        found.number, found.token_budget, subject["model"],
        extra={"action": "calibrate"},
    )  # fmt: skip
    _write(path, {"subject": subject, "streams": asdict(found)})
    return found


Compute = Callable[[Streams], Sequence[float]]
"""Computes a batch in each stream; the seconds that each took."""


def numbers_of_streams(threads: int) -> list[int]:
    """Those that are compared: powers of two, and a stream for each thread."""
    powers = (1 << exponent for exponent in range(threads.bit_length()))
    return sorted({threads, *powers})


def fastest_streams(
    compute: Compute,
    numbers: Sequence[Streams],
    budgets: Sequence[int],
    clock: Callable[[], float] = time.perf_counter,
) -> Streams | None:
    """The fewest streams, and for them the smallest token budget, that are as good as the fastest;
    None where there was no time to compare any.

    Args:
        compute: raises where the batches do not fit.
        numbers: of streams, with one token budget, ascending.
        budgets: to be compared for the best of them, ascending.
    """
    started = clock()
    chosen: Streams | None = numbers[0]
    compared = len(numbers) > 1
    if compared:
        chosen = _fastest(compute, numbers, started + SECONDS / 2, clock)
    if chosen is None:
        return None
    sizes = [replace(chosen, token_budget=budget) for budget in budgets]
    best = _fastest(compute, sizes, started + SECONDS, clock)
    return best or (chosen if compared else None)


def _fastest(
    compute: Compute,
    candidates: Sequence[Streams],
    deadline: float,
    clock: Callable[[], float],
) -> Streams | None:
    """The first that is as good as the fastest; None where no two were compared."""
    able = _warm_up(compute, candidates, deadline, clock)
    found: dict[Streams, list[float]] = {one: [] for one in able}
    for _ in range(ROUNDS):
        for one in able:
            if clock() >= deadline:
                break
            found[one].append(one.speed(compute(one)))
    speeds = {one: statistics.median(each) for one, each in found.items() if each}
    if len(speeds) < 2:  # noqa: PLR2004
        return None
    enough = AS_GOOD * max(speeds.values())
    return next(one for one, speed in speeds.items() if speed >= enough)


def _warm_up(
    compute: Compute,
    candidates: Sequence[Streams],
    deadline: float,
    clock: Callable[[], float],
) -> list[Streams]:
    """Those that fit, and that there is time for: what comes first is slow."""
    able: list[Streams] = []
    for one in candidates:
        started = clock()
        if started >= deadline:
            break
        try:
            compute(one)
        except Exception as error:  # noqa: BLE001  larger ones do not fit either
            _log.info("%d batches of %d tokens fail (%s)", one.number, one.token_budget, error)
            break
        able.append(one)
        if 2 * (clock() - started) > deadline - clock():
            break
    return able


def _read(path: Path) -> Streams | None:
    try:
        streams = Streams(**json.loads(path.read_text("utf-8"))["streams"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = all(isinstance(one, int) and one > 0 for one in astuple(streams))
    return streams if whole else None


def _write(path: Path, found: Mapping[str, object]) -> None:
    """In one step: another worker may be reading it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(found, file, indent=1)
        Path(file.name).replace(path)
    except OSError as error:
        _log.warning(
            "%s cannot be written (%s): speed is measured again at the next start", path, error,
            extra={"action": "calibrate"},
        )  # fmt: skip
