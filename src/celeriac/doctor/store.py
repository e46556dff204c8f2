"""Qdrant: whether its collections are as the declared indexes need them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from celeriac.catalog.indexes import collection_of, index_id_of
from celeriac.configuration import EntityType
from celeriac.doctor.database import opened
from celeriac.doctor.findings import Findings, error, fine
from celeriac.errors import CeleriacError
from celeriac.loading import PUT_OFF
from celeriac.model import IndexSpec
from celeriac.settings import Settings
from celeriac.store import open_store
from celeriac.store.base import Indexing, VectorStore


@dataclass(slots=True)
class Wanted:
    """A collection that has to be right for a spec."""

    collection: str
    spec: IndexSpec
    searched: list[str] = field(default_factory=list)
    """The entity types whose live generation is in it, so far as they are declared."""


def findings(settings: Settings) -> Findings:
    """
    Raises:
        StoreUnavailable, ConfigurationError
    """
    if settings.qdrant_url is None:
        yield fine("qdrant", f"CELERIAC_QDRANT_URL is not set: local mode in {settings.home}.")
        return
    store = open_store(settings.qdrant_url, settings.home / "qdrant", settings.qdrant_api_key)
    try:
        store.ping()
        yield fine("qdrant", "Qdrant answers.")
        for one in _wanted(settings):
            yield from _examined(store, one)
    finally:
        store.close()


def _examined(store: VectorStore, wanted: Wanted) -> Findings:
    spec, check = wanted.spec, "collections"
    faults = store.faults(wanted.collection, spec.dimension, spec.filter_fields)
    if faults is None and wanted.searched:
        yield error(
            check,
            f"{wanted.collection} is gone, and with it what is searched of "
            f"{', '.join(wanted.searched)}.",
            "Reindex every index that was in it: a job makes it and what was in it anew.",
        )
    elif faults is None:
        yield fine(check, f"{wanted.collection} is not there yet; a job makes it.")
    elif not faults:
        yield fine(check, f"{wanted.collection} is as it has to be.")
    for fault in faults or ():
        yield error(check, fault.message, fault.remedy)
    indexing = None if faults is None else store.indexing(wanted.collection)
    if indexing is not None:
        yield fine("indexing", indexing_of(wanted.collection, indexing))


def indexing_of(collection: str, found: Indexing) -> str:
    """What is written and what of it is indexed, for people."""
    parts = [f"{collection}: {found.points:,} points, {found.indexed:,} of them in a graph"]
    if not found.settled:
        parts.append("more of them are being indexed")
    if found.threshold >= PUT_OFF:
        parts.append("indexing is put off while a new generation is loaded")
    return "; ".join(parts) + ". The others are searched one by one, with the same answers."


def _wanted(settings: Settings) -> Iterable[Wanted]:
    """What is declared, and what is searched, each once."""
    found: dict[Hashable, Wanted] = {}

    def want(declared: EntityType, spec: IndexSpec) -> Wanted:
        collection = collection_of(spec, index_id_of(declared.tenant, declared.name))
        key = (collection, spec.dimension, spec.filter_fields)
        return found.setdefault(key, Wanted(collection, spec))

    for declared in _entity_types(settings):
        want(declared, declared.spec)
        for spec in _live_spec(settings, declared):
            want(declared, spec).searched.append(f"{declared.tenant}/{declared.name}")
    return found.values()


def _entity_types(settings: Settings) -> Iterator[EntityType]:
    for tenant in settings.configuration.tenants.values():
        yield from tenant.entity_types.values()


def _live_spec(settings: Settings, declared: EntityType) -> list[IndexSpec]:
    try:
        with opened(settings) as catalog:
            if catalog is None:
                return []
            live = catalog.indexes.live(index_id_of(declared.tenant, declared.name))
            return [live.spec] if live is not None else []
    except CeleriacError:
        return []  # the catalog's own check says so
