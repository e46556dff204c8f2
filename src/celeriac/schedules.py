"""What runs by itself: schedules of entity types, and refresh policies of knowledge bases.

Whatever calls `run_due` regularly is the clock; the rows in the catalog say what is due, so a clock
that stood still, stands twice or forgets everything neither loses a tick nor doubles one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from celeriac.catalog.jobs import Job, JobMode, JobState
from celeriac.catalog.schedules import Origin, ScheduleRow, Wanted
from celeriac.configuration.schedule import Schedule
from celeriac.dispatch import Dispatcher
from celeriac.errors import CeleriacError, Conflict, TransientError
from celeriac.jobs import request_job
from celeriac.refresh import schedule_of
from celeriac.runtime import Runtime

logger = logging.getLogger(__name__)

MOST = 1000
"""Schedules of a tenant."""


class Schedules:
    """The schedules there are, and what is due."""

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher) -> None:
        self._runtime = runtime
        self._catalog = runtime.catalog
        self._dispatcher = dispatcher

    def of_tenant(self, tenant: str) -> list[ScheduleRow]:
        self.reconcile()
        return self._catalog.schedules.of_tenant(tenant)

    def find(self, schedule_id: str) -> ScheduleRow | None:
        self.reconcile()
        return self._catalog.schedules.find(schedule_id)

    def add(self, tenant: str, entity_type: str, schedule: Schedule) -> ScheduleRow:
        """Another schedule of a declared entity type.

        Raises:
            NotFound: there is no such entity type.
            Conflict: the tenant has MOST schedules.
        """
        declared = self._runtime.settings.configuration.entity_type(tenant, entity_type)
        if self._catalog.schedules.count(tenant) >= MOST:
            raise Conflict(f"The tenant has {MOST:,} schedules; delete one first.")
        return self._catalog.schedules.add(tenant, declared.name, schedule)

    def change(self, row: ScheduleRow, schedule: Schedule) -> ScheduleRow:
        """Have it due at other times, until what is declared for it changes.

        Raises:
            Conflict: it is a knowledge base's refresh policy.
        """
        if row.origin == Origin.POLICY:
            raise Conflict("Change the refresh policy of the knowledge base instead.")
        return self._catalog.schedules.change(row.id, schedule)

    def pause(self, row: ScheduleRow) -> ScheduleRow:
        return self._catalog.schedules.pause(row.id)

    def resume(self, row: ScheduleRow) -> ScheduleRow:
        return self._catalog.schedules.resume(row.id)

    def delete(self, row: ScheduleRow) -> None:
        """Remove one that was added.

        Raises:
            Conflict: it is declared, and would come back.
        """
        if row.origin == Origin.DECLARED:
            raise Conflict("The configuration file declares it; remove it there, or pause it.")
        if row.origin == Origin.POLICY:
            raise Conflict("Set the refresh policy of the knowledge base to MANUAL, or pause it.")
        self._catalog.schedules.delete(row.id)

    def reconcile(self) -> None:
        """Have the rows say what is declared."""
        self._catalog.schedules.reconcile([*self._declared(), *self._policies()])

    def _declared(self) -> Iterator[Wanted]:
        for tenant in self._runtime.settings.configuration.tenants.values():
            for one in tenant.entity_types.values():
                if one.schedule is not None:
                    yield Wanted(tenant.name, one.name, Origin.DECLARED, one.schedule)

    def _policies(self) -> Iterator[Wanted]:
        for base in self._catalog.knowledge_bases.managed():
            schedule = schedule_of(base.refresh_policy)
            if schedule is not None:
                yield Wanted(base.tenant, base.id, Origin.POLICY, schedule)

    def run_due(self) -> list[ScheduleRow]:
        """Request what is due, each tick once however many ask; those that this call saw to.

        Where the catalog or the broker is away, the tick stays due.
        """
        self.reconcile()
        due = self._catalog.schedules.due()
        return [row for row in due if self._catalog.schedules.take(row) and self._run(row)]

    def _run(self, row: ScheduleRow) -> bool:
        about = {"action": "schedule", "tenant": row.tenant, "target": row.target}
        job_id, problems = None, []
        for name in self._names(row):
            try:
                job_id = self._join(row.tenant, name).id
            except TransientError as error:
                logger.warning("schedule waits", extra={**about, "error": str(error)})
                return False
            except CeleriacError as error:
                # One index that cannot be had must not keep the others from theirs.
                logger.error("schedule failed", extra={**about, "error": str(error)})  # noqa: TRY400
                problems.append(str(error))
        self._catalog.schedules.done(row, job_id=job_id, message=" ".join(problems))
        return True

    def _names(self, row: ScheduleRow) -> list[str]:
        """The entity type, or the keys of a knowledge base's indexes."""
        if row.origin != Origin.POLICY:
            return [row.target]
        return [one.key for one in self._catalog.knowledge_bases.all_indexes(row.target)]

    def _join(self, tenant: str, name: str) -> Job:
        """The reindex that runs already, or else one that is requested or joined."""
        index = self._catalog.indexes.find(tenant, name)
        running = self._catalog.jobs.of_index(index.id, JobState.RUNNING, limit=1) if index else []
        if running and running[0].mode == JobMode.REINDEX:
            return running[0]
        return request_job(self._runtime, self._dispatcher, tenant, name).job
