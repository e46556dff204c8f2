"""The lines of benchmarks/against: what a cell of its table says."""

from __future__ import annotations

import pytest

from benchmarks.against.oracle import Findings
from benchmarks.against.process import Run
from benchmarks.against.report import outcome
from benchmarks.against.scenarios import Result

RUN = Run(ok=True, message="", seconds=1.0, cpu=1.0, embedded=5, written=5, peak=0)


@pytest.mark.parametrize(
    ("findings", "told", "extra", "said"),
    [
        (Findings(), True, {}, "equal"),
        (Findings(), False, {}, "equal, says it failed"),
        (Findings(stale=2), True, {}, "**2 stale**"),
        (
            Findings(stale=2, orphaned=1),
            True,
            {"one_more": Findings(orphaned=1)},
            "**2 stale, 1 orphaned**; 1 orphaned after one more run",
        ),
        (
            Findings(),
            True,
            {"embedded_before": 7, "embedded_twice": 3},
            "equal; 7 + 5 embedded, 3 of them twice",
        ),
    ],
)
def test_a_cell_says_what_was_wrong_what_became_of_it_and_what_it_cost(
    findings: Findings, told: bool, extra: dict[str, object], said: str
) -> None:
    assert outcome(Result(RUN, findings, told, extra)) == said
