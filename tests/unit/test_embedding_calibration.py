"""Streams and token budget of a machine: measured in little time, and once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from celeriac.embedding.calibration import (
    SECONDS,
    Streams,
    fastest_streams,
    numbers_of_streams,
    remembered_streams,
)

BUDGETS = (512, 1024, 2048, 4096)
SUBJECT = {"model": "model-x", "device": "abacus", "threads": "2"}
FOUND, OTHER = Streams(2, 2048, 1), Streams(1, 512, 2)


@dataclass
class Machine:
    """Computes at set speeds, in tokens a second by budget, times what that many streams gain; its
    clock shows no other time."""

    speeds: dict[int, float]
    gains: dict[int, float] = field(default_factory=lambda: {1: 1.0})
    now: float = 0.0
    computed: list[Streams] = field(default_factory=list)

    def compute(self, streams: Streams) -> list[float]:
        if streams.token_budget not in self.speeds:
            raise MemoryError
        seconds = self.seconds(streams)
        self.now += seconds
        self.computed.append(streams)
        return [seconds] * streams.number

    def seconds(self, streams: Streams) -> float:
        speed = self.speeds[streams.token_budget] * self.gains[streams.number]
        return streams.number * streams.token_budget / speed

    def fastest(self) -> Streams | None:
        numbers = [Streams(number, 1024) for number in self.gains]
        return fastest_streams(self.compute, numbers, BUDGETS, lambda: self.now)

    def budget(self) -> int | None:
        found = self.fastest()
        return None if found is None else found.token_budget


def test_the_fastest_budget_is_taken() -> None:
    assert Machine({512: 5e4, 1024: 6e4, 2048: 9e4, 4096: 7e4}).budget() == 2048


def test_the_smallest_is_taken_of_those_that_are_as_good() -> None:
    assert Machine({512: 5e4, 1024: 8.9e4, 2048: 9e4, 4096: 9.1e4}).budget() == 1024


def test_what_does_not_fit_in_memory_is_not_taken() -> None:
    machine = Machine({512: 5e4, 1024: 6e4})

    assert machine.budget() == 1024
    assert max(one.token_budget for one in machine.computed) == 1024


def test_the_fastest_number_of_streams_is_taken_with_its_own_budget() -> None:
    machine = Machine({512: 5e4, 1024: 6e4, 2048: 9e4}, {1: 1, 2: 1.4, 4: 1.7, 8: 1.2})

    assert machine.fastest() == Streams(4, 2048)


def test_the_fewest_streams_are_taken_of_those_that_are_as_good() -> None:
    assert Machine({512: 5e4, 1024: 6e4}, {1: 1, 2: 1.4, 4: 1.41}).fastest() == Streams(2, 1024)


def test_a_slow_stream_holds_up_no_other() -> None:
    assert Streams(2, 1000).speed([0.1, 0.2]) == pytest.approx(15_000)


def test_streams_are_kept_where_no_time_is_left_for_budgets() -> None:
    machine = Machine({512: 1e-6, 1024: 5e4}, {1: 1, 2: 1.3})

    assert machine.fastest() == Streams(2, 1024)


@pytest.mark.parametrize("speed", [100.0, 400.0, 700.0, 1e4])
@pytest.mark.parametrize("gains", [{1: 1.0}, {1: 1.0, 2: 1.2, 4: 1.3}])
def test_it_takes_little_longer_than_it_may(speed: float, gains: dict[int, float]) -> None:
    machine = Machine(dict.fromkeys(BUDGETS, speed), gains)

    found = machine.fastest()

    assert machine.now <= SECONDS + max(map(machine.seconds, machine.computed))
    assert found is None or found.token_budget in (512, 1024)


def test_a_model_that_is_slow_is_not_compared() -> None:
    machine = Machine(dict.fromkeys(BUDGETS, 50.0))

    assert machine.fastest() is None
    assert machine.computed == [Streams(1, 512)]


@pytest.mark.parametrize(
    ("threads", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])]
)
def test_the_numbers_that_are_compared(threads: int, expected: list[int]) -> None:
    assert numbers_of_streams(threads) == expected


def test_it_is_measured_once(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "calibrations"

    assert remembered_streams(folder, SUBJECT, lambda: FOUND) == FOUND
    assert remembered_streams(folder, SUBJECT, _unexpected) == FOUND
    assert remembered_streams(folder, {**SUBJECT, "threads": "4"}, lambda: OTHER) == OTHER


def test_what_could_not_be_compared_is_not_remembered(tmp_path: Path) -> None:
    assert remembered_streams(tmp_path, SUBJECT, lambda: None) is None
    assert remembered_streams(tmp_path, SUBJECT, lambda: OTHER) == OTHER


@pytest.mark.parametrize("text", ["{", '{"token_budget": 1}', '{"streams": {"number": 0}}'])
def test_a_file_that_cannot_be_read_is_written_anew(tmp_path: Path, text: str) -> None:
    remembered_streams(tmp_path, SUBJECT, lambda: FOUND)
    next(tmp_path.iterdir()).write_text(text)

    assert remembered_streams(tmp_path, SUBJECT, lambda: OTHER) == OTHER
    assert remembered_streams(tmp_path, SUBJECT, _unexpected) == OTHER


def test_a_folder_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()

    assert remembered_streams(tmp_path / "file" / "below", SUBJECT, lambda: OTHER) == OTHER
    assert "measured again at the next start" in caplog.text


def _unexpected() -> Streams:
    raise AssertionError("it was measured again")
