"""Index entries brought in step with jobs that have ended."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import ColumnElement, and_, delete, exists, select, update

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.entries import EntryState
from celeriac.catalog.jobs import JobMode, JobState
from celeriac.catalog.tables import documents, entries, jobs


class Settlement:
    """Rows of the table `entries` that jobs left behind."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def settle(self) -> None:
        """Say what became of entries that ended jobs left half way or did not come to, and forget
        the documents that a succeeded job found gone."""
        with self._database.write() as connection:
            for ended, state, reason in (
                (JobState.CANCELLED, EntryState.CANCELLED, "The job was cancelled."),
                (JobState.FAILED, EntryState.FAILED, None),
                (JobState.SUCCEEDED, EntryState.INDEXED, ""),
            ):
                for left in _left_by(ended):
                    connection.execute(
                        update(entries)
                        .where(left)
                        .values(
                            state=state,
                            reason=_message_of_job(ended) if reason is None else reason,
                            updated_at=epoch_now(),
                        )
                    )
            gone = and_(entries.c.state == EntryState.DELETING, _began_later(JobState.SUCCEEDED))
            connection.execute(delete(entries).where(gone))

    def forget_unlisted(self, index_id: str) -> None:
        """Delete the entries of what no data source lists any more: those that the latest job,
        which succeeded, did not touch."""
        of_entity = exists().where(
            documents.c.id == entries.c.document_id, documents.c.kind == "entity"
        )
        statement = delete(entries).where(
            entries.c.index_id == index_id, of_entity, _began_later(JobState.SUCCEEDED)
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def unattended(self, silent_for: float) -> list[str]:
        """Ids of the indexes with a change that no job was requested for: whoever made it died
        in between."""
        requested = exists().where(
            jobs.c.index_id == entries.c.index_id, jobs.c.created_at >= entries.c.updated_at
        )
        query = (
            select(entries.c.index_id)
            .distinct()
            .where(
                entries.c.state.in_([EntryState.QUEUED, EntryState.DELETING]),
                entries.c.updated_at < epoch_now() - silent_for,
                ~requested,
            )
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())


def _left_by(ended: JobState) -> Iterator[ColumnElement[bool]]:
    """Entries that a job which ended so had in hand, or was to come to."""
    in_hand = exists().where(jobs.c.id == entries.c.job_id, jobs.c.state == ended)
    yield and_(entries.c.state == EntryState.EMBEDDING, in_hand)
    if ended != JobState.SUCCEEDED:
        yield and_(entries.c.state == EntryState.QUEUED, _began_later(ended))


def _began_later(ended: JobState) -> ColumnElement[bool]:
    """Whether a job that began after the entry's last change ended so."""
    return exists().where(
        jobs.c.index_id == entries.c.index_id,
        jobs.c.state == ended,
        jobs.c.mode == JobMode.REINDEX,  # a retry does not come to every entry
        jobs.c.started_at > entries.c.updated_at,
    )


def _message_of_job(ended: JobState) -> ColumnElement[str]:
    query = (
        select(jobs.c.message)
        .where(jobs.c.index_id == entries.c.index_id, jobs.c.state == ended)
        .order_by(jobs.c.created_at.desc())
        .limit(1)
    )
    return query.scalar_subquery()
