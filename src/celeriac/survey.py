"""A source's complete listing, rendered, without indexing anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from celeriac.errors import DuplicateId, EmptyText, EntityError
from celeriac.ledger import Ledger, Listed
from celeriac.model import Entity, EntityFailure, Outcome, Page, RenderedEntity
from celeriac.rendering import Renderer
from celeriac.sources.base import Source


@dataclass(frozen=True, slots=True)
class SurveyedPage:
    """A page's entities, less those that an earlier page lists too."""

    number: int
    rendered: tuple[tuple[RenderedEntity, str], ...]
    """Entities with text, and their fingerprints."""
    empty: tuple[str, ...]
    """Ids of entities without any text."""
    failures: tuple[EntityFailure, ...]
    """All that goes wrong on this page, the empty ones and repeated ids among them."""
    failed: int
    """Entities that cannot be indexed, the empty ones among them."""

    @property
    def listed(self) -> int:
        return len(self.rendered) + self.failed


class Survey:
    """Walks a source as a job would, and notes in a ledger what can be indexed and what not."""

    def __init__(self, source: Source, renderer: Renderer, ledger: Ledger) -> None:
        self._source = source
        self._renderer = renderer
        self._ledger = ledger

    def pages(self, *, again: bool = False) -> Iterator[SurveyedPage]:
        """Every page of the listing, in turn.

        `again` is for a second listing after a complete first one: it yields what the first one
        missed, and what both list is no error.

        Raises:
            SourceUnavailable, SourceError: the listing is incomplete; conclude nothing from it.
        """
        cursor: str | None = None
        while True:
            number = self._ledger.add_page(cursor)
            page = self._source.page(cursor)
            yield self._surveyed(number, page, again)
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    def read_again(
        self, number: int, entity_ids: Collection[str]
    ) -> tuple[list[Entity], SurveyedPage]:
        """Those of the entities that a page of the listing has now, noted as they are now."""
        page = self._source.page(self._ledger.cursor_of(number))
        entities = _first_of_each(page.entities, lambda one: one in entity_ids)
        return entities, self._rendered(number, entities)

    def _surveyed(self, number: int, page: Page, again: bool) -> SurveyedPage:
        ids = [one.id for one in page.entities]
        ids += [one.entity_id for one in page.failures if one.entity_id is not None]
        earlier = self._ledger.outcomes(ids)
        refused = tuple(one for one in page.failures if one.entity_id not in earlier)
        # A second occurrence of an id stands for no entity of its own.
        standing = [one for one in refused if one.error_class != DuplicateId.__name__]
        self._record(number, Outcome.FAILED, (one.entity_id for one in standing))
        entities = _first_of_each(page.entities, lambda one: one not in earlier)
        rendered = self._rendered(number, entities)
        repeated = () if again else tuple(_repeated(one) for one in earlier)
        return replace(
            rendered,
            failures=rendered.failures + refused + repeated,
            failed=rendered.failed + len(standing),
        )

    def _rendered(self, number: int, entities: Sequence[Entity]) -> SurveyedPage:
        rendered, empty, failures = [], [], []
        for entity in entities:
            try:
                one = self._renderer.render(entity)
            except EntityError as error:
                failures.append(EntityFailure.of(entity.id, error))
                continue
            if one.text.strip():
                rendered.append((one, self._renderer.fingerprint(one)))
            else:
                empty.append(one)
        self._record(number, Outcome.FAILED, (one.entity_id for one in failures))
        self._record(number, Outcome.EMPTY, (one.id for one in empty))
        self._ledger.record(
            Listed(one.id, number, Outcome.INDEXED, fingerprint) for one, fingerprint in rendered
        )
        failures += [EntityFailure.of(one.id, EmptyText(one.lacking)) for one in empty]
        return SurveyedPage(
            number,
            tuple(rendered),
            tuple(one.id for one in empty),
            tuple(failures),
            failed=len(failures),
        )

    def _record(self, number: int, outcome: Outcome, ids: Iterable[str | None]) -> None:
        self._ledger.record(Listed(one, number, outcome) for one in ids if one is not None)


def _first_of_each(entities: Iterable[Entity], wanted: Callable[[str], bool]) -> list[Entity]:
    first: dict[str, Entity] = {}
    for one in entities:
        if wanted(one.id):
            first.setdefault(one.id, one)
    return list(first.values())


def _repeated(entity_id: str) -> EntityFailure:
    message = "Listed again on a later page; what the first one listed is indexed."
    return EntityFailure.of(entity_id, DuplicateId(message))
