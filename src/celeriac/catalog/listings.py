"""What a job's pages listed: the expected content of the index once the job is done."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import and_, exists, func, select, update

from celeriac.catalog.database import Database
from celeriac.catalog.listed import NO_PAGE, of_entities
from celeriac.catalog.tables import jobs, listings, pages
from celeriac.model import Counters, Outcome

KEYS_A_QUERY = 1_000
IN_INDEX = (Outcome.UNCHANGED, Outcome.INDEXED)
NOT_DEALT_WITH = (Outcome.REPEATED, Outcome.REMOVED)
"""Outcomes of rows that do not say what became of an entity of their page."""
NOT_LISTED = (*NOT_DEALT_WITH, Outcome.GONE)
"""Of rows that stand for no entity that its page lists."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Expected:
    """What the listing says about one entity."""

    outcome: Outcome
    fingerprint: str | None


class Listings:
    """Rows of the table `listings`, read as a whole once every page is committed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def expected(self, job_id: str, keys: Collection[uuid.UUID]) -> dict[uuid.UUID, Expected]:
        """What is expected of those of the entities that the job listed."""
        query = (
            of_entities(job_id, keys, listings.c.outcome, listings.c.fingerprint)
            .where(listings.c.outcome.not_in(NOT_DEALT_WITH))
            # The last row stands, and one that is listed is not gone.
            .order_by(listings.c.outcome != Outcome.GONE, listings.c.page)
        )
        with self._database.read() as connection:
            return {
                row.entity_key: Expected(Outcome(row.outcome), row.fingerprint)
                for row in connection.execute(query)
            }

    def count_in_index(self, job_id: str) -> int:
        """How many entities must have a marker with the listed fingerprint. Where two pages dealt
        with one, the later says."""
        later = listings.alias()
        not_after_all = exists().where(
            later.c.entity_key == listings.c.entity_key,
            later.c.job_id + "" == job_id,
            later.c.page > listings.c.page,
            later.c.outcome.not_in([*NOT_LISTED, *IN_INDEX]),
        )
        query = select(func.count(func.distinct(listings.c.entity_key))).where(
            listings.c.job_id == job_id, listings.c.outcome.in_(IN_INDEX), ~not_after_all
        )
        with self._database.unhurried() as connection:
            return connection.execute(query).scalar_one()

    def unclaimed_pages(self, job_id: str) -> list[int]:
        """Pages that left an entity to an earlier page which, run again, no longer lists it."""
        taken = listings.alias()
        query = (
            select(listings.c.page)
            .outerjoin(
                taken,
                and_(
                    taken.c.job_id + "" == listings.c.job_id,
                    taken.c.entity_key == listings.c.entity_key,
                    taken.c.outcome.not_in(NOT_LISTED),
                ),
            )
            .where(
                listings.c.job_id == job_id,
                listings.c.outcome == Outcome.REPEATED,
                taken.c.page.is_(None),
            )
            .distinct()
        )
        with self._database.unhurried() as connection:
            return list(connection.execute(query).scalars())

    def contested(self, job_id: str) -> list[uuid.UUID]:
        """Entities that more than one page dealt with, because a page run again listed others,
        or more than one worker, because the first lost the page and may have written all the same.
        """
        retaken = (
            select(listings.c.entity_key)
            .join(
                pages,
                and_(pages.c.job_id == listings.c.job_id, pages.c.number == listings.c.page),
            )
            .where(
                pages.c.job_id == job_id, pages.c.claims > 1, listings.c.outcome == Outcome.INDEXED
            )
        )
        query = (
            select(listings.c.entity_key)
            .where(listings.c.job_id == job_id, listings.c.outcome.not_in(NOT_LISTED))
            .group_by(listings.c.entity_key)
            .having(func.count() > 1)
        )
        with self._database.unhurried() as connection:
            found = set(connection.execute(query).scalars())
            return list(found.union(connection.execute(retaken).scalars()))

    def overcounted(self, job_id: str) -> Counters:
        """What pages counted of entities that a later page counted too."""
        later = listings.alias()
        counted_again = exists().where(
            later.c.entity_key == listings.c.entity_key,
            later.c.job_id + "" == job_id,
            later.c.outcome.not_in(NOT_LISTED),
            later.c.page > listings.c.page,
        )
        query = (
            select(listings.c.outcome, func.count())
            .where(listings.c.job_id == job_id, listings.c.outcome.not_in(NOT_LISTED))
            .where(counted_again)
            .group_by(listings.c.outcome)
        )
        with self._database.unhurried() as connection:
            found = {Outcome(outcome): count for outcome, count in connection.execute(query)}
        failed = found.get(Outcome.FAILED, 0) + found.get(Outcome.EMPTY, 0)
        return Counters(
            listed=sum(found.values()),
            unchanged=found.get(Outcome.UNCHANGED, 0),
            indexed=found.get(Outcome.INDEXED, 0),
            failed=failed,
        )

    def pages_of(self, job_id: str, keys: Collection[uuid.UUID]) -> list[int]:
        """The pages that dealt with any of the entities."""
        numbers: set[int] = set()
        with self._database.read() as connection:
            for few in batches(list(keys)):
                query = of_entities(job_id, few, listings.c.page).where(
                    listings.c.outcome.not_in(NOT_LISTED)
                )
                numbers.update(row.page for row in connection.execute(query))
        return sorted(numbers)

    def written_pages(self, job_id: str) -> list[int]:
        """The pages that list entities which are in the index."""
        query = select(listings.c.page).where(
            listings.c.job_id == job_id, listings.c.outcome.in_(IN_INDEX)
        )
        with self._database.unhurried() as connection:
            return sorted(connection.execute(query.distinct()).scalars())

    def remove(self, job_id: str, keys: Collection[uuid.UUID]) -> None:
        """Record entities that the sweep is about to remove, and count them in the job: once each,
        also when a sweep that was interrupted comes upon them again."""
        rows = [
            {
                "job_id": job_id,
                "entity_key": key,
                "page": NO_PAGE,
                "outcome": Outcome.REMOVED,
            }
            for key in keys
        ]
        if not rows:
            return
        counted = (
            select(func.count())
            .where(listings.c.job_id == job_id, listings.c.page == NO_PAGE)
            .scalar_subquery()
        )
        with self._database.write() as connection:
            connection.execute(self._database.insert_new(listings), rows)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(removed=counted))


def batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Databases bound the parameters of a statement."""
    for start in range(0, len(items), KEYS_A_QUERY):
        yield items[start : start + KEYS_A_QUERY]
