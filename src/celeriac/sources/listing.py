"""A page while it is filled: ids, duplicates, failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celeriac.errors import DuplicateId, EntityError, MissingId, UnreadableDocument
from celeriac.model import Entity, EntityFailure, Page, storable
from celeriac.rendering import named_fields, near_field, value_at

MAX_ID_LENGTH = 512
EXACT_FLOAT = 2**53
"""Below it a float holds every integer exactly."""
MAX_MESSAGE_LENGTH = 1000
PAGE_SIZE = 1000
"""Entities a page has at most, unless it is told otherwise."""
PAGE_BYTES = 2 << 20
"""A page ends once it has read this much, so that it stays seconds of work."""
SHORT_PAGE = 100
"""Pages begin with as many entities."""
SHARE_OF_LISTED = 8
"""What a page has of all that earlier ones list: one in so many."""


def page_length(before: int, at_most: int) -> int:
    """How many entities to put on a page, where `before` are on earlier ones.

    What a page costs by itself is spread over more entities the more there are; but the last pages
    stay a small part of the whole, for that is what the last of the workers is waited for.
    """
    return min(at_most, max(SHORT_PAGE, before // SHARE_OF_LISTED))


def entity_id(fields: Mapping[str, Any], path: str, place: str) -> str:
    """The id at the dotted path, integers as their decimal text.

    Raises:
        MissingId: missing, empty, of another type, too long, or not text; the message begins with
            `place`.
    """
    value = value_at(fields, path)
    if value is None:
        raise MissingId(
            f"{place} has no id: there is nothing under {path!r}; "
            f"the source's `id` names the field that holds it.{_meant(path, fields)}"
        )
    text = _id_text(value)
    if text is None:
        raise MissingId(
            f"{place} has no usable id: {path!r} holds {type(value).__name__}; "
            "an id is text or a whole number."
        )
    if not text.strip():
        raise MissingId(f"{place} has no id: {path!r} is empty.")
    if len(text) > MAX_ID_LENGTH:
        raise MissingId(
            f"{place} has no usable id: {path!r} begins with {text[:40]!r} and has {len(text)} "
            f"characters; an id has at most {MAX_ID_LENGTH}."
        )
    if "\0" in text or not _encodable(text):
        raise MissingId(f"{place} has no usable id: {text[:80]!r} under {path!r} is not text.")
    return text


class PageBuilder:
    """Collects what one page lists; of several entities with one id the first wins."""

    def __init__(self, id_path: str, page_size: int, max_bytes: int | None = None) -> None:
        self.bytes_read = 0
        self.disturbed = False
        """See `Page.disturbed`."""
        self._id_path = id_path
        self._page_size = page_size
        self._max_bytes = max_bytes
        self._entities: list[Entity] = []
        self._failures: list[EntityFailure] = []
        self._ids: set[str] = set()

    @property
    def listed(self) -> int:
        """Entities so far, those included that cannot be had."""
        return len(self._entities) + len(self._failures)

    @property
    def room(self) -> int:
        """How many more it takes, whatever their bytes."""
        return self._page_size - self.listed

    @property
    def full(self) -> bool:
        """Whether the page should end here; one that reached `max_bytes` may be short."""
        over = self._max_bytes is not None and self.bytes_read >= self._max_bytes
        return self.room <= 0 or over

    def add(self, record: object, place: str) -> None:
        """List a record; `place` names it in messages, such as `data/a.jsonl:7`."""
        if not isinstance(record, Mapping):
            self.fail(UnreadableDocument(f"{place} is {_kind_of(record)}, not an object."))
            return
        try:
            identity = entity_id(record, self._id_path, place)
        except MissingId as error:
            self.fail(error)
            return
        self.add_entity(identity, record, place)

    def add_entity(self, identity: str, fields: Mapping[str, Any], place: str) -> None:
        """List an entity whose id is known and valid."""
        if identity in self._ids:
            error = DuplicateId(f"{place} repeats the id {identity!r}; the first one is indexed.")
            self.fail(error, identity)
            return
        self._ids.add(identity)
        self._entities.append(Entity(identity, fields))

    def fail_record(self, error: EntityError, record: Mapping[str, Any]) -> None:
        """List a record that cannot be had, under its id where it has one."""
        try:
            identity = entity_id(record, self._id_path, "")
        except MissingId:
            identity = None
        self.fail(error, identity)

    def fail(self, error: EntityError, identity: str | None = None) -> None:
        """List an entity that cannot be had."""
        message = _printable(str(error))
        self._failures.append(EntityFailure.of(identity, type(error)(message)))

    def build(self, next_cursor: str | None, total: int | None = None) -> Page:
        return Page(
            tuple(self._entities),
            next_cursor,
            tuple(self._failures),
            self.bytes_read,
            total,
            disturbed=self.disturbed,
        )


def _meant(path: str, fields: Mapping[str, Any]) -> str:
    """What the record has instead of a field that it lacks."""
    if path in fields:
        return ""
    near = near_field(path, fields)
    hint = f" Did you mean {near!r}?" if near else ""
    return f" The record has {named_fields(fields)}.{hint}"


def _id_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return _decimal(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_FLOAT:
        return str(int(value))
    return None


def _decimal(value: int) -> str | None:
    try:
        return str(value)
    except ValueError:  # above Python's limit for digits, far above MAX_ID_LENGTH
        return None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(message: str) -> str:
    clean = storable(message)
    return clean if len(clean) <= MAX_MESSAGE_LENGTH else clean[: MAX_MESSAGE_LENGTH - 1] + "…"


def _kind_of(record: object) -> str:
    return "null" if record is None else f"a {type(record).__name__}"
