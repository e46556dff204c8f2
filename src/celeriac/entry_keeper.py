"""Keeps the entries of a knowledge base's index in step with the job that runs over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from celeriac.catalog import Catalog
from celeriac.catalog.entries import record_outcomes
from celeriac.catalog.jobs import Job
from celeriac.configuration import EntityType
from celeriac.definitions import LINKED, UPLOADS
from celeriac.model import Entity, EntityFailure, Outcome, Partition
from celeriac.tally import PageResult, entity_key


@dataclass(frozen=True, slots=True)
class EntryKeeper:
    """Says of each document of a page that it is being embedded, and what became of it. The
    entities of an entity type have no entries: for those it does nothing."""

    catalog: Catalog
    entity_type: EntityType
    job: Job
    live: bool
    """Whether searches read the generation that the job writes."""

    @property
    def keeps(self) -> bool:
        return self.entity_type.source.get("kind") in (UPLOADS, LINKED)

    def begin(self, entities: Sequence[Entity]) -> None:
        """A page's documents are about to be embedded, where that is not done yet."""
        if not self.keeps:
            return
        if self.entity_type.source["kind"] == LINKED:
            self._take_up(entities)
        ids = [entity.id for entity in entities]
        self.catalog.entries.begin(self.job.index_id, self.job.id, ids)

    def _take_up(self, entities: Sequence[Entity]) -> None:
        """What a data source lists becomes a document of the knowledge base."""
        base = self.entity_type.source["knowledge_base_id"]
        self.catalog.documents.take_up(base, self.job.tenant, entities)
        sizes = {entity.id: entity.fields["size_bytes"] for entity in entities}
        self.catalog.entries.take_up(self.job.index_id, sizes)

    def recorder(
        self,
        partition: Partition,
        entities: Sequence[Entity],
        result: PageResult,
        unreadable: Sequence[EntityFailure],
    ) -> Callable[[Connection], None] | None:
        """What writes the page's outcomes within the transaction that commits the page."""
        if not self.keeps:
            return None
        ids = {entity_key(partition, entity.id): entity.id for entity in entities}
        outcomes = {ids[one.key]: one.outcome for one in result.listed if one.key in ids}
        outcomes |= {one.entity_id: Outcome.FAILED for one in unreadable if one.entity_id}
        failures = [*result.failures, *unreadable]

        def record(connection: Connection) -> None:
            record_outcomes(
                connection, self.job.index_id, self.job.id, outcomes, failures, live=self.live
            )

        return record
