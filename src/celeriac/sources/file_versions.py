"""Which state files are in: by what an object store calls their contents, or by reading them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from celeriac.model import SourceVersion, digest_of
from celeriac.sources.storage import Storage, StoredFile

MOST_BYTES = 4 << 30
"""To be read for it: seconds, where a listing of as much takes many minutes."""
_READERS = ("celeriac", "pyarrow", "pypdf", "python-docx")
"""Packages that make entities of what files hold: another version of one may make others."""


def version_of(storage: Storage, files: Sequence[StoredFile], shape: Any) -> SourceVersion | None:
    """The state of these files; None where their contents have no names and are too large to be
    read, or one went away.

    Args:
        storage: where they are.
        files: in the order in which they are listed.
        shape: what else shapes the listing, as JSON.

    Raises:
        SourceError, SourceUnavailable: as `Storage.open`.
    """
    if sum(file.size for file in files if file.etag is None) > MOST_BYTES:
        return None
    contents = []
    for file in files:
        digest = file.etag or storage.digest(file)
        if digest is None:
            return None
        contents.append([file.name, file.size, digest, str(file.modified)])
    return SourceVersion(
        content=digest_of([shape, _readers(), [content[:3] for content in contents]]),
        writes=digest_of([content[3] for content in contents]),
    )


@functools.cache
def _readers() -> list[str]:
    return [f"{name} {_version(name)}" for name in _READERS]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
