"""Collections of which the indexing is put off while new generations are loaded into them."""

from __future__ import annotations

from sqlalchemy import delete, exists, select

from celeriac.catalog.database import Database
from celeriac.catalog.indexes import GenerationState
from celeriac.catalog.jobs import JobState
from celeriac.catalog.tables import generations, jobs, loadings


class Loadings:
    """Rows of the table `loadings`: what the threshold was, and is to be again.

    Whether a collection is still loaded into is not counted: it is read from the jobs, so that
    nothing is off by one after a crash.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, collection: str, threshold: int) -> None:
        """Note a collection's own threshold, before it is set to another; the first note stays."""
        statement = self._database.insert_new(loadings)
        with self._database.write() as connection:
            connection.execute(statement.values(collection=collection, threshold=threshold))

    def over(self, *, besides: str | None = None) -> dict[str, int]:
        """The thresholds of the collections that no job loads any more, but for this one."""
        loaded = exists().where(
            generations.c.collection == loadings.c.collection,
            generations.c.state == GenerationState.BUILDING,
            jobs.c.index_id == generations.c.index_id,
            jobs.c.generation == generations.c.number,
            jobs.c.state == JobState.RUNNING,
            jobs.c.paused_at.is_(None),
            jobs.c.id != (besides or ""),
        )
        query = select(loadings.c.collection, loadings.c.threshold).where(~loaded)
        with self._database.read() as connection:
            return {row.collection: row.threshold for row in connection.execute(query)}

    def forget(self, collection: str) -> None:
        """The collection has its own threshold again."""
        with self._database.write() as connection:
            connection.execute(delete(loadings).where(loadings.c.collection == collection))
