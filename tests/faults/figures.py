"""What the fault tests did and found: a row for each fault of the matrix, as they ran."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from oracle import Comparison
from seeds import replay

MATRIX = {
    "killed": "kill -9 of a worker in each stage",
    "taken": "kill -9 between taking a message and recording it",
    "sigterm": "SIGTERM under load",
    "api": "kill -9 of the API after the row is written, before the answer",
    "redis restarted": "Redis killed and restarted with AOF",
    "redis emptied": "Redis restarted empty",
    "redis away": "Redis stopped",
    "redis frozen": "Redis frozen",
    "redis full": "Redis full",
    "qdrant killed": "Qdrant killed in the middle of a write",
    "qdrant emptied": "Qdrant restarted empty",
    "qdrant frozen": "Qdrant frozen",
    "sql away": "SQL unreachable",
    "sql frozen": "PostgreSQL frozen",
    "source": "source: 5xx, 429, slow, cut off, not JSON",
    "listing": "source: a page that shrinks meanwhile, duplicate ids, a partial listing",
    "poison": "poison entities",
    "memory": "out of memory in a batch",
    "disk": "disk full: Redis, Qdrant, PostgreSQL",
    "twice": "every message delivered twice",
    "clocks": "clocks 15 minutes apart",
    "reindexes": "two reindexes of one type at once",
    "cancel": "cancelled in the middle",
    "beats": "two beats",
    "switch": "switch of generations under queries",
    "simulated": "any of these at any call, in one process",
    "combined": "random combinations, real processes",
}
"""What is said of each fault, by the name that tests give it with the mark `matrix`."""

_TABLE = re.compile(r"(<!-- table: faults -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass
class Record:
    """What one test did and found."""

    test: str
    fault: str
    seed: int
    injected: int = 0
    jobs: int = 0
    entities: int = 0
    lost: int = 0
    surplus: int = 0
    outcome: str = "not run"
    notes: list[str] = field(default_factory=list)
    """What happened, in its order."""

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}; {replay(self.seed)} replays it", *self.notes])

    def compared(self, comparison: Comparison) -> None:
        """Count a comparison of an index with its source."""
        self.jobs += 1
        self.entities += comparison.entities
        self.lost += len(comparison.lost)
        self.surplus += len(comparison.surplus)


@dataclass
class Figures:
    """The records of a run."""

    records: list[Record] = field(default_factory=list)

    def table(self) -> list[str]:
        """Lines of Markdown."""
        head = (
            "| fault | test | passed | faults injected | jobs compared | entities compared "
            "| lost | duplicated or stale |"
        )
        rows = [
            self._row(said, [one for one in self.records if one.fault == name])
            for name, said in MATRIX.items()
        ]
        return [head, "| --- " * 2 + "| ---: " * 6 + "|", *rows]

    def write_into(self, page: Path) -> None:
        """Put the table into the page, between the lines that mark its place."""
        text = page.read_text("utf-8")
        table = "\n".join(self.table())
        page.write_text(_TABLE.sub(rf"\g<1>{table}\n\g<2>", text), "utf-8")

    @staticmethod
    def _row(said: str, records: list[Record]) -> str:
        tests = sorted({f"`{one.test.partition('[')[0]}`" for one in records})
        passed = sum(one.outcome == "passed" for one in records)
        sums = [
            sum(getattr(one, name) for one in records)
            for name in ("injected", "jobs", "entities", "lost", "surplus")
        ]
        cells = [said, "<br>".join(tests) or "not run", f"{passed} of {len(records)}", *sums]
        return f"| {' | '.join(str(cell) for cell in cells)} |"


def fault_of(node: pytest.Item) -> str:
    """The fault of the matrix that a test is about."""
    mark = node.get_closest_marker("matrix")
    assert mark is not None, f"{node.name} has no mark `matrix`"
    (fault,) = mark.args
    assert fault in MATRIX, f"{fault!r} is not in the matrix"
    return str(fault)
