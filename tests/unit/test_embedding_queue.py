"""One queue into a model: each caller gets its own vectors, in order, and its own errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from celeriac.embedding.base import Vectors
from celeriac.embedding.queue import EmbeddingQueue, Pending
from celeriac.embedding.tokenization import TokenIds
from celeriac.errors import ModelError, ModelUnavailable

POISON = 666
ROOM = 6
"""Rows that fit in memory together."""


class Announced(dict[int, TokenIds]):
    """Texts that say when they are put into the window."""

    def __init__(self, ids: Mapping[int, TokenIds]) -> None:
        super().__init__(ids)
        self.waiting = threading.Event()

    def __iter__(self) -> Iterator[int]:
        self.waiting.set()
        return super().__iter__()


@dataclass
class Network:
    """A text's vector is its first token and its length. It can be held."""

    batches: list[list[TokenIds]] = field(default_factory=list)
    holding: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    free: threading.Event = field(default_factory=threading.Event)

    def compute(self, batch: Sequence[TokenIds]) -> Pending:
        vectors = self.vectors(batch)
        return lambda: vectors

    def vectors(self, batch: Sequence[TokenIds]) -> Vectors:
        self.batches.append(list(batch))
        if batch[0][0] == 0:
            self.holding.release()
            assert self.free.wait(60)
        if any(POISON in ids for ids in batch):
            raise IndexError("index out of range in self")
        if len(batch) > ROOM:
            raise MemoryError
        return np.array([[ids[0], len(ids)] for ids in batch], np.float32)


def is_memory_error(error: Exception) -> bool:
    return isinstance(error, MemoryError)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def queue(network: Network) -> Iterator[EmbeddingQueue]:
    queue = open_queue(network.compute)
    yield queue
    queue.close()


def open_queue(compute: Callable[[Sequence[TokenIds]], Pending], **how: Any) -> EmbeddingQueue:
    return EmbeddingQueue("model-x", 2, compute, is_memory_error, token_budget=64, **how)


@contextmanager
def held(queue: EmbeddingQueue, network: Network, streams: int = 1) -> Iterator[ThreadPoolExecutor]:
    """While a text is being computed in each stream; what is asked for meanwhile waits together."""
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(queue.embed, {position: [0] for position in range(streams)}, streams)
        for _ in range(streams):
            assert network.holding.acquire(timeout=60)
        try:
            yield pool
        finally:
            network.free.set()
        first.result()


def ask(
    pool: ThreadPoolExecutor, queue: EmbeddingQueue, ids: Mapping[int, TokenIds], **how: bool
) -> Future[Vectors]:
    announced = Announced(ids)
    asked = pool.submit(queue.embed, announced, len(ids), **how)
    assert announced.waiting.wait(60)
    return asked


@pytest.mark.parametrize("streams", [1, 2, 5])
def test_many_threads_get_their_own_vectors_in_order(network: Network, streams: int) -> None:
    chance = np.random.default_rng(5)
    callers = [
        {position: [caller * 100 + position + 1] * int(chance.integers(1, 60))
         for position in range(20)}
        for caller in range(12)
    ]  # fmt: skip
    queue = open_queue(network.compute, streams=streams)

    with ThreadPoolExecutor(len(callers)) as pool:
        results = list(pool.map(lambda ids: queue.embed(ids, len(ids)), callers))
    queue.close()

    for ids, vectors in zip(callers, results, strict=True):
        np.testing.assert_array_equal(vectors, [[one[0], len(one)] for one in ids.values()])


@pytest.mark.parametrize("seed", range(5))
def test_only_callers_whose_texts_fail_are_told_so_whatever_the_streams(
    network: Network, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    callers = [
        {position: [caller * 100 + position + 1] * int(chance.integers(1, 30))
         for position in range(int(chance.integers(1, 12)))}
        for caller in range(10)
    ]  # fmt: skip
    poisoned = {int(caller) for caller in chance.choice(10, 3, replace=False)}
    for caller in poisoned:
        for position in chance.choice(list(callers[caller]), 3):
            callers[caller][int(position)] = [POISON] * 7
    queue = open_queue(network.compute, streams=3)

    with ThreadPoolExecutor(len(callers)) as pool:
        asked = [pool.submit(queue.embed, ids, len(ids)) for ids in callers]
    queue.close()

    for caller, (ids, one) in enumerate(zip(callers, asked, strict=True)):
        if caller in poisoned:
            assert isinstance(one.exception(), ModelError)
        else:
            expected = [[text[0], len(text)] for text in ids.values()]
            np.testing.assert_array_equal(one.result(), expected)


def test_few_texts_are_computed_by_all_streams_at_once() -> None:
    together = threading.Barrier(2)

    def compute(batch: Sequence[TokenIds]) -> Pending:
        together.wait(60)
        return lambda: np.array([[ids[0], len(batch)] for ids in batch], np.float32)

    queue = open_queue(compute, streams=2)

    vectors = queue.embed({position: [position] * 3 for position in range(8)}, 8)
    queue.close()

    assert vectors.tolist() == [[position, 4] for position in range(8)]


def test_texts_of_several_callers_share_a_batch(queue: EmbeddingQueue, network: Network) -> None:
    with held(queue, network) as pool:
        left = ask(pool, queue, {0: [1] * 9, 1: [2] * 5})
        right = ask(pool, queue, {0: [3] * 8})

    assert network.batches[1:] == [[[1] * 9, [3] * 8, [2] * 5]]
    assert (left.result()[:, 0].tolist(), right.result()[:, 0].tolist()) == ([1, 2], [3])


def test_a_query_does_not_wait_behind_a_window(queue: EmbeddingQueue, network: Network) -> None:
    with held(queue, network) as pool:
        ask(pool, queue, {position: [position + 1] * 40 for position in range(5)})
        ask(pool, queue, {0: [9]}, urgent=True)

    assert network.batches[1] == [[9]]


def test_an_error_of_ones_texts_does_not_fail_anothers(
    queue: EmbeddingQueue, network: Network
) -> None:
    with held(queue, network) as pool:
        sound = ask(pool, queue, {0: [1] * 5, 1: [2] * 4})
        poisoned = ask(pool, queue, {0: [3] * 5, 1: [POISON] * 3, 2: [4]})

    np.testing.assert_array_equal(sound.result(), [[1, 5], [2, 4]])
    with pytest.raises(ModelError, match=r"fails on a text \(IndexError: index out of range"):
        poisoned.result()
    np.testing.assert_array_equal(queue.embed({0: [8]}, 1), [[8, 1]])


def test_what_does_not_fit_in_memory_together_is_halved_for_each(
    queue: EmbeddingQueue, network: Network
) -> None:
    with held(queue, network) as pool:
        callers = [
            ask(pool, queue, {position: [caller * 10 + position] for position in range(8)})
            for caller in (1, 2)
        ]

    for caller, asked in zip((1, 2), callers, strict=True):
        assert asked.result()[:, 0].tolist() == [caller * 10 + position for position in range(8)]


@dataclass
class Memory:
    """Has room for ROOM rows; who has them keeps them until another one was refused."""

    refused: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    used: int = 0
    computed: list[int] = field(default_factory=list)

    def compute(self, batch: Sequence[TokenIds]) -> Pending:
        with self.lock:
            if self.used + len(batch) > ROOM:
                self.refused.set()
                raise MemoryError
            self.used += len(batch)
        assert self.refused.wait(60)
        self.used -= len(batch)
        self.computed.append(len(batch))
        return lambda: np.array([[ids[0], len(ids)] for ids in batch], np.float32)


def test_what_does_not_fit_in_memory_beside_others_is_computed_alone() -> None:
    memory = Memory()
    queue = open_queue(memory.compute, streams=2)

    vectors = queue.embed({position: [position] for position in range(2 * ROOM)}, 2 * ROOM)
    queue.close()

    assert vectors[:, 0].tolist() == list(range(2 * ROOM))
    assert memory.computed == [ROOM, ROOM]


@pytest.mark.parametrize("streams", [1, 3])
def test_a_device_that_failed_is_no_fault_of_the_texts(streams: int) -> None:
    def fail(batch: Sequence[TokenIds]) -> Pending:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    queue = open_queue(fail, streams=streams)

    with pytest.raises(ModelUnavailable, match="restart the worker"):
        queue.embed({position: [1] for position in range(6)}, 6)
    queue.close()


@dataclass
class Device(Network):
    """It works by itself: what fails shows when vectors are fetched."""

    order: list[str] = field(default_factory=list)

    def compute(self, batch: Sequence[TokenIds]) -> Pending:
        self.order.append(f"begin {batch[0][0]}")

        def fetch() -> Vectors:
            self.order.append(f"fetch {batch[0][0]}")
            return self.vectors(batch)

        return fetch


def test_a_device_has_its_next_batch_before_the_last_is_fetched() -> None:
    device = Device()
    queue = open_queue(device.compute, overlapping=True)

    vectors = queue.embed({position: [position + 1] * 64 for position in range(3)}, 3)
    queue.close()

    assert vectors[:, 0].tolist() == [1, 2, 3]
    assert device.order == ["begin 1", "begin 2", "fetch 1", "begin 3", "fetch 2", "fetch 3"]


def test_an_error_that_shows_late_fails_its_caller_alone() -> None:
    device = Device()
    queue = open_queue(device.compute, overlapping=True)
    device.free.set()
    callers = [{0: [caller] * 30, 1: [caller] * 20} for caller in range(1, 9)]
    callers[3][1] = [POISON] * 20

    with ThreadPoolExecutor(len(callers)) as pool:
        asked = [pool.submit(queue.embed, ids, 2) for ids in callers]
    queue.close()

    for caller, one in enumerate(asked, start=1):
        if caller == 4:
            assert isinstance(one.exception(), ModelError)
        else:
            np.testing.assert_array_equal(one.result(), [[caller, 30], [caller, 20]])


def test_what_waits_is_finished_when_a_queue_is_closed(network: Network) -> None:
    queue = open_queue(network.compute, streams=2)

    with held(queue, network, streams=2) as pool:
        asked = [ask(pool, queue, {0: [one], 1: [one] * 9}) for one in range(1, 5)]
        closed = pool.submit(queue.close)
    closed.result()

    for one, vectors in enumerate(asked, start=1):
        assert vectors.result().tolist() == [[one, 1], [one, 9]]


def test_each_stream_is_prepared_once_in_its_own_thread(network: Network) -> None:
    prepared: list[int] = []
    queue = open_queue(
        network.compute, streams=2, prepare=lambda: prepared.append(threading.get_ident())
    )

    with held(queue, network, streams=2) as pool:
        ask(pool, queue, {0: [1]})
    queue.close()

    assert len(set(prepared)) == len(prepared) == 2


def test_a_stream_that_cannot_be_prepared_computes_all_the_same(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("can't start new thread")

    queue = open_queue(network.compute, streams=2, prepare=fail)

    assert queue.embed({0: [8]}, 1).tolist() == [[8, 1]]
    queue.close()
    assert "can't start new thread" in caplog.text


def test_a_closed_queue_says_so(queue: EmbeddingQueue) -> None:
    queue.close()

    with pytest.raises(ModelError, match="model-x is closed"):
        queue.embed({0: [1]}, 1)


def test_nothing_asked_gives_no_rows(queue: EmbeddingQueue) -> None:
    assert queue.embed({}, 0).shape == (0, 2)
