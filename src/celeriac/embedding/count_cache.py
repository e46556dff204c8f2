"""Counts of words and the like that are worked out once, as long as there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

MOST = 200_000
"""Counts remembered; then the cache begins anew."""

Key = TypeVar("Key", str, bytes)


class CountCache(Generic[Key]):
    """Remembers counts. Safe to call from several threads."""

    def __init__(self, count: Callable[[list[Key]], Sequence[int]], longest: int) -> None:
        """Remember what `count` says of keys that are no longer than `longest`."""
        self._count: Callable[[list[Key]], Sequence[int]] = count
        self._longest = longest
        self._known: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def counts(self, keys: Sequence[Key]) -> list[int]:
        """The count of each key; those that are new are counted in one batch."""
        known = self._known
        try:
            return list(map(known.__getitem__, keys))
        except KeyError:
            found = self._count_new({key for key in keys if key not in known})
            return [found[key] if key in found else known[key] for key in keys]

    def _count_new(self, new: set[Key]) -> dict[Key, int]:
        keys = list(new)
        found = dict(zip(keys, self._count(keys), strict=True))
        if len(self._known) + len(found) > MOST:
            self._known = {}
        self._known.update((key, n) for key, n in found.items() if len(key) <= self._longest)
        return found
