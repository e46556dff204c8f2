"""What a page of a job fetches: a page of the source's listing, entities looked up by their ids, or
those that failed in earlier jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from celeriac.catalog.jobs import Job, JobMode
from celeriac.catalog.pages import LOOKUP_ROUND, Claim
from celeriac.catalog.retries import Retries
from celeriac.configuration import EntityType
from celeriac.errors import ConfigurationError
from celeriac.model import Page, Selection, digest_of
from celeriac.runtime import Runtime
from celeriac.sources.base import LookupSource, Source, look_up
from celeriac.sources.positions import Position


def fetch(runtime: Runtime, job: Job, entity_type: EntityType, claim: Claim) -> Page:
    """The entities that a page of the job deals with, and where the next page begins.

    Raises:
        SourceUnavailable, SourceError: as of `Source.page`.
        ConfigurationError: it is to be looked up, and the source cannot do that any more; or the
            page before was of a source that is declared otherwise.
    """
    source = runtime.source(entity_type)
    if claim.round == LOOKUP_ROUND:
        return _looked_up(source, claim)
    own = mark(entity_type.source)
    cursor = None if claim.cursor is None else _unmarked(claim.cursor, own, entity_type)
    if job.mode == JobMode.RETRY:
        page = _Retried(runtime.catalog.retries, source, job.retries).page(cursor)
    else:
        page = source.page(cursor)
    following = page.next_cursor
    return page if following is None else replace(page, next_cursor=f"{own}:{following}")


def mark(options: Mapping[str, Any]) -> str:
    """What tells a source from one that is declared otherwise: 16 bits, too few to guess a secret
    among its options by."""
    plain = json.dumps(dict(options), default=lambda value: type(value).__name__)
    return digest_of(plain)[:4]


def _unmarked(cursor: str, mark: str, entity_type: EntityType) -> str:
    """The source's own cursor: another source would go on with it somewhere in the middle."""
    found, _, own = cursor.partition(":")
    if found != mark:
        raise ConfigurationError(
            f"The source of {entity_type.tenant}/{entity_type.name} changed while the job ran, or "
            "differs between workers; reindex once all of them run the same."
        )
    return own


def lookup_cursor(entity_ids: Sequence[str]) -> str:
    """The cursor of a page of the lookup round."""
    return json.dumps(list(entity_ids))


def _looked_up(source: Source, claim: Claim) -> Page:
    if not isinstance(source, LookupSource):
        raise ConfigurationError(
            "The source had a way to look entities up when the job began and has none now; "
            "reindex once all workers run the same configuration."
        )
    return look_up(source, json.loads(claim.cursor or "[]"))


class _Retried:
    """The entities that a retry takes, in pages: by lookups where the source has them, else from
    its listing, of which the others are dropped."""

    def __init__(self, retries: Retries, source: Source, selections: Sequence[Selection]) -> None:
        self._retries = retries
        self._source = source
        self._selections = selections

    def page(self, cursor: str | None) -> Page:
        if isinstance(self._source, LookupSource):
            page = self._looked_up(self._source, cursor)
        else:
            page = self._listed(cursor)
        total = self._retries.count(self._selections) if cursor is None else None
        return replace(page, total=total, estimate=None)

    def _looked_up(self, source: LookupSource, cursor: str | None) -> Page:
        number, after = (0, "") if cursor is None else _position(cursor)
        ids = self._retries.ids(self._selections, number, after, source.lookup_size)
        page = look_up(source, ids) if ids else Page((), None)
        return replace(page, next_cursor=self._following(number, ids, source.lookup_size))

    def _following(self, number: int, ids: Sequence[str], limit: int) -> str | None:
        if len(ids) == limit:
            return _cursor(number, ids[-1])
        return _cursor(number + 1, "") if number + 1 < len(self._selections) else None

    def _listed(self, cursor: str | None) -> Page:
        page = self._source.page(cursor)
        listed = [one.id for one in page.entities]
        listed += [one.entity_id for one in page.failures if one.entity_id is not None]
        taken = self._retries.among(self._selections, listed)
        return replace(
            page,
            entities=tuple(one for one in page.entities if one.id in taken),
            failures=tuple(one for one in page.failures if one.entity_id in taken),
        )


def _cursor(number: int, after: str) -> str:
    return Position({"selection": number, "after": after}).encode()


def _position(cursor: str) -> tuple[int, str]:
    position = Position.decode(cursor)
    return position.number("selection"), position.text("after")
