"""The token budget of a machine: measured in little time, and once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from celeriac.embedding.calibration import SECONDS, fastest_budget, remembered_budget

BUDGETS = (512, 1024, 2048, 4096)
SUBJECT = {"model": "model-x", "device": "abacus", "threads": "2"}


@dataclass
class Machine:
    """Computes at set speeds, in tokens a second; its clock shows no other time."""

    speeds: dict[int, float]
    now: float = 0.0
    computed: list[int] = field(default_factory=list)

    def compute(self, budget: int) -> None:
        if budget not in self.speeds:
            raise MemoryError
        self.now += budget / self.speeds[budget]
        self.computed.append(budget)

    def fastest(self) -> int | None:
        return fastest_budget(self.compute, BUDGETS, lambda: self.now)


def test_the_fastest_is_taken() -> None:
    assert Machine({512: 5e4, 1024: 6e4, 2048: 9e4, 4096: 7e4}).fastest() == 2048


def test_the_smallest_is_taken_of_those_that_are_as_good() -> None:
    assert Machine({512: 5e4, 1024: 8.9e4, 2048: 9e4, 4096: 9.1e4}).fastest() == 1024


def test_what_does_not_fit_in_memory_is_not_taken() -> None:
    machine = Machine({512: 5e4, 1024: 6e4})

    assert machine.fastest() == 1024
    assert max(machine.computed) == 1024


@pytest.mark.parametrize("speed", [100.0, 400.0, 700.0, 1e4])
def test_it_takes_little_longer_than_it_may(speed: float) -> None:
    machine = Machine(dict.fromkeys(BUDGETS, speed))

    budget = machine.fastest()

    assert machine.now <= SECONDS + max(machine.computed) / speed
    assert budget in (512, None)


def test_a_model_that_is_slow_is_not_compared() -> None:
    machine = Machine(dict.fromkeys(BUDGETS, 50.0))

    assert machine.fastest() is None
    assert machine.computed == [512]


def test_it_is_measured_once(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "calibrations"

    assert remembered_budget(folder, SUBJECT, lambda: 2048) == 2048
    assert remembered_budget(folder, SUBJECT, _unexpected) == 2048
    assert remembered_budget(folder, {**SUBJECT, "threads": "4"}, lambda: 512) == 512


def test_what_could_not_be_compared_is_not_remembered(tmp_path: Path) -> None:
    assert remembered_budget(tmp_path, SUBJECT, lambda: None) is None
    assert remembered_budget(tmp_path, SUBJECT, lambda: 512) == 512


def test_a_file_that_cannot_be_read_is_written_anew(tmp_path: Path) -> None:
    remembered_budget(tmp_path, SUBJECT, lambda: 2048)
    next(tmp_path.iterdir()).write_text("{")

    assert remembered_budget(tmp_path, SUBJECT, lambda: 1024) == 1024
    assert remembered_budget(tmp_path, SUBJECT, _unexpected) == 1024


def test_a_folder_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()

    assert remembered_budget(tmp_path / "file" / "below", SUBJECT, lambda: 1024) == 1024
    assert "measured again at the next start" in caplog.text


def _unexpected() -> int:
    raise AssertionError("it was measured again")
