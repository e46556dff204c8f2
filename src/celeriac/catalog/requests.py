"""Requests for jobs: one that waits is joined, or else one is queued."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, and_, select, update

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.jobs import Job, JobMode, JobState, job_of
from celeriac.catalog.queueing import waiting_or_new
from celeriac.catalog.tables import indexes, jobs
from celeriac.model import Priority, Selection

MOST_ATTEMPTS = 100
"""How often another request may be faster before something else must be wrong."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a job is queued."""

    priority: Priority = Priority.NORMAL
    throttle: float | None = None
    """Entities a second at most."""


@dataclass(frozen=True, slots=True)
class Request:
    """The answer to a request for a job."""

    job: Job
    joined: bool
    """True when a waiting job was there already and no other was made."""


class JobRequests:
    """Rows of the table `jobs` that wait to be taken up."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def queue(
        self,
        index_id: str,
        tenant: str,
        entity_type: str,
        removal_limit: float | None = None,
        *,
        retry: Selection | None = None,
        terms: Terms = Terms(),
    ) -> Request:
        """Queue a job for the index, which is made where there is none, or join the one that waits,
        on its terms. It is a reindex unless `retry` is given.

        A reindex takes what any retry would: a retry joins a waiting one, and a waiting retry
        becomes one when it is asked for. Two retries become one that takes what either would.
        """
        new = {
            "index_id": index_id,
            "tenant": tenant,
            "entity_type": entity_type,
            "removal_limit": removal_limit,
            "mode": JobMode.REINDEX if retry is None else JobMode.RETRY,
            "retries": None if retry is None else _stored([retry]),
            "priority": terms.priority,
            "throttle": terms.throttle,
        }
        for _ in range(MOST_ATTEMPTS):
            found = self._waiting_or_new(new)
            if found is None:
                continue
            if not found.joined:
                return found
            joined = self._join(found.job, removal_limit, retry)
            if joined is not None:
                return Request(joined, joined=True)
            # It started meanwhile, without what was asked for.
        raise RuntimeError(f"a job of index {index_id} could neither be made nor joined")

    def _join(
        self, waiting: Job, removal_limit: float | None, retry: Selection | None
    ) -> Job | None:
        """The waiting job, with what is asked for beside; None where it waits no more."""
        if retry is not None:
            return self._add_retry(waiting, retry) if waiting.mode == JobMode.RETRY else waiting
        changes: dict[str, Any] = {}
        if removal_limit is not None:
            changes["removal_limit"] = removal_limit
        if waiting.mode == JobMode.RETRY:
            changes |= {"mode": JobMode.REINDEX, "retries": None}
        if not changes:
            return waiting
        held = and_(jobs.c.id == waiting.id, jobs.c.state == JobState.QUEUED)
        with self._database.write() as connection:
            changed = connection.execute(update(jobs).where(held).values(changes).returning(jobs))
            row = changed.one_or_none()
        return job_of(row._mapping) if row else None

    def _add_retry(self, waiting: Job, retry: Selection) -> Job | None:
        held = and_(jobs.c.id == waiting.id, jobs.c.state == JobState.QUEUED)
        with self._database.write() as connection:
            row = connection.execute(select(jobs).where(held).with_for_update()).one_or_none()
            if row is None:
                return None
            job = job_of(row._mapping)
            if job.mode == JobMode.REINDEX or retry in job.retries:
                return job
            retries = (*job.retries, retry)
            connection.execute(update(jobs).where(held).values(retries=_stored(retries)))
        return replace(job, retries=retries)

    def _waiting_or_new(self, new: Mapping[str, Any]) -> Request | None:
        """The job that waits for the index, or else a new one of these values, in one exchange with
        a server: requests are many. None where another was faster, or the index had to be made."""
        values = {"id": str(uuid.uuid4()), "state": JobState.QUEUED, **new}
        given = {f"new_{name}": value for name, value in values.items()}
        with self._database.statements() as connection:
            for statement in waiting_or_new(connection.dialect.name):
                row = connection.execute(statement, given).one_or_none()
                if row is not None:
                    return Request(job_of(row._mapping), joined=row.joined)
            self._insert_index(connection, new)
        return None

    def _insert_index(self, connection: Connection, new: Mapping[str, Any]) -> None:
        values = {"id": new["index_id"], "tenant": new["tenant"], "entity_type": new["entity_type"]}
        statement = self._database.insert_new(indexes).values(created_at=epoch_now(), **values)
        connection.execute(statement)


def _stored(retries: Sequence[Selection]) -> list[dict[str, Any]]:
    return [asdict(one) for one in retries]
