"""Entity to text and filterable metadata."""

from __future__ import annotations

import datetime as dt
import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from celeriac.errors import ConfigurationError, EntityError, NotText
from celeriac.model import (
    BOUNDS,
    COMPARED,
    Entity,
    FilterField,
    FilterType,
    FilterValue,
    IndexSpec,
    MetadataValue,
    Range,
    RenderedEntity,
    TextField,
    digest_of,
)

MAX_CONTROL_SHARE = 0.05
"""Above this share of control characters a string is binary data, not text."""

MAX_SHOWN = 80
"""Characters of a value that a message shows."""
_HEADING_MARKS = re.compile(r"\A#{1,6}[ \t]+|[ \t]+#+[ \t]*\Z")
"""Markdown's, around the text of a heading."""

MAX_NAMED = 12
"""Fields that a message names."""

_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f]")
"""What is no text: control characters other than white space."""


class Renderer:
    """Renders the entities of one index. Pure; safe to call from several threads."""

    def __init__(self, spec: IndexSpec) -> None:
        self._spec = spec
        self._spec_digest = spec.digest

    def render(self, entity: Entity) -> RenderedEntity:
        """The entity's text, a line a value, and its filter fields under their keys. A value that
        is the first line or heading of the next one is not said twice.

        A text may be empty: the entity then has nothing to embed.

        Raises:
            NotText: a text field holds bytes, a structure, or a string that is not text.
            EntityError: a filter field holds a value of another type than was declared.
        """
        lines = [line for field in self._spec.text_fields for line in _lines(field, entity.fields)]
        metadata: dict[str, MetadataValue] = {}
        for field in self._spec.filter_fields:
            value = value_at(entity.fields, field.path or field.key)
            if value is not None:
                metadata[field.key] = _filter_value(field, value)
        text = "\n".join(_once(lines))
        lacking = "" if text.strip() else self._lacking(entity)
        return RenderedEntity(entity.id, text, metadata, lacking)

    def _lacking(self, entity: Entity) -> str:
        declared = [field.path for field in self._spec.text_fields]
        meant = [near_field(path, entity.fields) for path in declared]
        hints = [f"{one!r}" for one in dict.fromkeys(meant) if one is not None]
        return (
            f"None of the text fields ({', '.join(declared)}) holds any text; "
            f"the entity has {named_fields(entity.fields)}."
            + (f" Did you mean {', '.join(hints)}?" if hints else "")
        )

    def fingerprint(self, rendered: RenderedEntity) -> str:
        """Digest of everything that shapes the entity's points."""
        return digest_of([self._spec_digest, rendered.text, dict(rendered.metadata)])


def named_fields(fields: Mapping[str, Any]) -> str:
    """The first of these fields, for a message."""
    given = [repr(str(name)) for name in fields]
    more = ", ..." if len(given) > MAX_NAMED else ""
    return f"{', '.join(given[:MAX_NAMED]) or 'no fields'}{more}"


def near_field(path: str, fields: Mapping[str, Any]) -> str | None:
    """The field whose name is most like a path under which there is nothing."""
    if path in fields or path.partition(".")[0] in fields:
        return None
    by_fold = {str(name).casefold(): str(name) for name in fields}
    near = difflib.get_close_matches(path.casefold(), by_fold, n=1)
    return by_fold[near[0]] if near else None


def value_at(fields: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None where there is none; a literal dotted key comes first."""
    if path in fields:
        return fields[path]
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def _lines(field: TextField, fields: Mapping[str, Any]) -> Iterator[str]:
    values = [text for text in _texts(field.path, value_at(fields, field.path)) if text.strip()]
    if field.alias and values:
        yield f"{field.alias}: " + "\n".join(values)
    else:
        yield from values


def _once(lines: Sequence[str]) -> Iterator[str]:
    """Without a title that the text after it has as its own first line, as a Markdown file does."""
    for line, following in zip_longest(lines, lines[1:], fillvalue=""):
        first, _, more = following.lstrip().partition("\n")
        if not more or _HEADING_MARKS.sub("", first).strip() != line.strip():
            yield line


def _texts(path: str, value: Any) -> Iterator[str]:
    """The strings of a value: itself, a list's items, or a localized map's values by language."""
    match value:
        case None:
            return
        case str():
            yield _checked(path, value)
        case bool():
            yield "true" if value else "false"
        case int() | float() | Decimal() | dt.date() | dt.time():
            yield str(value)
        case Mapping():
            for key in sorted(value, key=str):
                yield from _texts(f"{path}.{key}", value[key])
        case list() | tuple():
            for position, item in enumerate(value):
                yield from _texts(f"{path}[{position}]", item)
        case _:
            raise NotText(f"Field {path!r} holds {type(value).__name__}, which is not text.")


def _checked(path: str, text: str) -> str:
    if "\0" in text:
        raise NotText(f"Field {path!r} holds a NUL character; it is binary data, not text.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotText(
            f"Field {path!r} holds half a character (a lone surrogate) at position {error.start}; "
            "mend its encoding at the source."
        ) from None
    controls = len(_CONTROLS.findall(text))
    if controls > MAX_CONTROL_SHARE * len(text):
        raise NotText(f"Field {path!r} holds {controls} control characters; it is not text.")
    return text


def wanted_value(field: FilterField, value: Any) -> FilterValue:
    """What a search filters by, in the form in which the field's values are kept; of a list, any
    one may match; bounds by name, `{"gte": 5}`, are a range.

    Raises:
        ConfigurationError: it is nothing that the field can be asked for.
    """
    try:
        if isinstance(value, Mapping):
            return _range(field, value)
        if field.type in _COMPOUND:
            return value  # type: ignore[no-any-return]
        wanted = value if isinstance(value, list) else [value]
        kept: list[Any] = [_wanted_scalar(field, one) for one in wanted]
    except (TypeError, ValueError, OverflowError, EntityError):
        said = json.dumps(value, ensure_ascii=False, default=str)[:MAX_SHOWN]
        raise ConfigurationError(
            f"The filter {field.key!r} is declared as {field.type}; {said} is not "
            f"{_allowed(field)}."
        ) from None
    return kept if isinstance(value, list) else kept[0]


def _wanted_scalar(field: FilterField, value: Any) -> Any:
    if value is None:
        raise TypeError
    return _CONVERSIONS[field.type](value)


def _range(field: FilterField, bounds: Mapping[str, Any]) -> Range:
    if field.type not in COMPARED or not bounds or not set(bounds) <= set(BOUNDS):
        raise TypeError
    return Range(**{name: _wanted_scalar(field, value) for name, value in bounds.items()})


def _allowed(field: FilterField) -> str:
    """What a filter on this field may be."""
    if field.type in COMPARED:
        first, last = _EXAMPLES[field.type]
        return f'one, a list of them, or bounds such as {{"gte": {first}, "lt": {last}}}'
    if field.type in _COMPOUND:
        return "a value or a list of values"
    return "one, or a list of them"


def _filter_value(field: FilterField, value: Any) -> MetadataValue:
    try:
        return _CONVERSIONS[field.type](value)
    except (TypeError, ValueError, OverflowError):
        raise EntityError(
            f"Filter field {field.key!r} is declared as {field.type} but holds "
            f"{type(value).__name__} {str(value)[:80]!r}."
        ) from None


def _string(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple | bytes):
        raise TypeError
    return _checked("", str(value))


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError
    return _storable(int(value))


def _storable(number: int) -> int:
    """The number, which the store keeps in 64 bits."""
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    try:
        return {"true": True, "false": False}[str(value).strip().lower()]
    except KeyError:
        raise ValueError from None


def _datetime(value: Any) -> str:
    moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    return moment.isoformat()


def _date(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.date().isoformat()
    day = value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value))
    return day.isoformat()


def _time(value: Any) -> str:
    moment = value if isinstance(value, dt.time) else dt.time.fromisoformat(str(value))
    return moment.isoformat()


def _list(value: Any) -> MetadataValue:
    if not isinstance(value, list | tuple):
        raise TypeError
    return [_item(item) for item in value]


def _item(value: Any) -> str | int | float | bool:
    match value:
        case bool():
            return value
        case int():
            return _storable(value)
        case float():
            return _float(value)
    return _string(value)


def _structure(value: Any) -> MetadataValue:
    if not isinstance(value, Mapping):
        raise TypeError
    return [f"{key}={_string(item)}" for key, item in sorted(value.items())]


_CONVERSIONS: Mapping[FilterType, Callable[[Any], MetadataValue]] = {
    FilterType.STRING: _string,
    FilterType.INTEGER: _integer,
    FilterType.FLOAT: _float,
    FilterType.BOOLEAN: _boolean,
    FilterType.DATETIME: _datetime,
    FilterType.DATE: _date,
    FilterType.TIME: _time,
    FilterType.LIST: _list,
    FilterType.DICTIONARY: _structure,
    FilterType.OBJECT: _structure,
}
_EXAMPLES = {
    FilterType.INTEGER: ("5", "10"),
    FilterType.FLOAT: ("0.5", "9.99"),
    FilterType.DATE: ('"2026-01-01"', '"2027-01-01"'),
    FilterType.DATETIME: ('"2026-01-01T00:00:00Z"', '"2027-01-01T00:00:00Z"'),
}
_COMPOUND = (FilterType.LIST, FilterType.DICTIONARY, FilterType.OBJECT)
