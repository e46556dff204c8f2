"""How a step of a job ended, for whoever watches the tasks: the rows say what is to be done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What became of it."""

    DONE = "done"
    """What it was asked for is there; or there was nothing to do."""
    LATER = "later"
    """It was put off or given back, and is sent again."""
    FAILED = "failed"
    """Its job failed with it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a step ended, in words without texts of entities."""

    kind: Kind
    about: str

    @classmethod
    def done(cls, about: str) -> Ending:
        return cls(Kind.DONE, about)

    @classmethod
    def later(cls, about: str) -> Ending:
        return cls(Kind.LATER, about)

    @classmethod
    def failed(cls, about: str) -> Ending:
        return cls(Kind.FAILED, about)


NOTHING = Ending.done("nothing to do")
