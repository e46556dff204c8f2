"""Pages: the parts of a job that workers take, one lease at a time."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Float,
    Select,
    Update,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from celeriac.catalog import listed
from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.job_errors import insert_errors
from celeriac.catalog.jobs import JobState, Seen, add_counters, class_of, is_finishing
from celeriac.catalog.tables import jobs, pages
from celeriac.errors import JobStopped, LeaseLost
from celeriac.model import Counters, EntityFailure, ListedEntity, storable

LOOKUP_ROUND = 3
"""The round of pages that look entities up by their ids, after two listings missed them."""
MOST_TROUBLES = 10
"""Pages of a job whose trouble is told."""


class PageState(StrEnum):
    PENDING = "pending"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on one page."""

    job_id: str
    number: int
    token: str
    cursor: str | None
    epoch: int
    """The job's epoch when the page was claimed."""
    round: int
    """1, 2 in a second listing of the same source, or LOOKUP_ROUND."""
    claims: int
    """How often the page was claimed, this time included, without the times it was postponed."""
    postponed: int
    """How often it was postponed."""
    carried: Any = None
    """What earlier runs of the page carried over, as `Pages.carry` was given it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A page, or another step, that failed for want of a service and is tried again."""

    page: int | None
    error_class: str
    message: str
    since: float
    """Unix seconds by the database's clock."""
    seconds: float
    """For how long it has been failing."""

    def __str__(self) -> str:
        step = "It" if self.page is None else f"Page {self.page}"
        return f"{step} is tried again: {self.message}"


_TROUBLE = (
    pages.c.number,
    func.coalesce(pages.c.error_class, ""),
    func.coalesce(pages.c.last_error, ""),
    pages.c.failing_since,
    (epoch_now() - pages.c.failing_since).label("seconds"),
)


class Pages:
    """Rows of the tables `pages` and `listings`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._following = database.insert_new(pages).values(
            job_id=_JOB,
            number=_PAGE + 1,
            round=bindparam("round_"),
            cursor=bindparam("following"),
            state=PageState.PENDING,
            sent_at=epoch_now(),
        )

    def add(self, job_id: str, number: int, cursor: str | None) -> None:
        """Add a page; one that is there already stays as it is."""
        statement = self._database.insert_new(pages).values(
            job_id=job_id,
            number=number,
            cursor=cursor,
            state=PageState.PENDING,
            sent_at=epoch_now(),
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def claim(self, job_id: str, number: int, lease: float) -> Claim | None:
        """Take a pending page for `lease` seconds; None where it is done, held, or not due yet,
        or its job does not run, is paused, or has to wait for its throttle."""
        token = str(uuid.uuid4())
        page = {"of_job": job_id, "of_number": number, "new_token": token, "lease": lease}
        with self._database.write() as connection:
            row = connection.execute(_claiming(), page).one_or_none()
            if row is None:
                return None
            epoch = connection.execute(_epoch(), {"of_job": job_id}).scalar_one()
        cursor, round_, claims, postponed, carried = row
        return Claim(job_id, number, token, cursor, epoch, round_, claims, postponed, carried)

    def renew(self, claim: Claim, lease: float) -> bool:
        """Extend the lease before the next step; whether the job is paused.

        Raises:
            JobStopped: the job does not run any more, or in a later epoch.
            LeaseLost: another worker holds the page.
        """
        held = _of(claim)
        with self._database.write() as connection:
            row = connection.execute(_renewing(), {**held, "lease": lease}).one_or_none()
            if row is not None:
                return bool(row.paused)
            runs = connection.execute(_whether_it_runs(), held).scalar_one()
        if not runs:
            raise JobStopped
        raise LeaseLost

    def list_entities(
        self, claim: Claim, fingerprints: Mapping[uuid.UUID, str | None], following: str | None
    ) -> set[uuid.UUID]:
        """Record what a page lists, by key, and, in the same transaction, the page that follows it.

        Returns the keys that an earlier page lists too. An earlier run of this page is replaced.
        """
        held = _of(claim)
        with self._database.write() as connection:
            self._require_held(connection.execute(_locking(), held).one_or_none() is not None)
            listed.record(connection, claim.job_id, claim.number, fingerprints)
            if following is not None:
                self._follow(connection, claim, following)
            return listed.earlier(connection, claim.job_id, claim.number)

    def _follow(self, connection: Connection, claim: Claim, following: str) -> None:
        """Have the next page begin where this one ends, also when an earlier run of this page
        ended elsewhere: what lies between the two ends would be on no page."""
        place = {"round_": claim.round, "following": following}
        if connection.execute(self._following, {**_of(claim), **place}).rowcount:
            return
        astray = and_(
            pages.c.job_id == claim.job_id,
            pages.c.number == claim.number + 1,
            pages.c.round == claim.round,
            pages.c.cursor.is_distinct_from(following),
        )
        counted = connection.execute(select(pages.c.counters).where(astray).with_for_update())
        for counters in counted.scalars():
            if counters:
                add_counters(connection, claim.job_id, _taken_back(counters))
        connection.execute(
            update(pages)
            .where(astray)
            .values(
                cursor=following,
                state=PageState.PENDING,
                is_last=False,
                counters=None,
                carried=None,
                lease_token=None,
                lease_until=None,
                sent_at=epoch_now(),
            )
        )

    def commit(
        self,
        claim: Claim,
        counters: Counters,
        outcomes: Sequence[ListedEntity],
        failures: Sequence[EntityFailure],
        *,
        is_last: bool,
        also: Callable[[Connection], None] | None = None,
    ) -> Seen:
        """Mark a page done and count it, once, in one transaction, in which `also` may write too;
        the job with what was counted.

        Raises:
            JobStopped, LeaseLost: as `renew`; nothing is written then.
        """
        held = _of(claim)
        counted = {"last": is_last, "counted": asdict(counters)}
        with self._database.write() as connection:
            if not connection.execute(_committing(), {**held, **counted}).rowcount:
                runs = connection.execute(_whether_it_runs(), held).scalar_one()
                raise LeaseLost if runs else JobStopped
            seen = add_counters(connection, claim.job_id, counters)
            insert_errors(connection, claim.job_id, claim.number, failures)
            listed.settle(connection, claim.job_id, claim.number, outcomes)
            if also is not None:
                also(connection)
        return seen

    def postpone(self, claim: Claim, delay: float, error: Exception) -> Trouble | None:
        """Give a page back to be tried again after `delay` seconds; None where it is another
        worker's by now."""
        statement = (
            update(pages)
            .where(_held(claim))
            .values(
                lease_token=None,
                lease_until=None,
                not_before=epoch_now() + delay,
                sent_at=epoch_now() + delay,
                claims=pages.c.claims - 1,
                postponed=pages.c.postponed + 1,
                failing_since=func.coalesce(pages.c.failing_since, epoch_now()),
                last_error=storable(str(error)),
                error_class=class_of(error),
            )
            .returning(*_TROUBLE)
        )
        with self._database.write() as connection:
            row = connection.execute(statement).one_or_none()
        return Trouble(*row) if row else None

    def troubles(self, job_id: str) -> list[Trouble]:
        """What holds up the job's pages, the one that has been failing longest first."""
        query = (
            select(*_TROUBLE)
            .where(
                pages.c.job_id == job_id,
                pages.c.state == PageState.PENDING,
                pages.c.failing_since.is_not(None),
            )
            .order_by(pages.c.failing_since)
            .limit(MOST_TROUBLES)
        )
        with self._database.read() as connection:
            return [Trouble(*row) for row in connection.execute(query)]

    def idle_for(self, job_id: str) -> float:
        """Seconds since a page of the job was committed, or the job resumed."""
        committed = select(epoch_now() - func.max(pages.c.committed_at))
        resumed = select(epoch_now() - jobs.c.resumed_at)
        with self._database.read() as connection:
            idle = [
                connection.execute(committed.where(pages.c.job_id == job_id)).scalar(),
                connection.execute(resumed.where(jobs.c.id == job_id)).scalar(),
            ]
        return min((float(seconds) for seconds in idle if seconds is not None), default=0.0)

    def release(self, claim: Claim) -> bool:
        """Give up the lease of a page that is not to be gone on with; False where it was lost."""
        statement = update(pages).where(_held(claim)).values(lease_token=None, lease_until=None)
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)

    def give_back(self, claim: Claim) -> None:
        """Leave a page to another worker; it counts neither as a crash nor as a failure."""
        statement = (
            update(pages)
            .where(_held(claim))
            .values(
                lease_token=None,
                lease_until=None,
                sent_at=epoch_now(),
                claims=pages.c.claims - 1,
            )
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def carry(self, claim: Claim, carried: Any) -> None:
        """Keep what this run of the page has done, as JSON, for the one that goes on with it."""
        with self._database.write() as connection:
            connection.execute(update(pages).where(_held(claim)).values(carried=carried))

    def waits(self, job_id: str, number: int) -> bool:
        """Whether a page waits for a worker."""
        mine = and_(pages.c.job_id == job_id, pages.c.number == number)
        with self._database.read() as connection:
            return bool(connection.execute(select(exists().where(mine, is_waiting()))).scalar_one())

    def longest_waiting(self, job_id: str) -> int | None:
        """The page of the job that has waited longest for a worker."""
        query = select(pages.c.number).where(pages.c.job_id == job_id, is_waiting())
        query = query.order_by(pages.c.sent_at, pages.c.number).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).scalar()

    def take_lost(self, job_id: str, *, silent_for: float) -> list[int]:
        """Pages that nobody holds and whose message was sent too long ago; the caller sends them
        again, which is recorded here."""
        statement = (
            update(pages)
            .where(
                pages.c.job_id == job_id,
                is_waiting(),
                or_(pages.c.sent_at.is_(None), pages.c.sent_at <= epoch_now() - silent_for),
            )
            .values(sent_at=epoch_now())
            .returning(pages.c.number)
        )
        with self._database.write() as connection:
            return sorted(connection.execute(statement).scalars())

    def held_for_index(self, index_id: str, *, other_than: str) -> bool:
        """Whether a worker still holds a page, or the finish, of another job of the index."""
        another = and_(jobs.c.index_id == index_id, jobs.c.id != other_than)
        page = exists().where(
            another,
            pages.c.job_id == jobs.c.id,
            pages.c.state == PageState.PENDING,
            pages.c.lease_until >= epoch_now(),
        )
        finish = exists().where(another, jobs.c.lease_until >= epoch_now())
        with self._database.read() as connection:
            return bool(connection.execute(select(or_(page, finish))).scalar_one())

    def count(self, job_id: str) -> int:
        query = select(func.count()).select_from(pages).where(pages.c.job_id == job_id)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def reopen(self, job_id: str, token: str, numbers: Collection[int]) -> None:
        """Have committed pages run once more, and take back what they counted.

        Raises:
            JobStopped: the job does not run any more, or another worker finishes it.
        """
        finishing = select(jobs.c.id).where(is_finishing(job_id, token)).with_for_update()
        with self._database.write() as connection:
            if connection.execute(finishing).one_or_none() is None:
                raise JobStopped
            reopen(connection, job_id, numbers)

    def mend(self, job_id: str, at_most: int) -> bool:
        """Count that a job's pages run again because the store lost what they wrote; whether that
        has happened less than `at_most` times before."""
        again = update(jobs).where(jobs.c.id == job_id, jobs.c.mended < at_most)
        with self._database.write() as connection:
            return connection.execute(again.values(mended=jobs.c.mended + 1)).rowcount > 0

    @staticmethod
    def _require_held(held: bool) -> None:
        if not held:
            raise LeaseLost


def reopen(connection: Connection, job_id: str, numbers: Collection[int]) -> None:
    """`Pages.reopen`, within the caller's transaction."""
    mine = and_(
        pages.c.job_id == job_id, pages.c.number.in_(numbers), pages.c.state == PageState.DONE
    )
    for counted in connection.execute(select(pages.c.counters).where(mine)).scalars():
        add_counters(connection, job_id, _taken_back(counted))
    again = {"state": PageState.PENDING, "counters": None, "claims": 0}
    connection.execute(update(pages).where(mine).values(again))


def is_alone(connection: Connection, claim: Claim) -> bool:
    """Whether a page is still held and no other one of its job is there, within the caller's
    transaction: until that ends, none is added."""
    if connection.execute(_locking(), _of(claim)).one_or_none() is None:
        return False
    count = select(func.count()).select_from(pages).where(pages.c.job_id == claim.job_id)
    return connection.execute(count).scalar_one() == 1


def is_waiting() -> ColumnElement[bool]:
    """Whether a page waits for a worker: pending, due, and nobody's."""
    return and_(
        pages.c.state == PageState.PENDING,
        or_(pages.c.lease_until.is_(None), pages.c.lease_until < epoch_now()),
        or_(pages.c.not_before.is_(None), pages.c.not_before <= epoch_now()),
    )


def is_open() -> ColumnElement[bool]:
    """Whether workers may take pages of a job: it runs, is not paused, and its throttle lets it."""
    return and_(
        jobs.c.state == JobState.RUNNING,
        jobs.c.paused_at.is_(None),
        or_(jobs.c.throttle.is_(None), jobs.c.next_at.is_(None), jobs.c.next_at <= epoch_now()),
    )


def _taken_back(counters: Mapping[str, int]) -> Counters:
    return Counters(**{name: -value for name, value in counters.items()})


def _held(claim: Claim) -> ColumnElement[bool]:
    return and_(
        pages.c.job_id == claim.job_id,
        pages.c.number == claim.number,
        pages.c.state == PageState.PENDING,
        pages.c.lease_token == claim.token,
    )


# The statements of every page. They are made once: making them takes longer than their execution.

_JOB: BindParameter[str] = bindparam("of_job")
_PAGE: BindParameter[int] = bindparam("of_number")


def _of(claim: Claim) -> dict[str, Any]:
    """What the statements below ask of a claim."""
    return {
        "of_job": claim.job_id,
        "of_number": claim.number,
        "of_token": claim.token,
        "of_epoch": claim.epoch,
    }


@functools.cache
def _is_held() -> ColumnElement[bool]:
    return and_(
        pages.c.job_id == _JOB,
        pages.c.number == _PAGE,
        pages.c.state == PageState.PENDING,
        pages.c.lease_token == bindparam("of_token"),
    )


@functools.cache
def _runs() -> ColumnElement[bool]:
    return exists().where(
        jobs.c.id == _JOB, jobs.c.state == JobState.RUNNING, jobs.c.epoch == bindparam("of_epoch")
    )


@functools.cache
def _whether_it_runs() -> Select[Any]:
    return select(_runs())


@functools.cache
def _epoch() -> Select[Any]:
    return select(jobs.c.epoch).where(jobs.c.id == _JOB)


@functools.cache
def _claiming() -> ReturningUpdate[Any]:
    return (
        update(pages)
        .where(
            pages.c.job_id == _JOB,
            pages.c.number == _PAGE,
            is_waiting(),
            exists().where(jobs.c.id == _JOB, is_open()),
        )
        .values(
            lease_token=bindparam("new_token"),
            lease_until=epoch_now() + bindparam("lease", type_=Float),
            claims=pages.c.claims + 1,
        )
        .returning(
            pages.c.cursor, pages.c.round, pages.c.claims, pages.c.postponed, pages.c.carried
        )
    )


@functools.cache
def _renewing() -> ReturningUpdate[Any]:
    paused = select(jobs.c.paused_at.is_not(None)).where(jobs.c.id == _JOB).scalar_subquery()
    return (
        update(pages)
        .where(_is_held(), _runs())
        .values(lease_until=epoch_now() + bindparam("lease", type_=Float))
        .returning(paused.label("paused"))
    )


@functools.cache
def _locking() -> Select[Any]:
    return select(pages.c.number).where(_is_held()).with_for_update()


@functools.cache
def _committing() -> Update:
    return (
        update(pages)
        .where(_is_held(), _runs())
        .values(
            state=PageState.DONE,
            is_last=bindparam("last"),
            committed_at=epoch_now(),
            counters=bindparam("counted"),
            carried=None,
            lease_token=None,
            lease_until=None,
            failing_since=None,
            last_error=None,
            error_class=None,
        )
    )
