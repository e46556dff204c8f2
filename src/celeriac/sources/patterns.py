"""Patterns that choose files by their names below a source's root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

ANY_FOLDERS = "**"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files are wanted: those that a pattern of `include` matches, all where there is none,
    less those that one of `exclude` matches.

    `*` stands for any part of a name, `?` for a character, `**` for any folders, none among them. A
    pattern without a slash matches at any depth, one that ends with a slash all that is in such a
    folder.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def takes(self, name: str) -> bool:
        included = not self.include or any(matches(name, one) for one in self.include)
        return included and not any(matches(name, one) for one in self.exclude)


def matches(name: str, pattern: str) -> bool:
    """Whether the name, parted by slashes, is one that the pattern means."""
    steps = pattern.strip("/").split("/")
    if len(steps) == 1 and not pattern.startswith("/"):
        steps = [ANY_FOLDERS, *steps]
    if pattern.endswith("/"):
        steps.append(ANY_FOLDERS)
    return _fits(name.split("/"), steps)


def _fits(parts: Sequence[str], steps: Sequence[str]) -> bool:
    if not steps:
        return not parts
    if steps[0] == ANY_FOLDERS:
        return any(_fits(parts[start:], steps[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], steps[0]) and _fits(parts[1:], steps[1:])
