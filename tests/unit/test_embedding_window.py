"""What is computed next: every row once, little padding, the oldest caller in every batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.embedding.window import Request, Row, Window

untimed = settings(deadline=None)
lengths = st.lists(st.integers(0, 300), min_size=1, max_size=40)
callers = st.lists(lengths, max_size=5)
budgets = st.integers(1, 2000)


def request(of: Sequence[int], *, urgent: bool = False) -> Request:
    """A request of texts of these lengths."""
    ids = {position: [7] * length for position, length in enumerate(of)}
    return Request(ids, np.zeros((len(of), 1), np.float32), urgent)


def filled(waiting: Sequence[Request]) -> Window:
    window = Window()
    for one in waiting:
        window.add(one)
    return window


def batches(window: Window, budget: int) -> list[list[Row]]:
    found = []
    while batch := window.take(budget):
        found.append(batch)
    return found


def widths(batch: Sequence[Row]) -> list[int]:
    return [len(row.ids) for row in batch]


@untimed
@given(callers, budgets)
def test_each_row_is_in_exactly_one_batch(callers: list[list[int]], budget: int) -> None:
    waiting = [request(of) for of in callers]

    rows = [row for batch in batches(filled(waiting), budget) for row in batch]

    for one in waiting:
        assert sorted(row.position for row in rows if row.request is one) == sorted(one.ids)
    assert len(rows) == sum(map(len, callers))


@untimed
@given(callers, budgets)
def test_a_batch_stays_within_the_budget_or_is_one_row(
    callers: list[list[int]], budget: int
) -> None:
    for batch in batches(filled([request(of) for of in callers]), budget):
        assert len(batch) == 1 or len(batch) * max(widths(batch)) <= budget


@untimed
@given(lengths, budgets)
def test_one_callers_batches_come_sorted_by_length(lengths: list[int], budget: int) -> None:
    ordered = [
        width for batch in batches(filled([request(lengths)]), budget) for width in widths(batch)
    ]

    assert ordered == sorted(lengths, reverse=True)


@untimed
@given(lengths, budgets)
def test_no_batch_could_take_the_next_row(lengths: list[int], budget: int) -> None:
    for batch in batches(filled([request(lengths)]), budget)[:-1]:
        assert (len(batch) + 1) * max(1, *widths(batch)) > budget


@untimed
@given(callers, budgets)
def test_each_batch_brings_the_oldest_caller_nearer_to_its_end(
    callers: list[list[int]], budget: int
) -> None:
    waiting = [request(of) for of in callers]

    for batch in batches(filled(waiting), budget):
        while not any(one is waiting[0] for one in (row.request for row in batch)):
            waiting.pop(0)  # all of its rows are computed; none may follow
        oldest = [row for row in batch if row.request is waiting[0]]
        assert len(oldest[0].ids) == max(widths(batch))


@untimed
@given(callers, lengths, budgets)
def test_urgent_rows_go_before_all_others(
    callers: list[list[int]], urgent: list[int], budget: int
) -> None:
    window = filled([request(of) for of in callers])
    window.add(request(urgent, urgent=True))

    order = [[row.request.urgent for row in batch] for batch in batches(window, budget)]

    assert [one for batch in order for one in batch] == [True] * len(urgent) + [False] * sum(
        map(len, callers)
    )
    assert all(len(set(batch)) == 1 for batch in order)


def test_rows_of_a_request_that_failed_are_forgotten() -> None:
    failed, sound = request([3, 5, 4]), request([4, 2])
    window = filled([failed, sound])

    window.take(5)
    window.discard(failed)

    assert [row.request for batch in batches(window, 100) for row in batch] == [sound, sound]
