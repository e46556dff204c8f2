"""Backup and restore: the catalog and the vectors, in an order that cannot claim too much.

A backup dumps the catalog first and the vectors after it. So whatever the catalog says of an index
was true of vectors that are at least as new: markers in them say for themselves what they are, and
the next reindex finds what changed meanwhile as it finds any change. The other way round a catalog
could call equal what the vectors do not hold yet. Where points that the dump still counts on were
given up meanwhile, the backup is made once more.

A restore brings the vectors back first, and the catalog in one transaction at the end: one that
breaks off leaves a catalog that claims nothing. Jobs that ran are ended, and every index is queued
for a reindex, which makes it equal to its source as that is now.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import celeriac
from celeriac.catalog import Catalog, dump
from celeriac.catalog.migrate import revisions
from celeriac.errors import ConfigurationError, Conflict, TransientError
from celeriac.store.snapshots import Snapshots

MANIFEST = "manifest.json"
CATALOG, VECTORS = "catalog", "vectors"
ATTEMPTS = 5


class Vectors(Protocol):
    """Where the vectors are, and how they are copied."""

    @property
    def kind(self) -> str:
        """A backup of one kind cannot be restored to another."""
        ...

    def save(self, collections: list[str], folder: Path) -> None: ...

    def restore(self, collections: list[str], folder: Path, *, overwrite: bool) -> None: ...


@dataclass(frozen=True)
class ServerVectors:
    """On a Qdrant server: a snapshot a collection."""

    url: str
    api_key: str | None
    kind: str = "server"

    def save(self, collections: list[str], folder: Path) -> None:
        with closing(Snapshots(self.url, self.api_key)) as snapshots:
            for name in collections:
                snapshots.save(name, folder / f"{name}.snapshot")

    def restore(self, collections: list[str], folder: Path, *, overwrite: bool) -> None:
        with closing(Snapshots(self.url, self.api_key)) as snapshots:
            for name in collections:
                snapshots.recover(name, folder / f"{name}.snapshot", overwrite=overwrite)


@dataclass(frozen=True)
class LocalVectors:
    """In local mode's folder, which no other process has open meanwhile."""

    folder: Path
    kind: str = "local"

    def save(self, collections: list[str], folder: Path) -> None:  # noqa: ARG002 - all of them
        if self.folder.exists():
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    def restore(self, collections: list[str], folder: Path, *, overwrite: bool) -> None:  # noqa: ARG002
        if self.folder.exists() and not overwrite:
            raise Conflict(
                f"There are vectors in {self.folder} already; set CELERIAC_HOME to an empty "
                "folder, or give --overwrite to lose what is there."
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(folder, self.folder)


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds."""

    version: str
    """Of the celeriac that made it."""
    revision: str
    """Of the catalog's schema."""
    vectors: str
    created_at: float
    """Unix seconds, by the database's clock, when the catalog was dumped."""
    rows: Mapping[str, int]
    """By table."""
    collections: list[str]
    files: Mapping[str, str]
    """Their SHA-256, by path within the folder."""


def back_up(catalog: Catalog, vectors: Vectors, folder: Path) -> Backup:
    """Write a backup into a folder that is empty or not there yet.

    Raises:
        ConfigurationError: the folder is not empty.
        ConfigurationError: the catalog is of another version of celeriac.
        TransientError: generations were given up each time while it was made.
        CatalogUnavailable, StoreUnavailable
    """
    current, newest, _ = revisions(catalog.database)
    if current != newest:
        raise ConfigurationError(
            f"The catalog is of revision {current or 'none'}, and this celeriac's is {newest}: "
            "make the backup with the version that runs on it."
        )
    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} is not empty; name a new folder for each backup.")
    for _ in range(ATTEMPTS):
        made = _attempt(catalog, vectors, folder)
        if made is not None:
            _write(folder, made)
            return made
    raise TransientError(
        "Generations were switched each time while the backup was made; pause the jobs that "
        "rebuild indexes, or try again later."
    )


def _attempt(catalog: Catalog, vectors: Vectors, folder: Path) -> Backup | None:
    """A backup; None where points that its catalog counts on may be missing from it."""
    for part in (CATALOG, VECTORS):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
    created_at = catalog.database.now()
    kept = dump.kept_generations(catalog.database)
    rows = dump.dump(catalog.database, folder / CATALOG)
    collections = dump.collections(catalog.database)
    vectors.save(collections, folder / VECTORS)
    if not kept <= dump.kept_generations(catalog.database):
        return None
    revision, _, _ = revisions(catalog.database)
    return Backup(
        version=celeriac.__version__,
        revision=str(revision),
        vectors=vectors.kind,
        created_at=created_at,
        rows=rows,
        collections=collections,
        files={name: _digest(folder / name) for name in _names(folder)},
    )


def restore(catalog: Catalog, vectors: Vectors, folder: Path, *, overwrite: bool = False) -> Backup:
    """Bring a backup back, and queue a reindex of every index. Nothing else may run meanwhile.

    Raises:
        ConfigurationError: it is not a whole backup, or one of another version or kind.
        Conflict: there is something in the catalog or in Qdrant, and it is not to be overwritten.
        CatalogUnavailable, StoreUnavailable
    """
    found = read(folder)
    _require_fitting(catalog, vectors, found)
    if not overwrite:
        dump.require_empty(catalog.database)
    vectors.restore(found.collections, folder / VECTORS, overwrite=overwrite)
    dump.load(catalog.database, folder / CATALOG, overwrite=overwrite)
    return found


def read(folder: Path) -> Backup:
    """What a backup holds, every file checked.

    Raises:
        ConfigurationError: it is not a whole backup.
    """
    file = folder / MANIFEST
    if not file.exists():
        raise ConfigurationError(f"{folder} holds no backup that was finished: no {MANIFEST}.")
    found = Backup(**json.loads(file.read_text("utf-8")))
    for name, digest in found.files.items():
        if not (folder / name).exists() or _digest(folder / name) != digest:
            raise ConfigurationError(f"{folder / name} is not as the backup wrote it.")
    return found


def _require_fitting(catalog: Catalog, vectors: Vectors, found: Backup) -> None:
    revision, _, _ = revisions(catalog.database)
    if found.revision != revision:
        raise ConfigurationError(
            f"celeriac {found.version} made the backup with a catalog of revision "
            f"{found.revision}, and this one's is {revision}: restore it with that version, and "
            "upgrade then."
        )
    if found.vectors != vectors.kind:
        raise ConfigurationError(
            f"Its vectors are of a Qdrant {found.vectors}, not of a {vectors.kind}; set "
            "CELERIAC_QDRANT_URL accordingly, or restore nothing and reindex."
        )


def _write(folder: Path, made: Backup) -> None:
    """Last of all: a backup without it is none."""
    values = {name: getattr(made, name) for name in Backup.__slots__}
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(json.dumps(values, indent=2), "utf-8")
    partial.replace(folder / MANIFEST)


def _names(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix()


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
