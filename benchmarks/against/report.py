"""Results as text: a line each while it runs, tables at the end, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.against.scenarios import FAULTS, TIMED, Result

OURS = "celeriac"


@dataclass(frozen=True)
class Row:
    scenario: str
    variant: str
    round: int
    result: Result


def line(row: Row) -> str:
    run = row.result.run
    measured = f"{run.seconds:7.2f} s {run.cpu:7.1f} CPU s {run.embedded:5} embedded"
    told = run.message or ("" if row.result.told_success else "failed")
    return (
        f"{row.scenario:22} {row.variant:22} {measured} {run.peak >> 20:5} MB  "
        f"{found(row.result)}  {told}  {dict(row.result.extra)}"
    )


def found(result: Result) -> str:
    """The difference in words."""
    findings = result.findings
    counted = [
        f"{number} {what}"
        for what in ("missing", "stale", "orphaned", "duplicated")
        if (number := getattr(findings, what))
    ]
    return ", ".join(counted) or "equal"


def tables(rows: Sequence[Row]) -> str:
    return "\n\n".join([timings(rows), correctness(rows)])


def timings(rows: Sequence[Row]) -> str:
    """Medians of the rounds, and how they compare with celeriac's."""
    lines = [
        "| scenario | system | seconds | of celeriac | CPU s | of celeriac | embedded | MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for scenario in TIMED:
        for variant in labels(rows, scenario):
            mine = [one for one in rows if (one.scenario, one.variant) == (scenario, variant)]
            ours = [one for one in rows if (one.scenario, one.variant) == (scenario, OURS)]
            cells = [
                f"{median(mine, _seconds):.2f}",
                ratio(mine, ours, _seconds),
                f"{median(mine, _cpu):.2f}",
                ratio(mine, ours, _cpu),
                f"{median(mine, lambda run: run.run.embedded):.0f}",
                f"{median(mine, lambda run: run.run.peak / 2**20):.0f}",
            ]
            lines.append(f"| {scenario} | {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def correctness(rows: Sequence[Row]) -> str:
    """What each collection lacked or had too much of, and what the system said."""
    variants = list(dict.fromkeys(row.variant for row in rows))
    lines = [
        f"| scenario | {' | '.join(variants)} |",
        f"| --- {'| --- ' * len(variants)}|",
    ]
    for scenario in (*TIMED, *FAULTS):
        cells = [cell(rows, scenario, variant) for variant in variants]
        if any(cells):
            lines.append(f"| {scenario} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(rows: Sequence[Row], scenario: str, variant: str) -> str:
    """Every round's, once each."""
    mine = [row.result for row in rows if (row.scenario, row.variant) == (scenario, variant)]
    return "; ".join(dict.fromkeys(_told(result) for result in mine))


def labels(rows: Iterable[Row], scenario: str) -> list[str]:
    return list(dict.fromkeys(row.variant for row in rows if row.scenario == scenario))


def median(rows: Sequence[Row], of: Callable[[Result], float]) -> float:
    return statistics.median(of(row.result) for row in rows)


def ratio(mine: Sequence[Row], ours: Sequence[Row], of: Callable[[Result], float]) -> str:
    """The median of each round's ratio."""
    rounds = {row.round: of(row.result) for row in ours}
    each = [of(row.result) / rounds[row.round] for row in mine if rounds.get(row.round)]
    return f"{statistics.median(each):.2f}" if each else ""


def _told(result: Result) -> str:
    old = result.extra.get("old")
    of_old = [f"{old} vectors of the old model"] if old else []
    return ", ".join(
        [found(result), *of_old, *([] if result.told_success else ["**says it failed**"])]
    )


def _seconds(result: Result) -> float:
    return result.run.seconds


def _cpu(result: Result) -> float:
    return result.run.cpu
