"""The catalog: whether it answers, and whether its schema is this version's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from celeriac.catalog import Catalog
from celeriac.catalog.migrate import revisions
from celeriac.doctor.findings import Findings, error, fine, warning
from celeriac.settings import Settings


@contextmanager
def opened(settings: Settings) -> Iterator[Catalog | None]:
    """The catalog as it is, not migrated; None where there is none yet."""
    url = settings.database_url
    file = settings.home / "catalog.sqlite"
    if url is None and file.exists():
        url = f"sqlite:///{file}"
    if url is None:
        yield None
        return
    catalog = Catalog(url)
    try:
        yield catalog
    finally:
        catalog.close()


def findings(settings: Settings) -> Findings:
    """
    Raises:
        CatalogUnavailable
    """
    with opened(settings) as catalog:
        if catalog is None:
            yield fine("catalog", "CELERIAC_DATABASE_URL is not set: standalone makes its own.")
            return
        catalog.ping()
        backend = catalog.database.engine.dialect.name
        yield fine("catalog", f"{backend} answers.")
        current, newest, known = revisions(catalog.database)
    if current == newest:
        yield fine("catalog schema", f"revision {current}")
    elif current is None or current in known:
        yield warning(
            "catalog schema",
            f"It is at revision {current or 'none'}, and this celeriac has {newest}.",
            "Make a backup; the first process that starts brings it up to date.",
        )
    else:
        yield error(
            "catalog schema",
            f"A newer celeriac wrote it (revision {current}; this one knows {newest}).",
            "Run that version, or restore a backup of this one.",
        )
    if backend == "sqlite" and settings.qdrant_url and settings.redis_url:
        yield warning(
            "catalog",
            "SQLite serves the processes of one machine, one writer at a time.",
            "Use PostgreSQL where API and workers run on several.",
        )
