"""What is computed next: every row once, little padding, the oldest caller in every batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.embedding.window import Request, Row, Window, even_share
from celeriac.errors import ModelError

untimed = settings(deadline=None)
lengths = st.lists(st.integers(0, 300), min_size=1, max_size=40)
callers = st.lists(lengths, max_size=5)
budgets = st.integers(1, 2000)
streams = st.integers(1, 5)


def request(of: Sequence[int], *, urgent: bool = False) -> Request:
    """A request of texts of these lengths."""
    ids = {position: [7] * length for position, length in enumerate(of)}
    return Request(ids, np.zeros((len(of), 1), np.float32), urgent)


def filled(waiting: Sequence[Request], budget: int, streams: int = 1) -> Window:
    window = Window(budget, streams)
    for one in waiting:
        window.add(one)
    return window


def batches(window: Window) -> list[list[Row]]:
    found = []
    while batch := window.take():
        found.append(batch)
    return found


def widths(batch: Sequence[Row]) -> list[int]:
    return [len(row.ids) for row in batch]


@untimed
@given(callers, budgets, streams)
def test_each_row_is_in_exactly_one_batch(
    callers: list[list[int]], budget: int, streams: int
) -> None:
    waiting = [request(of) for of in callers]

    rows = [row for batch in batches(filled(waiting, budget, streams)) for row in batch]

    for one in waiting:
        assert sorted(row.position for row in rows if row.request is one) == sorted(one.ids)
    assert len(rows) == sum(map(len, callers))


@untimed
@given(callers, budgets, streams)
def test_a_batch_stays_within_the_budget_or_is_one_row(
    callers: list[list[int]], budget: int, streams: int
) -> None:
    for batch in batches(filled([request(of) for of in callers], budget, streams)):
        assert len(batch) == 1 or len(batch) * max(widths(batch)) <= budget


@untimed
@given(lengths, budgets, streams)
def test_one_callers_batches_come_sorted_by_length(
    lengths: list[int], budget: int, streams: int
) -> None:
    window = filled([request(lengths)], budget, streams)

    ordered = [width for batch in batches(window) for width in widths(batch)]

    assert ordered == sorted(lengths, reverse=True)


@untimed
@given(lengths, budgets)
def test_no_batch_could_take_the_next_row(lengths: list[int], budget: int) -> None:
    for batch in batches(filled([request(lengths)], budget))[:-1]:
        assert (len(batch) + 1) * max(1, *widths(batch)) > budget


@untimed
@given(callers, budgets, streams)
def test_each_batch_brings_the_oldest_caller_nearer_to_its_end(
    callers: list[list[int]], budget: int, streams: int
) -> None:
    waiting = [request(of) for of in callers]

    for batch in batches(filled(waiting, budget, streams)):
        while not any(one is waiting[0] for one in (row.request for row in batch)):
            waiting.pop(0)  # all of its rows are computed; none may follow
        oldest = [row for row in batch if row.request is waiting[0]]
        assert len(oldest[0].ids) == max(widths(batch))


@untimed
@given(callers, lengths, budgets, streams)
def test_urgent_rows_go_before_all_others(
    callers: list[list[int]], urgent: list[int], budget: int, streams: int
) -> None:
    window = filled([request(of) for of in callers], budget, streams)
    window.add(request(urgent, urgent=True))

    order = [[row.request.urgent for row in batch] for batch in batches(window)]

    assert [one for batch in order for one in batch] == [True] * len(urgent) + [False] * sum(
        map(len, callers)
    )
    assert all(len(set(batch)) == 1 for batch in order)


def test_rows_of_a_request_that_failed_are_forgotten() -> None:
    failed, sound = request([3, 5, 4]), request([4, 2])
    window = filled([failed, sound], 5)

    window.take()
    window.discard(failed)

    assert [row.request for batch in batches(window) for row in batch] == [sound, sound]


@untimed
@given(st.integers(1, 60), st.integers(1, 300), st.integers(2, 16))
def test_streams_share_few_texts_evenly(texts: int, length: int, streams: int) -> None:
    """No stream could have less to do."""
    sizes = [len(batch) for batch in batches(filled([request([length] * texts)], 18_000, streams))]

    assert len(sizes) <= streams
    assert max(sizes) == math.ceil(texts / streams)


@untimed
@given(lengths, budgets, streams)
def test_batches_do_not_shrink_towards_the_end(
    lengths: list[int], budget: int, streams: int
) -> None:
    found = batches(filled([request(lengths)], budget, streams))

    share = even_share(sum(lengths), streams, budget)
    for batch in found[:-1]:
        full = (len(batch) + 1) * max(1, *widths(batch)) > budget
        assert full or sum(widths(batch)) >= share


@untimed
@given(st.integers(0, 10**6), streams, budgets)
def test_a_share_is_as_large_as_the_budget_lets_it_be(
    tokens: int, streams: int, budget: int
) -> None:
    share = even_share(tokens, streams, budget)

    assert share <= budget
    if streams > 1 and tokens > streams * budget:
        assert share > budget // 2 - 1


def test_what_comes_later_is_shared_as_well() -> None:
    window = filled([request([10] * 8)], 100, streams=2)

    first = window.take()
    window.add(request([10] * 8))

    assert [len(batch) for batch in (first, *batches(window))] == [4, 6, 6]


def test_searches_meanwhile_do_not_make_batches_smaller() -> None:
    window = filled([request([10] * 8)], 100, streams=2)

    first = window.take()
    window.add(request([3], urgent=True))

    assert [len(batch) for batch in (first, *batches(window))] == [4, 1, 4]


def test_the_first_error_of_a_request_counts() -> None:
    split = request([3, 5])

    split.fail(ModelError("first"))
    split.fail(ModelError("second"))
    split.put([0], np.ones((1, 1), np.float32))

    assert str(split.done.exception()) == "first"
