"""Documents: a file an entity."""

from __future__ import annotations

import io

from celeriac.documents import MEDIA_TYPES, extract_text, media_type_of
from celeriac.errors import MissingId, UnreadableDocument
from celeriac.sources.listing import PageBuilder, entity_id
from celeriac.sources.storage import StoredFile


def list_document(
    stream: io.BufferedReader,
    file: StoredFile,
    encoding: str,
    max_entity_bytes: int,
    page: PageBuilder,
) -> None:
    """List one document, whose id is its path below the source's root.

    Its fields are `title` (where it has one), `text`, `path`, `name`, `media_type`, `modified`
    (ISO 8601, UTC) and `size` (bytes).
    """
    try:
        fields = _fields(stream, file, encoding, max_entity_bytes)
        identity = entity_id(fields, "path", file.name)
    except UnreadableDocument as error:
        fail_document(file, error, page)
    except MissingId as error:
        page.fail(error)
    else:
        page.bytes_read += file.size
        page.add_entity(identity, fields, file.name)


def fail_document(file: StoredFile, error: Exception, page: PageBuilder) -> None:
    """List a document that cannot be read, under its id where its path can be one."""
    try:
        identity = entity_id({"path": file.name}, "path", file.name)
    except MissingId:
        identity = None
    page.fail(UnreadableDocument(f"{file.name}: {error}"), identity)


def _fields(
    stream: io.BufferedReader, file: StoredFile, encoding: str, max_entity_bytes: int
) -> dict[str, str | int]:
    media_type = media_type_of(file.name)
    if media_type is None:
        raise UnreadableDocument(
            f"No reader for files of this kind; {', '.join(MEDIA_TYPES)} can be read. The source's "
            "`include` and `exclude` say which files it lists."
        )
    content = stream.read(max_entity_bytes + 1)
    if len(content) > max_entity_bytes:
        raise UnreadableDocument(
            f"The file has {file.size} bytes; max_entity_bytes allows {max_entity_bytes}."
        )
    document = extract_text(content, media_type, encoding)
    fields: dict[str, str | int] = {} if document.title is None else {"title": document.title}
    fields |= {"text": document.text, "path": file.name, "name": file.name.rpartition("/")[2]}
    fields |= {"media_type": media_type, "size": file.size}
    if file.modified is not None:
        fields["modified"] = file.modified.isoformat()
    return fields
