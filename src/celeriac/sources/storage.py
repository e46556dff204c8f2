"""Files in a folder, under a glob pattern or in an object store, through fsspec."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from typing_extensions import Buffer

from celeriac.errors import ConfigurationError, SourceError, SourceUnavailable

BLOCK_BYTES = 1 << 20
"""What one request to an object store reads ahead."""

_MAGIC = re.compile(r"[*?\[]")
_USER_INFO = re.compile(r"(?<=://)[^/@]*@")
_REFUSED = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, ValueError)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a listing."""

    name: str
    """Path below the listing's root, with `/`."""
    path: str
    """What the file system opens."""
    size: int
    """Bytes."""
    modified: datetime | None
    etag: str | None = None
    """What an object store calls this content, and no other."""

    @property
    def version(self) -> str:
        """Another one for another content, as far as size and time tell."""
        return f"{self.size}/{self.modified}"


@dataclass(frozen=True, slots=True)
class FileState:
    """Which state a file is in."""

    content: str
    """Another one for another content."""
    written: str
    """Another one after each write, also after one that changes nothing."""


class _File(Protocol):
    """What is asked of a file that fsspec opened."""

    def read(self, length: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int, /) -> int: ...
    def close(self) -> None: ...


class Storage:
    """Lists and opens the files that a path, a folder or a glob pattern names."""

    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        """Connects nowhere.

        Raises:
            ConfigurationError: there is no such protocol, or its package is missing.
        """
        self.shown = _USER_INFO.sub("", path)
        """The path without credentials, for messages."""
        try:
            from fsspec.core import url_to_fs

            self._fs, self._path = url_to_fs(path, skip_instance_cache=True, **options)
        except ImportError as error:
            raise ConfigurationError(
                f"{self.shown} needs a package: {error}; install celeriac[files], and for s3:// "
                "celeriac[s3]."
            ) from error
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f"{self.shown} cannot be used: {error}; check `path` and `storage_options`."
            ) from error

    def files(self) -> list[StoredFile]:
        """The files, sorted by name; hidden ones (`.name`) below the root are left out.

        Raises:
            SourceError: the path does not exist, or the pattern matches no file.
            SourceUnavailable: the store cannot be reached for now.
        """
        with _backend_errors(self.shown):
            self._fs.invalidate_cache()
            root, found, pattern = self._find()
            files = [file for info in found if (file := self._file(root, info)) is not None]
        if pattern and not files:
            raise SourceError(f"{self.shown} matches no file; check the source's `path`.")
        return sorted(files, key=lambda file: file.name)

    def current(self, file: StoredFile) -> StoredFile | None:
        """The file as it is now, None where it is gone; errors as in `files`."""
        with _backend_errors(self.place(file)):
            self._fs.invalidate_cache()
            info = self._info(file.path)
        if info is None or info["type"] != "file":
            return None
        return _stored(file.name, file.path, info)

    def state(self, file: StoredFile) -> FileState | None:
        """What a file holds and when it was written to; None where that cannot be told: it is gone,
        may not be read, or its store tells neither.

        Raises:
            SourceUnavailable: as in `files`.
        """
        from fsspec.implementations.local import LocalFileSystem

        if isinstance(self._fs, LocalFileSystem):
            return self._local_state(file)
        # A web server's tag is often made of no more than a size and a time; what is read through
        # a cache (`filecache::s3://`) may be older than its tag.
        cached = "::" in self.shown
        told = file.etag is not None and file.modified is not None and not cached
        return FileState(str(file.etag), str(file.modified)) if told else None

    def _local_state(self, file: StoredFile) -> FileState | None:
        """By what nobody can set: `cp -p` and `mv` bring another file's time along."""
        path = Path(file.path)
        try:
            written = [_written(found) for found in (path.stat(), path.lstat())]
            stream = self.open(file)
        except (OSError, SourceError):
            return None
        if stream is None:
            return None
        with stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        return FileState(content, " ".join(written))

    def open(self, file: StoredFile) -> io.BufferedReader | None:
        """The file's bytes, None where it is gone; errors as in `files`, from reads as well."""
        place = self.place(file)
        with _backend_errors(place):
            self._fs.invalidate_cache()
            try:
                opened = self._fs.open(file.path, "rb", block_size=BLOCK_BYTES)
            except FileNotFoundError:
                return None
        return io.BufferedReader(_Stream(opened, place), BLOCK_BYTES // 16)

    def names(self, file: StoredFile) -> bool:
        """Whether the path is this very file, not a folder or a pattern."""
        return file.path == str(self._path)

    def place(self, file: StoredFile) -> str:
        """What messages call the file."""
        return file.path if "://" not in self.shown else str(self._fs.unstrip_protocol(file.path))

    def _find(self) -> tuple[str, list[Mapping[str, Any]], bool]:
        """The root, what stands below it, and whether the path is a pattern."""
        info = self._info(self._path)
        if info is not None and info["type"] != "directory":
            return self._path.rpartition("/")[0], [info], False
        if info is not None:
            return self._path, list(self._fs.find(self._path, detail=True).values()), False
        magic = _MAGIC.search(self._path)
        if magic is None:
            raise SourceError(f"{self.shown} does not exist; check the source's `path`.")
        root = self._path[: magic.start()].rpartition("/")[0]
        return root, list(self._fs.glob(self._path, detail=True).values()), True

    def _info(self, path: str) -> Mapping[str, Any] | None:
        try:
            info: Mapping[str, Any] = self._fs.info(path)
        except FileNotFoundError:
            return None
        return info

    def _file(self, root: str, info: Mapping[str, Any]) -> StoredFile | None:
        path = str(info["name"])
        name = path.removeprefix(root).lstrip("/")
        if info.get("islink"):
            info = self._info(path) or info  # a link's own size and type are of no use
        hidden = path != self._path and any(part.startswith(".") for part in name.split("/"))
        if info["type"] != "file" or hidden:
            return None
        return _stored(name, path, info)


class _Stream(io.RawIOBase):
    """A file of fsspec whose errors are celeriac's."""

    def __init__(self, file: _File, place: str) -> None:
        super().__init__()
        self._file = file
        self._place = place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        with _backend_errors(self._place):
            content = self._file.read(len(view))
        view[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _backend_errors(self._place):
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self.seek(0, io.SEEK_CUR)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextmanager
def _backend_errors(place: str) -> Iterator[None]:
    """Errors of a file system as SourceError and SourceUnavailable."""
    try:
        yield
    except (SourceError, SourceUnavailable):
        raise
    except _REFUSED as error:
        raise SourceError(f"{place} cannot be read: {_reason(error)}.") from error
    except Exception as error:  # each backend has exceptions of its own
        raise SourceUnavailable(f"{place} cannot be read for now: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    known = isinstance(error, OSError) and error.strerror
    return known or f"{type(error).__name__}: {error}"


def _stored(name: str, path: str, info: Mapping[str, Any]) -> StoredFile:
    etag = info.get("ETag", info.get("etag"))
    named = None if etag is None else str(etag)
    return StoredFile(name, path, int(info.get("size") or 0), _modified(info), named)


def _written(found: os.stat_result) -> str:
    return f"{found.st_dev}/{found.st_ino}/{found.st_mtime_ns}/{found.st_ctime_ns}"


def _modified(info: Mapping[str, Any]) -> datetime | None:
    value = info.get("mtime", info.get("LastModified"))
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return None
