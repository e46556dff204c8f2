"""What is wrong in a configuration file: where it is written, what is allowed, and no secrets."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from celeriac.errors import ConfigurationError

KeyPath = tuple[str | int, ...]
"""Keys and list positions (from 0) that lead from the root of a file to a value in it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to be put right."""

    line: int
    """In the file, from 1."""
    path: KeyPath
    """Empty for the file as a whole."""
    message: str
    """What is wrong, and what is allowed."""

    def describe(self, file: Path) -> str:
        """One printable line, whatever the keys are."""
        where = [f"{file}:{self.line}", *([spelled(self.path)] if self.path else [])]
        text = ": ".join([*where, self.message])
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def configuration_error(file: Path, problems: Iterable[Problem]) -> ConfigurationError:
    """All problems of a file in one error, a line each, in the order of the file."""
    ordered = sorted(problems, key=lambda problem: (problem.line, spelled(problem.path)))
    return ConfigurationError("\n".join(problem.describe(file) for problem in ordered))


def spelled(path: KeyPath) -> str:
    """The path as it is shown to people: `tenants.acme.text_fields[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most likely stands for, whatever its case; None if none does."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[matches[0]] if matches else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """How to go on from an unknown name: the nearest known one, or all of them."""
    known = sorted(known)
    match = nearest(name, known)
    return f"did you mean '{match}'?" if match else f"known are {', '.join(known) or 'none'}"
