"""The kind `files`: tables of records, and folders of documents, on disk or in an object store."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from threading import Lock
from types import MappingProxyType
from typing import Any

from marshmallow import ValidationError, fields
from marshmallow.validate import Length, OneOf, Range

from celeriac.documents import media_type_of
from celeriac.errors import SourceError
from celeriac.model import Page, SourceVersion, digest_of
from celeriac.sources.delimited import DelimitedReader
from celeriac.sources.file_versions import readers, version_of
from celeriac.sources.folder import fail_document, list_document
from celeriac.sources.jsonl import JsonlReader
from celeriac.sources.listing import PAGE_BYTES, PAGE_SIZE, PageBuilder, page_length
from celeriac.sources.options import SourceOptions, page_size
from celeriac.sources.parquet import ParquetReader
from celeriac.sources.patterns import Choice
from celeriac.sources.positions import Position
from celeriac.sources.resting import OpenFile, RestingFiles
from celeriac.sources.storage import Storage, StoredFile
from celeriac.sources.tables import OpenReader, OpenTable, TableFormat

AUTO = "auto"
DOCUMENTS = "documents"
LISTING_SECONDS = 30.0
"""How long a listing of the files may be used for further pages, at least."""
LISTING_SHARE = 20
"""It may be used this many times as long as it took."""

MAX_RESTING = 4
"""Files kept open between pages."""

_READERS: Mapping[str, OpenReader] = MappingProxyType(
    {"jsonl": JsonlReader, "csv": DelimitedReader, "parquet": ParquetReader}
)
_FORMATS = MappingProxyType(
    {
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".csv": "csv",
        ".tsv": "csv",
        ".parquet": "parquet",
        ".pq": "parquet",
    }
)


def _check_encoding(encoding: str) -> None:
    try:
        same = '{"a": 1,\n}'.encode(encoding) == b'{"a": 1,\n}'
    except LookupError:
        raise ValidationError(f"There is no encoding {encoding!r}.") from None
    if not same:
        raise ValidationError("Must be an encoding that extends ASCII, such as utf-8 or cp1252.")


class FilesOptions(SourceOptions):
    """`kind: files`."""

    path = fields.String(required=True, validate=Length(min=1))
    """A file, a folder, or a glob pattern; may be a URL that fsspec knows, such as s3://."""
    include = fields.List(fields.String(validate=Length(min=1)), load_default=list)
    # Of the schema itself marshmallow keeps no attribute by a field's name.
    exclude = fields.List(  # type: ignore[assignment]
        fields.String(validate=Length(min=1)), load_default=list
    )
    format = fields.String(load_default=AUTO, validate=OneOf([AUTO, *_READERS, DOCUMENTS]))
    encoding = fields.String(load_default="utf-8", validate=_check_encoding)
    delimiter = fields.String(load_default=None, allow_none=True, validate=Length(equal=1))
    page_size = page_size(PAGE_SIZE)
    max_entity_bytes = fields.Integer(load_default=10 << 20, validate=Range(min=1))
    storage_options = fields.Dict(keys=fields.String(), load_default=dict)
    """Handed to fsspec: key, secret, endpoint_url, ..."""


def build_files(options: Mapping[str, Any]) -> FilesSource:
    """A source of loaded FilesOptions.

    Raises:
        ConfigurationError: the path's protocol is unknown, or its package is missing.
    """
    return FilesSource(
        Storage(options["path"], options["storage_options"]),
        TableFormat(options["encoding"], options["max_entity_bytes"], options["delimiter"]),
        options["format"],
        options["id"],
        options["page_size"],
        choice=Choice(options["include"], options["exclude"]),
    )


@dataclass(frozen=True, slots=True)
class _Listing:
    files: Sequence[StoredFile]
    total: int | None
    """How many entities they hold, known only where each file is one."""
    good_until: float
    digest: str
    """Of the files' names, and of what reads them."""
    serves: set[str]
    """Digests that the first pages of listings found which may go on with this one: no file is
    missing here that was there when they began."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a listing stands while a page is filled."""

    began: str
    """Digest of the files that it began with, and of what read them."""
    before: int
    """Entities on earlier pages."""
    page: PageBuilder

    def cursor(self, at: Mapping[str, Any]) -> str:
        """Of the page that follows this one."""
        listed = self.before + self.page.listed
        return Position({"files": self.began, "listed": listed, **at}).encode()


class FilesSource:
    """Lists files in the order of their names, and their records in the order of the file.

    A cursor names a file and a place in it. Files that come or go while a listing runs are seen or
    not by their name; one whose listed part changes is an error, for records might be missed.
    """

    stable_listing = True

    def __init__(
        self,
        storage: Storage,
        table: TableFormat,
        format_: str,
        id_path: str,
        page_size: int,
        *,
        choice: Choice,
    ) -> None:
        self._storage = storage
        self._table = table
        self._format = format_
        self._id_path = id_path
        self._page_size = page_size
        self._choice = choice
        self._listing: _Listing | None = None
        self._told: str | None = None
        """Digest of the files that the last version told of: a listing that begins after it begins
        with them."""
        self._resting = RestingFiles(MAX_RESTING)
        self._lock = Lock()

    def page(self, cursor: str | None) -> Page:
        """See `Source.page`."""
        position = None if cursor is None else Position.decode(cursor)
        began = position.text("files") if position else None
        listing = self._listed(began)
        before = position.number("listed") if position else 0
        page = PageBuilder(self._id_path, page_length(before, self._page_size), PAGE_BYTES)
        place = _Place(began or listing.digest, before, page)
        page.disturbed = (began or self._told or listing.digest) != listing.digest
        files = listing.files
        for number in range(_first(files, cursor), len(files)):
            next_cursor = self._list(files[number], cursor, place)
            if next_cursor is None and page.full and number + 1 < len(files):
                next_cursor = place.cursor({"after": files[number].name})
            if next_cursor is not None:
                built = page.build(next_cursor, listing.total)
                return replace(built, estimate=_estimate(built, listing, first=cursor is None))
        return page.build(None, listing.total)

    def version(self) -> SourceVersion | None:
        """See `VersionedSource.version`."""
        declared = [self._storage.shown, self._format, self._id_path]
        shape = [*declared, asdict(self._table), asdict(self._choice)]
        listing = self._list_files()
        self._told = listing.digest
        return version_of(
            self._storage, listing.files, shape, lambda file: self._format_of(file) == DOCUMENTS
        )

    def close(self) -> None:
        """See `Source.close`; connections of object stores end with the source itself."""
        self._resting.close()

    def _list(self, file: StoredFile, cursor: str | None, place: _Place) -> str | None:
        """List one file, from where the cursor stands if it is in this file; return as `fill`."""
        if self._format_of(file) == DOCUMENTS:
            self._list_document(file, place.page)
            return None
        opened = self._rested(file, cursor) or self._opened(file, cursor)
        if opened is None:
            place.page.disturbed = True
            return None
        try:
            resume = opened.reader.fill(place.page)
        except BaseException:
            opened.close()
            raise
        if resume is None:
            opened.close()
            return None
        next_cursor = place.cursor({"file": file.name, **resume})
        self._resting.put(next_cursor, opened)
        return next_cursor

    def _list_document(self, file: StoredFile, page: PageBuilder) -> None:
        limits = self._table
        try:
            stream = self._storage.open(file)
            if stream is None:
                page.disturbed = True
            else:
                with closing(stream):
                    list_document(stream, file, limits.encoding, limits.max_entity_bytes, page)
        except SourceError as error:  # this file alone: no right to read it
            fail_document(file, error, page)

    def _rested(self, file: StoredFile, cursor: str | None) -> OpenFile | None:
        """The file as the page before left it, unless it has changed since."""
        opened = None if cursor is None else self._resting.take(cursor)
        if opened is not None and self._storage.current(file) != opened.file:
            opened.close()
            return None
        return opened

    def _opened(self, file: StoredFile, cursor: str | None) -> OpenFile | None:
        """The file at the cursor's place, None where it is gone."""
        current = self._storage.current(file)
        stream = current and self._storage.open(current)
        if not current or not stream:
            self._require_another(file, cursor)
            return None
        position = Position.decode(cursor) if cursor is not None else None
        if position is not None and position.values.get("file") != file.name:
            position = None
        table = OpenTable(stream, self._storage.place(file), current.version, self._table)
        try:
            return OpenFile(current, stream, _READERS[self._format_of(file)](table, position))
        except BaseException:
            stream.close()
            raise

    def _require_another(self, file: StoredFile, cursor: str | None) -> None:
        """Without its only file a path is an error on the first page, so it is on a later one."""
        if cursor is not None and self._storage.names(file):
            raise SourceError(
                f"{self._storage.place(file)} went away while it was being listed; start the job "
                "again once it is back."
            )

    def _format_of(self, file: StoredFile) -> str:
        if self._format != AUTO:
            return self._format
        return _FORMATS.get(PurePosixPath(file.name).suffix.lower(), DOCUMENTS)

    def _listed(self, began: str | None) -> _Listing:
        """The files, for a listing that began with those of this digest, or begins now."""
        with self._lock:
            listing = self._listing
            if (
                listing is None
                or began not in listing.serves
                or time.monotonic() > listing.good_until
            ):
                listing = self._listing = self._list_files()
                listing.serves.add(began or listing.digest)
            return listing

    def _list_files(self) -> _Listing:
        began = time.monotonic()
        files = [file for file in self._storage.files() if self._wanted(file)]
        if len(files) == 1 and self._storage.names(files[0]) and not self._readable(files[0]):
            raise SourceError(
                f"{self._storage.shown}: its name does not tell its format; set the source's "
                f"`format` to one of {', '.join([*_READERS, DOCUMENTS])}."
            )
        documents = all(self._format_of(file) == DOCUMENTS for file in files)
        digest = digest_of([readers(), [file.name for file in files]])
        now = time.monotonic()
        return _Listing(
            files,
            len(files) if documents else None,
            now + max(LISTING_SECONDS, LISTING_SHARE * (now - began)),
            digest,
            {digest},
        )

    def _wanted(self, file: StoredFile) -> bool:
        """Not what writers of tables leave beside them, such as `_SUCCESS`."""
        if not self._choice.takes(file.name):
            return False
        marker = self._format in _READERS and file.name.rpartition("/")[2].startswith("_")
        return not marker or self._storage.names(file)

    def _readable(self, file: StoredFile) -> bool:
        return self._format_of(file) != DOCUMENTS or media_type_of(file.name) is not None


def _estimate(page: Page, listing: _Listing, *, first: bool) -> int | None:
    """Entities in all files, if the others are as long as those of this file so far."""
    assert page.next_cursor is not None
    place = Position.decode(page.next_cursor)
    if "offset" in place.values:
        records, size = place.number("line"), place.number("offset")
    else:
        records, size = len(page.entities), page.bytes_read if first else 0
    if size == 0:
        return None
    return max(len(page.entities), round(records * sum(file.size for file in listing.files) / size))


def _first(files: Sequence[StoredFile], cursor: str | None) -> int:
    """The number of the file where a page begins."""
    if cursor is None:
        return 0
    position = Position.decode(cursor)
    if "after" in position.values:
        return bisect_right(files, position.text("after"), key=lambda file: file.name)
    return bisect_left(files, position.text("file"), key=lambda file: file.name)
