"""What becomes of generations beside jobs: listed, rolled back, accepted again, dropped."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    exists,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.indexes import (
    Generation,
    GenerationState,
    IndexRow,
    generation_of,
    retire_live,
)
from celeriac.catalog.jobs import ACTIVE, FINAL, JobState
from celeriac.catalog.tables import entries, generations, indexes, jobs, knowledge_indexes
from celeriac.errors import Conflict


class Generations:
    """Rows of the table `generations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_index(self, index_id: str) -> list[Generation]:
        """All there ever were, newest first."""
        query = (
            select(generations)
            .where(generations.c.index_id == index_id)
            .order_by(generations.c.number.desc())
        )
        with self._database.read() as connection:
            return [generation_of(row) for row in connection.execute(query)]

    def kept_instead(self, index_id: str, digest: str) -> Generation | None:
        """The live generation, where one built under the spec of this digest was rejected."""
        index = {"of_index": index_id, "of_digest": digest}
        with self._database.read() as connection:
            row = connection.execute(_kept_instead(), index).one_or_none()
        return generation_of(row) if row else None

    def roll_back(self, index: IndexRow, live: Generation, to: Generation, points: int) -> None:
        """Make `to` live again and reject `live`, which has so many points, in one transaction.

        Raises:
            Conflict: a job of the index runs, or one of the two is no longer what it was.
        """
        back = and_(_is(to), generations.c.state == GenerationState.RETIRED)
        here = and_(indexes.c.id == index.id, indexes.c.live_generation == live.number)
        with self._without_jobs(index) as connection:
            retire_live(
                connection, index.id, other_than=to.number, points=points, rejected_at=epoch_now()
            )
            returned = connection.execute(
                update(generations).where(back).values(state=GenerationState.LIVE)
            )
            moved = connection.execute(
                update(indexes)
                .where(here)
                .values(live_generation=to.number, last_indexed_at=to.indexed_at)
            )
            if not (returned.rowcount and moved.rowcount):
                raise Conflict(
                    f"The generations of {_name(index)} have changed meanwhile; look at them: "
                    f"celeriac generations {index.tenant} {index.entity_type}"
                )

    def accept(self, index: IndexRow, digest: str) -> list[int]:
        """Take back what was rejected of the spec of this digest: the numbers of its generations.
        One whose points are kept is gone on with by the next job.

        Raises:
            Conflict: a job of the index runs.
        """
        state = generations.c.state
        retired = case((state == GenerationState.RETIRED, GenerationState.BUILDING), else_=state)
        statement = (
            update(generations)
            .where(
                generations.c.index_id == index.id,
                generations.c.spec_digest == digest,
                generations.c.rejected_at.is_not(None),
            )
            .values(rejected_at=None, state=retired)
            .returning(generations.c.number)
        )
        with self._without_jobs(index) as connection:
            return sorted(connection.execute(statement).scalars())

    @contextmanager
    def _without_jobs(self, index: IndexRow) -> Iterator[Connection]:
        """A transaction during which no job of the index runs or begins to.

        A running job would go on with what it was started with, and undo the change at its end. A
        row that stands for one keeps others from starting until the transaction ends; it is never
        seen outside. A job that waits settles what it writes once it starts.
        """
        mine = jobs.c.index_id == index.id
        running = select(jobs.c.id, jobs.c.state).where(
            mine, jobs.c.state.not_in([*FINAL, JobState.QUEUED])
        )
        stand_in = str(uuid.uuid4())
        try:
            with self._database.write() as connection:
                for job_id, state in connection.execute(running):
                    raise Conflict(
                        f"Job {job_id} of {_name(index)} is {state}; repeat this once it has "
                        f"ended, or cancel it: celeriac cancel {job_id}"
                    )
                connection.execute(
                    jobs.insert().values(
                        id=stand_in,
                        index_id=index.id,
                        tenant=index.tenant,
                        entity_type=index.entity_type,
                        state=JobState.RUNNING,
                        created_at=epoch_now(),
                    )
                )
                yield connection
                connection.execute(jobs.delete().where(jobs.c.id == stand_in))
        except IntegrityError:
            raise Conflict(
                f"A job of {_name(index)} has just started; repeat this once it has ended."
            ) from None

    def give_up(self, generation: Generation) -> None:
        """Have a generation that was never finished dropped."""
        unfinished = and_(_is(generation), generations.c.state == GenerationState.BUILDING)
        with self._database.write() as connection:
            connection.execute(
                update(generations).where(unfinished).values(state=GenerationState.DROPPING)
            )

    def orphaned(self) -> list[str]:
        """Ids of the indexes of deleted knowledge bases that have a generation still, and no job
        that takes its points out."""
        given_up = (GenerationState.DROPPING, GenerationState.DROPPED)
        mine = generations.c.index_id == knowledge_indexes.c.id
        job = and_(jobs.c.index_id == knowledge_indexes.c.id, jobs.c.state.in_(ACTIVE))
        query = select(knowledge_indexes.c.id).where(
            knowledge_indexes.c.deleted_at.is_not(None),
            exists().where(mine, generations.c.state.not_in(given_up)),
            ~exists().where(job),
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def let_go(self, index_id: str) -> None:
        """Have every generation of an index dropped, and its entries forgotten, where nobody asks
        for a job over it any more."""
        mine = and_(
            generations.c.index_id == index_id, generations.c.state != GenerationState.DROPPED
        )
        unread = update(indexes).where(indexes.c.id == index_id).values(live_generation=None)
        with self._database.write() as connection:
            connection.execute(unread)
            connection.execute(entries.delete().where(entries.c.index_id == index_id))
            connection.execute(
                update(generations).where(mine).values(state=GenerationState.DROPPING)
            )

    def claim_dropping(self, lease: float) -> Generation | None:
        """Take a generation whose points are to be deleted for `lease` seconds; None where there
        is none that is free. Two workers at one would do no harm, only work twice."""
        free = and_(
            generations.c.state == GenerationState.DROPPING,
            or_(generations.c.lease_until.is_(None), generations.c.lease_until < epoch_now()),
        )
        query = select(generations).where(free).limit(1).with_for_update(skip_locked=True)
        with self._database.write() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            generation = generation_of(row)
            _set(connection, generation, lease_until=epoch_now() + lease)
        return generation

    def release_dropping(self, generation: Generation) -> None:
        """Leave the rest to another worker."""
        with self._database.write() as connection:
            _set(connection, generation, lease_until=None)

    def dropped(self, generation: Generation) -> None:
        """Record that its points are gone."""
        with self._database.write() as connection:
            _set(connection, generation, state=GenerationState.DROPPED, lease_until=None)


@functools.cache
def _kept_instead() -> Select[Any]:
    """Made once: every page asks."""
    rejected = generations.alias()
    index_id: BindParameter[str] = bindparam("of_index")
    return (
        select(generations)
        .join(
            indexes,
            and_(
                indexes.c.id == generations.c.index_id,
                indexes.c.live_generation == generations.c.number,
            ),
        )
        .where(
            indexes.c.id == index_id,
            exists().where(
                rejected.c.index_id == index_id,
                rejected.c.spec_digest == bindparam("of_digest"),
                rejected.c.rejected_at.is_not(None),
            ),
        )
    )


def _set(connection: Connection, generation: Generation, **values: object) -> None:
    connection.execute(update(generations).where(_is(generation)).values(values))


def _is(generation: Generation) -> ColumnElement[bool]:
    return and_(
        generations.c.index_id == generation.index_id, generations.c.number == generation.number
    )


def _name(index: IndexRow) -> str:
    return f"{index.tenant}/{index.entity_type}"
