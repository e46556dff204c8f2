"""Which state files are in: by what an object store calls their contents, or by reading them."""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

from celeriac.model import SourceVersion, digest_of
from celeriac.sources.storage import Storage, StoredFile

MOST_BYTES = 4 << 30
"""To be read for it: seconds, where a listing of as much takes many minutes."""
_PACKAGES = ("celeriac", "pyarrow", "pypdf", "python-docx")


def version_of(
    storage: Storage,
    files: Iterable[StoredFile],
    shape: Any,
    is_dated: Callable[[StoredFile], bool],
) -> SourceVersion | None:
    """The state of these files; None where their contents have no names and are too large to be
    read, or one went away or may not be read.

    Args:
        storage: where they are.
        files: in the order in which they are listed.
        shape: what else shapes the listing, as JSON.
        is_dated: whether a file's entities say when it was written.

    Raises:
        SourceUnavailable: as `Storage.state`.
    """
    if sum(file.size for file in files if file.etag is None) > MOST_BYTES:
        return None
    content, writes = (hashlib.sha256(digest_of([shape, readers()]).encode()) for _ in range(2))
    for file in files:
        state = storage.state(file)
        if state is None:
            return None
        date = str(file.modified) if is_dated(file) else None
        content.update(digest_of([file.name, file.size, state.content, date]).encode())
        writes.update(digest_of(state.written).encode())
    return SourceVersion(content.hexdigest(), writes.hexdigest())


@functools.cache
def readers() -> list[str]:
    """What makes entities of what files hold: another version of one may make others."""
    return [f"python {platform.python_version()}"] + [
        f"{name} {_version(name)}" for name in _PACKAGES
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
