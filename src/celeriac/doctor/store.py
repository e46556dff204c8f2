"""Qdrant: whether its collections are as the declared indexes need them."""

from __future__ import annotations

from collections.abc import Iterator

from celeriac.catalog.indexes import collection_of, index_id_of
from celeriac.configuration import EntityType
from celeriac.doctor.database import opened
from celeriac.doctor.findings import Findings, error, fine
from celeriac.errors import CeleriacError
from celeriac.loading import PUT_OFF
from celeriac.model import IndexSpec
from celeriac.settings import Settings
from celeriac.store import open_store
from celeriac.store.base import Indexing

Wanted = tuple[str, IndexSpec]
"""A collection, and under which spec an index in it is."""


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
        for collection, spec in _wanted(settings):
            faults = store.faults(collection, spec.dimension, spec.filter_fields)
            if faults is None:
                yield fine("collections", f"{collection} is not there yet; a job makes it.")
                continue
            for fault in faults:
                yield error("collections", fault.message, fault.remedy)
            if not faults:
                yield fine("collections", f"{collection} is as it has to be.")
            indexing = store.indexing(collection)
            if indexing is not None:
                yield fine("indexing", indexing_of(collection, indexing))
    finally:
        store.close()


def indexing_of(collection: str, found: Indexing) -> str:
    """What is written and what of it is indexed, for people."""
    parts = [f"{collection}: {found.points:,} points, {found.indexed:,} of them in a graph"]
    if not found.settled:
        parts.append("more of them are being indexed")
    if found.threshold >= PUT_OFF:
        parts.append("indexing is put off while a new generation is loaded")
    return "; ".join(parts) + ". The others are searched one by one, with the same answers."


def _wanted(settings: Settings) -> Iterator[Wanted]:
    """What is declared, and what is searched, each once."""
    seen = set()
    for declared in _entity_types(settings):
        specs = [declared.spec, *_live_spec(settings, declared)]
        for spec in specs:
            collection = collection_of(spec, index_id_of(declared.tenant, declared.name))
            key = (collection, spec.dimension, spec.filter_fields)
            if key not in seen:
                seen.add(key)
                yield collection, spec


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
