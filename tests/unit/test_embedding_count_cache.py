from __future__ import annotations

import pytest

from celeriac.embedding import count_cache
from celeriac.embedding.count_cache import CountCache


def test_each_key_is_counted_once() -> None:
    asked: list[str] = []

    def count(keys: list[str]) -> list[int]:
        asked.extend(keys)
        return [len(key) for key in keys]

    cache = CountCache(count, longest=5)

    assert cache.counts(["a", "bbb", "a", ""]) == [1, 3, 1, 0]
    assert cache.counts(["bbb", "cc", "a"]) == [3, 2, 1]
    assert sorted(asked) == ["", "a", "bbb", "cc"]


def test_long_keys_are_counted_each_time_and_take_no_room() -> None:
    cache = CountCache[bytes](lambda keys: [len(key) for key in keys], longest=2)

    assert cache.counts([b"four", b"2", b"four"]) == [4, 1, 4]
    assert cache.counts([b"four"]) == [4]
    assert len(cache) == 1


def test_a_full_cache_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count_cache, "MOST", 4)
    cache = CountCache[str](lambda keys: [int(key) for key in keys], longest=9)

    for first in range(20):
        keys = [str(number) for number in range(first, first + 4)]
        assert cache.counts(keys) == list(range(first, first + 4))
        assert len(cache) <= 4
