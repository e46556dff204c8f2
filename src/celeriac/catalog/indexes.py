"""Indexes and their generations."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, or_, select, update

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.jobs import add_counters
from celeriac.catalog.specs import index_spec
from celeriac.catalog.tables import generations, indexes, jobs
from celeriac.errors import VerificationFailed
from celeriac.model import Counters, IndexSpec, Partition, Seal

KEPT_GENERATIONS = 1
"""Retired generations kept for a way back."""

_NAMESPACE = uuid.UUID("6a7a7f0e-2c3d-5f39-8f67-5f0a6c0de1e7")


class GenerationState(StrEnum):
    """Where a generation is in its life."""

    BUILDING = "building"
    LIVE = "live"
    RETIRED = "retired"
    """Was live; kept for a way back."""
    DROPPING = "dropping"
    """Nothing needs its points any more; they are being deleted."""
    DROPPED = "dropped"
    """Its points are gone."""


USABLE = (GenerationState.LIVE, GenerationState.BUILDING)
"""States in which jobs write to a generation."""


@dataclass(frozen=True, slots=True)
class IndexRow:
    """An index: what searches of one entity type read."""

    id: str
    tenant: str
    entity_type: str
    created_at: float
    live_generation: int | None
    last_indexed_at: float | None
    last_job_id: str | None


@dataclass(frozen=True, slots=True)
class Generation:
    """One building of an index under one spec."""

    index_id: str
    number: int
    spec_digest: str
    values: Mapping[str, Any] = field(repr=False)
    """The fields of the spec it was built under as JSON; see `spec`."""
    collection: str
    state: GenerationState
    indexed_at: float | None = None
    """When a job last found it equal to its source; None while it is built."""
    retired_at: float | None = None
    """When it last ceased to be live."""
    rejected_at: float | None = None
    """When it was rolled back from; None where it was not, or was accepted again."""
    points: int | None = None
    """How many it had when it was retired."""
    seal: Seal | None = None
    """What the job found that found it equal to its source last, where that can be told without
    listing the source again."""

    @property
    def partition(self) -> Partition:
        return Partition(self.collection, self.index_id, self.number)

    @property
    def model(self) -> str:
        """Key of the embedding model it was built with."""
        return str(self.values["model"])

    @property
    def model_digest(self) -> str:
        """Digest of that model's description then."""
        return str(self.values["model_digest"])

    @property
    def chunk_size(self) -> int:
        """In tiktoken tokens."""
        return int(self.values["splitting"]["chunk_size"])

    @property
    def spec(self) -> IndexSpec:
        """The spec it was built under.

        Raises:
            ConfigurationError: another version of celeriac built it, under other rules.
        """
        return index_spec(self.values, self.spec_digest)


def index_id_of(tenant: str, entity_type: str) -> str:
    """The id of an entity type's index. Derived, so that a lost catalog finds its points again."""
    return str(uuid.uuid5(_NAMESPACE, f"{tenant}/{entity_type}"))


def collection_of(spec: IndexSpec, index_id: str) -> str:
    """The collection an index under `spec` lives in: shared by model, or its own."""
    name = "".join(char if char.isalnum() or char in "-_" else "_" for char in spec.model)
    shared = f"celeriac_{name}_{spec.dimension}"
    return f"{shared}_{index_id}" if spec.own_collection else shared


class Indexes:
    """Rows of the tables `indexes` and `generations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, tenant: str, entity_type: str) -> IndexRow | None:
        query = select(indexes).where(
            indexes.c.tenant == tenant, indexes.c.entity_type == entity_type
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return IndexRow(**row._mapping) if row else None

    def get(self, index_id: str) -> IndexRow:
        """The index of that id, which there is."""
        with self._database.read() as connection:
            row = connection.execute(select(indexes).where(indexes.c.id == index_id)).one()
        return IndexRow(**row._mapping)

    def generation(self, index_id: str, number: int) -> Generation:
        with self._database.read() as connection:
            return generation_of(connection.execute(_one(index_id, number)).one())

    def live(self, index_id: str) -> Generation | None:
        """The generation that searches read; None before the first job succeeded."""
        query = select(generations).join(
            indexes,
            (indexes.c.id == generations.c.index_id)
            & (indexes.c.live_generation == generations.c.number),
        )
        with self._database.read() as connection:
            row = connection.execute(query.where(indexes.c.id == index_id)).one_or_none()
        return generation_of(row) if row else None

    def generation_for(self, index_id: str, spec: IndexSpec) -> Generation:
        """The generation that a job under `spec` writes: the live one if its spec is the same,
        else the one being built under this spec, else a new one."""
        query = (
            select(generations)
            .where(generations.c.index_id == index_id)
            .order_by(generations.c.number.desc())
        )
        # One at a time: two workers may plan one job, for a message may arrive twice.
        mine = select(indexes.c.id).where(indexes.c.id == index_id).with_for_update()
        with self._database.write() as connection:
            connection.execute(mine)
            found = [generation_of(row) for row in connection.execute(query)]
            for generation in found:
                if generation.spec_digest == spec.digest and generation.state in USABLE:
                    return generation
            number = found[0].number + 1 if found else 1
            _insert(connection, index_id, number, spec)
            return generation_of(connection.execute(_one(index_id, number)).one())

    def switch(
        self,
        index_id: str,
        number: int,
        job_id: str,
        token: str,
        counted: Counters,
        *,
        seal: Seal | None = None,
        message: str = "",
        gate: Mapping[str, Any] | None = None,
        points: int | None = None,
    ) -> bool:
        """End a job as succeeded and make its generation the one that searches read, in one
        transaction; False where the job ended or another worker finishes it.

        What is kept no longer is left to `Generations.claim_dropping`. `seal` is the generation's
        from now on, `gate` says what the job found before, `points` how many the generation has
        that was live so far.

        Raises:
            VerificationFailed: the generation was given up; nothing is changed.
        """
        held = and_(jobs.c.id == job_id, jobs.c.state == "running", jobs.c.lease_token == token)
        ended = {
            "state": "succeeded",
            "message": message,
            "finished_at": epoch_now(),
            "lease_token": None,
            "lease_until": None,
            "gate": gate,
        }
        with self._database.write() as connection:
            if not connection.execute(update(jobs).where(held).values(ended)).rowcount:
                return False
            add_counters(connection, job_id, counted)
            retire_live(connection, index_id, other_than=number, points=points)
            _make_live(connection, index_id, number, seal)
            _let_go(connection, index_id)
            connection.execute(
                update(indexes)
                .where(indexes.c.id == index_id)
                .values(live_generation=number, last_indexed_at=epoch_now(), last_job_id=job_id)
            )
        return True


def _one(index_id: str, number: int) -> Select[Any]:
    return select(generations).where(
        generations.c.index_id == index_id, generations.c.number == number
    )


def _insert(connection: Connection, index_id: str, number: int, spec: IndexSpec) -> None:
    connection.execute(
        generations.insert().values(
            index_id=index_id,
            number=number,
            spec_digest=spec.digest,
            spec=asdict(spec),
            collection=collection_of(spec, index_id),
            state=GenerationState.BUILDING,
            created_at=epoch_now(),
        )
    )


def retire_live(
    connection: Connection, index_id: str, *, other_than: int, **values: object
) -> None:
    """Retire the live generation where it is another one, within the caller's transaction."""
    live = and_(
        generations.c.index_id == index_id,
        generations.c.state == GenerationState.LIVE,
        generations.c.number != other_than,
    )
    retired = {"state": GenerationState.RETIRED, "retired_at": epoch_now(), **values}
    connection.execute(update(generations).where(live).values(retired))


def _make_live(connection: Connection, index_id: str, number: int, seal: Seal | None) -> None:
    usable = and_(
        generations.c.index_id == index_id,
        generations.c.number == number,
        generations.c.state.in_(USABLE),
    )
    sealed = None if seal is None else asdict(seal)
    live = {"state": GenerationState.LIVE, "live_at": epoch_now(), "seal": sealed}
    if not connection.execute(update(generations).where(usable).values(live)).rowcount:
        raise VerificationFailed(f"Generation {number} was given up meanwhile; reindex.")


def _let_go(connection: Connection, index_id: str) -> None:
    """Give up what was never finished, and the retired generations but for the last ones."""
    mine = generations.c.index_id == index_id
    retired = (
        select(generations.c.number)
        .where(mine, generations.c.state == GenerationState.RETIRED)
        .order_by(generations.c.retired_at.desc())
    )
    older = connection.execute(retired).scalars().all()[KEPT_GENERATIONS:]
    unfinished = generations.c.state == GenerationState.BUILDING
    connection.execute(
        update(generations)
        .where(mine, or_(unfinished, generations.c.number.in_(older)))
        .values(state=GenerationState.DROPPING)
    )


def generation_of(row: Row[Any]) -> Generation:
    """A generation from its row."""
    values = row._mapping
    return Generation(
        index_id=values["index_id"],
        number=values["number"],
        spec_digest=values["spec_digest"],
        values=values["spec"],
        collection=values["collection"],
        state=GenerationState(values["state"]),
        indexed_at=values["live_at"],
        retired_at=values["retired_at"],
        rejected_at=values["rejected_at"],
        points=values["points"],
        seal=None if values["seal"] is None else Seal(**values["seal"]),
    )
