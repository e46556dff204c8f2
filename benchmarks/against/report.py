"""Results as text: a line each while it runs, tables at the end, in Markdown."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from benchmarks.against.oracle import Findings
from benchmarks.against.process import Run
from benchmarks.against.scenarios import FAULTS, TIMED, Result
from celeriac.embedding.cpus import available_cpus

OURS = "celeriac"


@dataclass(frozen=True)
class Row:
    scenario: str
    variant: str
    round: int
    result: Result


def line(row: Row) -> str:
    told = row.result.run.message or ("" if row.result.told_success else "failed")
    return (
        f"{row.scenario:22} {row.variant:22} {measured(row.result.run)}  "
        f"{found(row.result.findings)}  {told}  {'; '.join(aside(row.result))}"
    )


def measured(run: Run) -> str:
    counted = f"{run.cpu:7.1f} CPU s {run.embedded:5} embedded {run.peak >> 20:5} MB"
    return f"{run.seconds:7.2f} s {counted}"


def found(findings: Findings) -> str:
    """The difference in words."""
    counted = [
        f"{number} {what}"
        for what in ("missing", "stale", "orphaned", "duplicated")
        if (number := getattr(findings, what))
    ]
    return ", ".join(counted) or "equal"


def tables(rows: Sequence[Row]) -> str:
    return "\n\n".join([setting(rows), timings(rows), correctness(rows)])


def setting(rows: Sequence[Row]) -> str:
    """Versions, and what else a figure depends on."""
    lines = [
        f"{date.today()}, {available_cpus()} CPUs, load {os.getloadavg()[1]:.1f} at the end, "
        f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'unset')}"
    ]
    for row in rows:
        about = row.result.extra.get("about")
        if isinstance(about, Mapping) and not row.round:
            versions = " ".join(f"{name} {one}" for name, one in about["versions"].items())
            lines.append(f"{row.variant}: {versions}, {about['threads']} threads")
    return "\n".join(lines)


def timings(rows: Sequence[Row]) -> str:
    """Medians of the rounds, and of each round's ratio to celeriac."""
    heads = ["scenario", "system", "seconds", "ratio", "CPU-s", "ratio", "embedded", "MB", "start"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for scenario in TIMED:
        ours = chosen(rows, scenario, OURS)
        for variant in labels(rows, scenario):
            mine = chosen(rows, scenario, variant)
            cells = [
                f"{median(mine, _seconds):.2f}",
                ratio(mine, ours, _seconds),
                f"{median(mine, _cpu):.2f}",
                ratio(mine, ours, _cpu),
                f"{median(mine, lambda result: result.run.embedded):.0f}",
                f"{median(mine, lambda result: result.run.peak / 2**20):.0f}",
                f"{median(mine, _startup):.1f}" if scenario in ("full", "unchanged") else "",
            ]
            lines.append(f"| {scenario} | {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def correctness(rows: Sequence[Row]) -> str:
    """What each collection lacked or had too much of; bold where the system said all was well."""
    variants = list(dict.fromkeys(row.variant for row in rows))
    lines = [
        f"| scenario | {' | '.join(variants)} |",
        f"| --- {'| --- ' * len(variants)}|",
    ]
    for scenario in (*TIMED, *FAULTS):
        cells = [cell(chosen(rows, scenario, variant)) for variant in variants]
        if any(cells):
            lines.append(f"| {scenario} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(rows: Sequence[Row]) -> str:
    """What came out of the rounds, each outcome once."""
    return "; ".join(dict.fromkeys(outcome(row.result) for row in rows))


def outcome(result: Result) -> str:
    wrong = found(result.findings)
    if old := result.extra.get("old"):
        wrong = f"{wrong}, {old} vectors of the old model".removeprefix("equal, ")
    if not result.told_success:
        wrong += ", says it failed"
    elif wrong != "equal":
        wrong = f"**{wrong}**"
    return "; ".join([wrong, *aside(result)])


def aside(result: Result) -> Iterator[str]:
    """What happened on the way to that, and what became of it."""
    extra = result.extra
    if isinstance(later := extra.get("one_more"), Findings):
        yield f"{found(later)} after one more run"
    if gone := extra.get("gone_meanwhile"):
        yield f"{gone} gone until then"
    old, of = extra.get("old_meanwhile"), extra.get("of")
    if old is not None and old != of:
        yield f"in the middle {old} of {of} were of the old model"
    if uncovered := extra.get("uncovered"):
        yield f"{uncovered} cut with text lost or altered"
    if "embedded_twice" in extra:
        counted = f"{extra['embedded_before']} + {result.run.embedded} embedded"
        yield f"{counted}, {extra['embedded_twice']} of them twice"


def chosen(rows: Iterable[Row], scenario: str, variant: str) -> list[Row]:
    return [row for row in rows if (row.scenario, row.variant) == (scenario, variant)]


def labels(rows: Iterable[Row], scenario: str) -> list[str]:
    return list(dict.fromkeys(row.variant for row in rows if row.scenario == scenario))


def median(rows: Sequence[Row], of: Callable[[Result], float]) -> float:
    return statistics.median(of(row.result) for row in rows)


def ratio(mine: Sequence[Row], ours: Sequence[Row], of: Callable[[Result], float]) -> str:
    """The median of each round's ratio."""
    rounds = {row.round: of(row.result) for row in ours}
    each = [of(row.result) / rounds[row.round] for row in mine if rounds.get(row.round)]
    return f"{statistics.median(each):.2f}" if each else ""


def _seconds(result: Result) -> float:
    return result.run.seconds


def _cpu(result: Result) -> float:
    return result.run.cpu


def _startup(result: Result) -> float:
    startup = result.extra["startup"]
    assert isinstance(startup, float)
    return startup
