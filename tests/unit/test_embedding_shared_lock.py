"""Many hold it together, or one alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from celeriac.embedding.shared_lock import SharedLock


def test_many_share_it_at_once() -> None:
    lock, together = SharedLock(), threading.Barrier(3)

    def share() -> None:
        with lock.shared():
            together.wait(60)

    with ThreadPoolExecutor(3) as pool:
        for one in [pool.submit(share) for _ in range(3)]:
            one.result()


def test_one_alone_is_beside_nobody() -> None:
    lock, chance, inside, beside = SharedLock(), threading.Barrier(6), set[str](), list[str]()

    def share(name: str) -> None:
        chance.wait(60)
        for _ in range(200):
            with lock.shared():
                inside.add(name)
                inside.remove(name)

    def be_alone(name: str) -> None:
        chance.wait(60)
        for _ in range(200):
            with lock.alone():
                beside.extend(inside)
                inside.add(name)
                inside.remove(name)

    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(share, f"shared {one}") for one in range(4)]
        work += [pool.submit(be_alone, f"alone {one}") for one in range(2)]
        for one in work:
            one.result()

    assert beside == []


def test_who_waits_to_be_alone_goes_before_those_who_would_share() -> None:
    lock, order = SharedLock(), list[str]()

    def be_alone() -> None:
        with lock.alone():
            order.append("alone")

    def share() -> None:
        with lock.shared():
            order.append("shared")

    with ThreadPoolExecutor(2) as pool:
        with lock.shared():
            first = pool.submit(be_alone)
            while not lock._waiting:
                pass
            second = pool.submit(share)
        first.result()
        second.result()

    assert order == ["alone", "shared"]
