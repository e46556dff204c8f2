"""What unfinished runs of a page carry over to the one that finishes it.

A page that is given back has written some of its entities. The run that goes on with it finds them
unchanged; the job indexed them all the same, and says so.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from celeriac.model import Counters, ListedEntity, Outcome
from celeriac.tally import PageResult


@dataclass(frozen=True, slots=True)
class Carried:
    """What earlier runs of a page have written."""

    fingerprints: Mapping[uuid.UUID, str] = field(default_factory=dict)
    """Of the entities they indexed, by key."""
    work: Counters = field(default_factory=Counters)
    """What it took: chunks embedded, tokens, chunks that were split for the model."""

    @classmethod
    def of_json(cls, value: Any) -> Self:
        """What `as_json` gave; nothing where that is None."""
        if value is None:
            return cls()
        fingerprints = {uuid.UUID(key): one for key, one in value["fingerprints"].items()}
        return cls(fingerprints, Counters(**value["work"]))

    def as_json(self) -> dict[str, Any]:
        fingerprints = {key.hex: one for key, one in self.fingerprints.items()}
        return {"fingerprints": fingerprints, "work": asdict(self.work)}

    def and_then(self, broken_off: PageResult, settled: Counters) -> Carried:
        """With what another run did before it was broken off."""
        written = {
            one.key: one.fingerprint
            for one in broken_off.listed
            if one.outcome == Outcome.INDEXED and one.fingerprint is not None
        }
        return Carried({**self.fingerprints, **written}, self.work + _work(settled))

    def added_to(self, result: PageResult) -> PageResult:
        """What the page did in all its runs together."""
        listed = [self._as_indexed(one) for one in result.listed]
        count = sum(one is not was for one, was in zip(listed, result.listed, strict=True))
        again = Counters(indexed=count, unchanged=-count)
        return replace(result, counters=result.counters + again + self.work, listed=tuple(listed))

    def _as_indexed(self, one: ListedEntity) -> ListedEntity:
        ours = one.outcome == Outcome.UNCHANGED and (
            self.fingerprints.get(one.key) == one.fingerprint
        )
        return replace(one, outcome=Outcome.INDEXED) if ours else one


def _work(counted: Counters) -> Counters:
    return Counters(
        embedded=counted.embedded,
        tokens=counted.tokens,
        split_for_model=counted.split_for_model,
    )
