"""The specs that an index's generations were built under, and how they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select

from celeriac.catalog.database import Database
from celeriac.catalog.indexes import GenerationState
from celeriac.catalog.tables import generations
from celeriac.model import IndexSpec

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BuiltSpec:
    """A generation and the spec it was built under."""

    generation: int
    state: GenerationState
    collection: str
    digest: str
    values: Json
    """The spec's fields as JSON: another version of celeriac may have written them."""

    @property
    def model(self) -> str:
        return str(self.values["model"])

    @property
    def chunk_size(self) -> int:
        """In tiktoken tokens."""
        return int(self.values["splitting"]["chunk_size"])


@dataclass(frozen=True, slots=True)
class SpecChange:
    """One part of a spec that is not as it was."""

    part: str
    """Dotted, such as `splitting.chunk_size`."""
    before: Any
    now: Any


def built_specs(database: Database, index_id: str) -> list[BuiltSpec]:
    """The index's generations, newest first."""
    query = (
        select(generations)
        .where(generations.c.index_id == index_id)
        .order_by(generations.c.number.desc())
    )
    with database.read() as connection:
        return [
            BuiltSpec(
                row.number, GenerationState(row.state), row.collection, row.spec_digest, row.spec
            )
            for row in connection.execute(query)
        ]


def spec_changes(before: BuiltSpec, now: IndexSpec) -> tuple[SpecChange, ...]:
    """The parts of `now` that differ from the generation's."""
    old = dict(_parts(before.values))
    new = dict(_parts(json.loads(json.dumps(asdict(now)))))
    return tuple(
        SpecChange(part, old.get(part), new.get(part))
        for part in sorted(old.keys() | new.keys())
        if old.get(part) != new.get(part)
    )


def _parts(values: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _parts(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
