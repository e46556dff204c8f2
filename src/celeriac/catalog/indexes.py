"""Indexes and their generations."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, select, update

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.jobs import add_counters
from celeriac.catalog.tables import generations, indexes, jobs
from celeriac.model import Counters, IndexSpec, Partition

_NAMESPACE = uuid.UUID("6a7a7f0e-2c3d-5f39-8f67-5f0a6c0de1e7")


class GenerationState(StrEnum):
    """Where a generation is in its life."""

    BUILDING = "building"
    LIVE = "live"
    RETIRED = "retired"
    """Was live; kept for a way back."""
    DROPPED = "dropped"
    """Its points are gone."""


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
    model: str
    """Key of the embedding model it was built with."""
    model_digest: str
    """Digest of that model's description then."""
    collection: str
    state: GenerationState

    @property
    def partition(self) -> Partition:
        return Partition(self.collection, self.index_id, self.number)


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

    def ensure(self, tenant: str, entity_type: str) -> str:
        """The id of the entity type's index, created when there is none."""
        index_id = index_id_of(tenant, entity_type)
        statement = self._database.insert_new(indexes).values(
            id=index_id, tenant=tenant, entity_type=entity_type, created_at=epoch_now()
        )
        with self._database.write() as connection:
            connection.execute(statement)
        return index_id

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
            return _generation(connection.execute(_one(index_id, number)).one())

    def live(self, index_id: str) -> Generation | None:
        """The generation that searches read; None before the first job succeeded."""
        query = select(generations).join(
            indexes,
            (indexes.c.id == generations.c.index_id)
            & (indexes.c.live_generation == generations.c.number),
        )
        with self._database.read() as connection:
            row = connection.execute(query.where(indexes.c.id == index_id)).one_or_none()
        return _generation(row) if row else None

    def generation_for(self, index_id: str, spec: IndexSpec) -> Generation:
        """The generation that a job under `spec` writes: the live one if its spec is the same,
        else the one being built under this spec, else a new one."""
        query = (
            select(generations)
            .where(generations.c.index_id == index_id)
            .order_by(generations.c.number.desc())
        )
        usable = (GenerationState.LIVE, GenerationState.BUILDING)
        # One at a time: two workers may plan one job, for a message may arrive twice.
        mine = select(indexes.c.id).where(indexes.c.id == index_id).with_for_update()
        with self._database.write() as connection:
            connection.execute(mine)
            found = [_generation(row) for row in connection.execute(query)]
            for generation in found:
                if generation.spec_digest == spec.digest and generation.state in usable:
                    return generation
            number = found[0].number + 1 if found else 1
            _insert(connection, index_id, number, spec)
            return _generation(connection.execute(_one(index_id, number)).one())

    def switch(
        self, index_id: str, number: int, job_id: str, token: str, counted: Counters
    ) -> bool:
        """End a job as succeeded and make its generation the one that searches read, in one
        transaction; False where the job ended or another worker finishes it."""
        mine = generations.c.index_id == index_id
        held = and_(jobs.c.id == job_id, jobs.c.state == "running", jobs.c.lease_token == token)
        ended = {
            "state": "succeeded",
            "finished_at": epoch_now(),
            "lease_token": None,
            "lease_until": None,
        }
        with self._database.write() as connection:
            if not connection.execute(update(jobs).where(held).values(ended)).rowcount:
                return False
            add_counters(connection, job_id, counted)
            connection.execute(
                update(generations)
                .where(
                    mine,
                    generations.c.state == GenerationState.LIVE,
                    generations.c.number != number,
                )
                .values(state=GenerationState.RETIRED)
            )
            connection.execute(
                update(generations)
                .where(mine, generations.c.number == number)
                .values(state=GenerationState.LIVE, live_at=epoch_now())
            )
            connection.execute(
                update(indexes)
                .where(indexes.c.id == index_id)
                .values(live_generation=number, last_indexed_at=epoch_now(), last_job_id=job_id)
            )
        return True

    def superseded(self, index_id: str, by: int, *, keep: int) -> list[Generation]:
        """Generations whose points may go once `by` is live: those that were live but for the
        `keep` last, and those that were never finished."""
        states = [GenerationState.RETIRED, GenerationState.BUILDING, GenerationState.LIVE]
        query = (
            select(generations)
            .where(
                generations.c.index_id == index_id,
                generations.c.state.in_(states),
                generations.c.number != by,
            )
            .order_by(generations.c.number.desc())
        )
        with self._database.read() as connection:
            found = [_generation(row) for row in connection.execute(query)]
        retired = [one for one in found if one.state != GenerationState.BUILDING]
        retired.sort(key=lambda one: one.state != GenerationState.LIVE)
        unfinished = [one for one in found if one.state == GenerationState.BUILDING]
        return retired[keep:] + unfinished

    def mark_dropped(self, generation: Generation) -> None:
        statement = (
            update(generations)
            .where(
                generations.c.index_id == generation.index_id,
                generations.c.number == generation.number,
            )
            .values(state=GenerationState.DROPPED)
        )
        with self._database.write() as connection:
            connection.execute(statement)


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


def _generation(row: Row[Any]) -> Generation:
    values = row._mapping
    return Generation(
        index_id=values["index_id"],
        number=values["number"],
        spec_digest=values["spec_digest"],
        model=values["spec"]["model"],
        model_digest=values["spec"]["model_digest"],
        collection=values["collection"],
        state=GenerationState(values["state"]),
    )
