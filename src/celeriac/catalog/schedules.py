"""Schedules: what runs by itself, when it did last and when it will next."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, delete, func, or_, select, update

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.tables import schedules
from celeriac.configuration.schedule import Schedule
from celeriac.model import storable
from celeriac.occurrences import next_due

_NAMESPACE = uuid.UUID("0d6b7a60-6f0e-5b1b-9d0c-5f2f6c7f6f11")

TAKEN_FOR = 60.0
"""Seconds that whoever takes a tick has to request its job; then another one may."""

REMEMBERED_FOR = 90 * 86_400.0
"""Seconds for which it is kept that a schedule was changed or paused that is not declared now."""

BRIEFLY = 3600.0
"""Seconds of not being declared within which a tick is caught up: processes of two configurations
may run side by side while one is rolled out."""


class Origin(StrEnum):
    """Where a schedule comes from."""

    DECLARED = "declared"
    """An entity type's, in the configuration file."""
    POLICY = "refresh_policy"
    """A knowledge base's."""
    ADDED = "added"
    """An entity type's, added while celeriac ran."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A schedule that is declared, or that a refresh policy stands for."""

    tenant: str
    target: str
    """An entity type's name, or a knowledge base's id."""
    origin: Origin
    schedule: Schedule

    @property
    def id(self) -> str:
        """Derived: a target has one such schedule, and a lost catalog finds it again."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.tenant}/{self.origin}/{self.target}"))


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A row of the table `schedules`. Times are Unix seconds by the database's clock."""

    id: str
    tenant: str
    target: str
    """An entity type's name, or a knowledge base's id."""
    origin: Origin
    schedule: Schedule
    declared: Schedule | None
    """What is declared where it comes from; None for one that was added."""
    withdrawn_at: float | None
    """Since when it is not declared any more; it is kept in case it comes back."""
    paused_at: float | None
    next_at: float
    """When it is due, if it is not paused; in the past where that has not been seen to yet."""
    last_due_at: float | None
    last_run_at: float | None
    last_job_id: str | None
    message: str
    """Why its last tick led to no job; empty otherwise."""
    created_at: float

    @property
    def overridden(self) -> bool:
        """Whether it was changed and is not as it is declared."""
        return self.declared is not None and self.declared != self.schedule


class Schedules:
    """Rows of the table `schedules`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reconcile(self, wanted: Sequence[Wanted]) -> None:
        """Have exactly these of what is declared or a policy's. What was changed or paused stays
        so, until the declaration itself changes; what was added stays."""
        now = self._database.now()
        found = {row.id: row for row in self._rows(_declared())}
        for one in wanted:
            self._reconcile_one(one, found.pop(one.id, None), now)
        withdrawn = [row.id for row in found.values() if row.withdrawn_at is None]
        if withdrawn:
            self._set(schedules.c.id.in_(withdrawn), withdrawn_at=epoch_now())
        self._forget()

    def _forget(self) -> None:
        long_gone = schedules.c.withdrawn_at < epoch_now() - REMEMBERED_FOR
        if self._rows(long_gone):
            with self._database.write() as connection:
                connection.execute(delete(schedules).where(long_gone))

    def _reconcile_one(self, wanted: Wanted, row: ScheduleRow | None, now: float) -> None:
        if row is None:
            self._insert(wanted.id, wanted, asdict(wanted.schedule), now)
        elif row.declared != wanted.schedule:
            self._reschedule(row.id, wanted.schedule, now, declared=asdict(wanted.schedule))
        elif row.withdrawn_at is not None:
            brief = now - row.withdrawn_at < BRIEFLY
            self._reschedule(row.id, row.schedule, row.withdrawn_at if brief else now)

    def add(self, tenant: str, entity_type: str, schedule: Schedule) -> ScheduleRow:
        """Another schedule of an entity type."""
        schedule_id = str(uuid.uuid4())
        wanted = Wanted(tenant, entity_type, Origin.ADDED, schedule)
        self._insert(schedule_id, wanted, None, self._database.now())
        return self._required(schedule_id)

    def of_tenant(self, tenant: str) -> list[ScheduleRow]:
        """The tenant's schedules, the oldest first."""
        return self._rows(and_(schedules.c.tenant == tenant, _in_force()))

    def find(self, schedule_id: str) -> ScheduleRow | None:
        rows = self._rows(and_(schedules.c.id == schedule_id, _in_force()))
        return rows[0] if rows else None

    def count(self, tenant: str) -> int:
        query = select(func.count()).where(schedules.c.tenant == tenant, _in_force())
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def change(self, schedule_id: str, schedule: Schedule) -> ScheduleRow:
        """Have it due at other times, from now on."""
        self._reschedule(schedule_id, schedule, self._database.now())
        return self._required(schedule_id)

    def pause(self, schedule_id: str) -> ScheduleRow:
        """Have it not run until it is resumed."""
        running = and_(schedules.c.id == schedule_id, schedules.c.paused_at.is_(None))
        self._set(running, paused_at=epoch_now())
        return self._required(schedule_id)

    def resume(self, schedule_id: str) -> ScheduleRow:
        """Have it run again; what was due meanwhile is not caught up."""
        row = self._required(schedule_id)
        if row.paused_at is not None:
            next_at = next_due(row.schedule, self._database.now())
            paused = and_(schedules.c.id == schedule_id, schedules.c.paused_at.is_not(None))
            self._set(paused, paused_at=None, next_at=next_at)
        return self._required(schedule_id)

    def delete(self, schedule_id: str) -> None:
        """Remove one that was added."""
        with self._database.write() as connection:
            connection.execute(delete(schedules).where(schedules.c.id == schedule_id))

    def due(self) -> list[ScheduleRow]:
        """What is due now and nobody sees to."""
        return self._rows(and_(schedules.c.next_at <= epoch_now(), _free()))

    def take(self, row: ScheduleRow) -> bool:
        """Whether this call is the one to see to the tick that is due. Whoever takes it and dies
        holds it for TAKEN_FOR seconds."""
        statement = (
            update(schedules)
            .where(schedules.c.id == row.id, schedules.c.next_at == row.next_at, _free())
            .values(lease_until=epoch_now() + TAKEN_FOR)
        )
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)

    def done(self, row: ScheduleRow, *, job_id: str | None, message: str = "") -> None:
        """The tick led to a job, or to none and why. Whatever else was due meanwhile is done with
        it: the next tick is the first after now."""
        values: dict[str, Any] = {"last_run_at": epoch_now()} if job_id else {}
        next_at = next_due(row.schedule, self._database.now())
        self._set(
            and_(schedules.c.id == row.id, schedules.c.next_at == row.next_at),
            next_at=next_at,
            lease_until=None,
            last_due_at=row.next_at,
            last_job_id=job_id or row.last_job_id,
            message=storable(message),
            **values,
        )

    def _reschedule(self, schedule_id: str, schedule: Schedule, now: float, **values: Any) -> None:
        self._set(
            schedules.c.id == schedule_id,
            **asdict(schedule),
            next_at=next_due(schedule, now),
            withdrawn_at=None,
            lease_until=None,
            **values,
        )

    def _insert(self, schedule_id: str, wanted: Wanted, declared: Any, now: float) -> None:
        statement = self._database.insert_new(schedules).values(
            id=schedule_id,
            tenant=wanted.tenant,
            target=wanted.target,
            origin=wanted.origin,
            **asdict(wanted.schedule),
            declared=declared,
            next_at=next_due(wanted.schedule, now),
            created_at=epoch_now(),
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def _set(self, where: ColumnElement[bool], **values: Any) -> None:
        with self._database.write() as connection:
            connection.execute(update(schedules).where(where).values(**values))

    def _required(self, schedule_id: str) -> ScheduleRow:
        (row,) = self._rows(schedules.c.id == schedule_id)
        return row

    def _rows(self, where: ColumnElement[bool]) -> list[ScheduleRow]:
        query: Select[Any] = select(schedules).where(where)
        ordered = query.order_by(schedules.c.created_at, schedules.c.id)
        with self._database.read() as connection:
            return [_row(row) for row in connection.execute(ordered)]


def _declared() -> ColumnElement[bool]:
    return schedules.c.origin != Origin.ADDED


def _in_force() -> ColumnElement[bool]:
    return schedules.c.withdrawn_at.is_(None)


def _free() -> ColumnElement[bool]:
    lease = schedules.c.lease_until
    unleased = or_(lease.is_(None), lease < epoch_now())
    return and_(schedules.c.paused_at.is_(None), _in_force(), unleased)


def _row(row: Row[Any]) -> ScheduleRow:
    return ScheduleRow(
        id=row.id,
        tenant=row.tenant,
        target=row.target,
        origin=Origin(row.origin),
        schedule=Schedule(row.cron, row.timezone),
        declared=Schedule(**row.declared) if row.declared else None,
        withdrawn_at=row.withdrawn_at,
        paused_at=row.paused_at,
        next_at=row.next_at,
        last_due_at=row.last_due_at,
        last_run_at=row.last_run_at,
        last_job_id=row.last_job_id,
        message=row.message,
        created_at=row.created_at,
    )
