"""How many tokens a batch has: measured on the machine at hand, once, and remembered in a file."""

from __future__ import annotations

import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from celeriac.model import digest_of

SECONDS = 3.0
"""No further batch is begun after that long."""
AS_GOOD = 0.97
"""Share of the best speed that is as good as the best: smaller batches let searches in sooner."""
ROUNDS = 5

_log = logging.getLogger(__name__)


def remembered_budget(
    folder: Path, subject: Mapping[str, str], measure: Callable[[], int | None]
) -> int | None:
    """The token budget of a file in `folder`, or what `measure` says, for next time.

    Args:
        folder: made where it is missing. One that cannot be written costs a measurement each time.
        subject: what the budget depends on: model, processor, threads, dtype, versions.
    """
    path = folder / f"{digest_of(dict(subject))}.json"
    known = _read(path)
    if known is not None:
        return known
    budget = measure()
    if budget is None:
        return None
    _log.info(
        "batches of %d tokens for %s", budget, subject["model"], extra={"action": "calibrate"}
    )
    _write(path, {**subject, "token_budget": budget})
    return budget


def fastest_budget(
    compute: Callable[[int], None],
    budgets: Sequence[int],
    clock: Callable[[], float] = time.perf_counter,
) -> int | None:
    """The smallest token budget that is as good as the fastest one; None where there was no time
    to compare any.

    Args:
        compute: computes one batch of so many tokens; raises where it does not fit.
        budgets: to be compared, ascending.
    """
    deadline = clock() + SECONDS
    able = _warm_up(compute, budgets, deadline, clock)
    seconds: dict[int, list[float]] = {budget: [] for budget in able}
    for _ in range(ROUNDS):
        for budget in able:
            if clock() >= deadline:
                break
            started = clock()
            compute(budget)
            seconds[budget].append(clock() - started)
    speeds = {
        budget: budget / statistics.median(taken) for budget, taken in seconds.items() if taken
    }
    if len(speeds) < 2:  # noqa: PLR2004
        return None
    enough = AS_GOOD * max(speeds.values())
    return next(budget for budget, speed in speeds.items() if speed >= enough)


def _warm_up(
    compute: Callable[[int], None],
    budgets: Sequence[int],
    deadline: float,
    clock: Callable[[], float],
) -> list[int]:
    """Those that fit, and that there is time for: what comes first is slow."""
    able: list[int] = []
    for budget in budgets:
        started = clock()
        if started >= deadline:
            break
        try:
            compute(budget)
        except Exception as error:  # noqa: BLE001  larger ones do not fit either
            _log.info("batches of %d tokens fail (%s)", budget, error)
            break
        able.append(budget)
        if 2 * (clock() - started) > deadline - clock():
            break
    return able


def _read(path: Path) -> int | None:
    try:
        budget = json.loads(path.read_text("utf-8"))["token_budget"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return budget if isinstance(budget, int) and budget > 0 else None


def _write(path: Path, found: Mapping[str, object]) -> None:
    """In one step: another worker may be reading it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(found, file, indent=1)
        Path(file.name).replace(path)
    except OSError as error:
        _log.warning(
            "%s cannot be written (%s): batches are measured again at the next start", path, error,
            extra={"action": "calibrate"},
        )  # fmt: skip
