"""What a check of an installation finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad a finding is."""

    OK = 0
    WARNING = 1
    """It works, and costs something or may break."""
    ERROR = 2
    """It does not work, or what is kept is at risk."""

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: Level
    message: str
    """What is there."""
    remedy: str = ""
    """What to do; empty where all is well."""


Findings = Iterator[Finding]


def fine(check: str, message: str) -> Finding:
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, Level.WARNING, message, remedy)


def error(check: str, message: str, remedy: str = "") -> Finding:
    return Finding(check, Level.ERROR, message, remedy)
