"""Fill in the tables of configuring.md from the code that reads the environment and the file.

    python docs/generate_configuring.py            write the page
    python docs/generate_configuring.py --check    exit with 1 where it is out of date

The tables stand between `<!-- table: NAME -->` and `<!-- end -->`; the rest is written by hand.
What a key means is in its field's metadata, or in configuring_meanings.yaml.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from marshmallow import Schema, fields, missing, validate

from celeriac.configuration.fields import CronExpression, SourceOptions
from celeriac.configuration.schemas import (
    CanarySchema,
    ConfigurationSchema,
    EntityTypeSchema,
    FilterFieldSchema,
    IndexSchema,
    ScheduleSchema,
    TenantSchema,
    TextFieldSchema,
)
from celeriac.configuration.security import IssuerSchema, SecuritySchema
from celeriac.embedding.registry import BUILTIN, ModelSchema
from celeriac.settings import VARIABLES
from celeriac.sources.options import Variant
from celeriac.sources.registry import source_kinds

PAGE = Path(__file__).parent / "configuring.md"
MEANINGS = Path(__file__).parent / "configuring_meanings.yaml"
BUILTIN_PACKAGE = "celeriac."
_TABLE = re.compile(
    r"(?P<begin><!-- table: (?P<name>\w+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)
_TYPES: tuple[tuple[type[fields.Field[Any]], str], ...] = (
    (CronExpression, "cron expression"),
    (SourceOptions, "mapping"),
    (Variant, "mapping"),
    (fields.Boolean, "true or false"),
    (fields.Integer, "whole number"),
    (fields.Number, "number"),
    (fields.String, "text"),
    (fields.Dict, "mapping"),
    (fields.Nested, "mapping"),
)


def filled_in(page: str) -> str:
    """The page with its tables as the code has them now."""
    return _TABLE.sub(
        lambda match: f"{match['begin']}\n{TABLES[match['name']]()}\n\n{match['end']}", page
    )


def environment() -> str:
    rows = ((f"`{item.name}`", item.meaning, item.default) for item in VARIABLES)
    return _table(("variable", "meaning", "default"), rows)


def keys(schema: Schema, *, without: str = "") -> str:
    """A table of a schema's keys."""
    rows = (
        (f"`{name}`", _type(field), _default(field), _meaning(schema, name, field))
        for name, field in _fields(schema)
        if name != without
    )
    return _table(("key", "value", "default", "meaning"), rows)


def sources() -> str:
    """A section for each kind of source that celeriac brings, and for what is nested in it."""
    sections: list[str] = []
    for name, kind in sorted(source_kinds().items()):
        if kind.schema.__module__.startswith(BUILTIN_PACKAGE):
            sections.append(f"### `kind: {name}`\n\n{keys(kind.schema(), without='kind')}")
            sections += _nested(kind.schema(), "")
    return "\n\n".join(sections)


def models() -> str:
    rows = (
        (f"`{model.name}`", str(model.dimension), str(model.max_length), f"`{model.engine}`")
        for model in BUILTIN.values()
    )
    return _table(("model", "dimension", "tokens at most", "engine"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "environment": environment,
    "configuration": lambda: keys(ConfigurationSchema()),
    "tenant": lambda: keys(TenantSchema()),
    "entity_type": lambda: keys(EntityTypeSchema()),
    "text_field": lambda: keys(TextFieldSchema()),
    "filter_field": lambda: keys(FilterFieldSchema()),
    "index": lambda: keys(IndexSchema()),
    "schedule": lambda: keys(ScheduleSchema()),
    "canary": lambda: keys(CanarySchema()),
    "sources": sources,
    "builtin_models": models,
    "model": lambda: keys(ModelSchema(), without="name"),
    "security": lambda: keys(SecuritySchema()),
    "issuer": lambda: keys(IssuerSchema()),
}


def _nested(schema: Schema, path: str) -> Iterator[str]:
    for name, field in _fields(schema):
        inner = field.inner if isinstance(field, fields.List) else field
        where = f"{path}{name}"
        if isinstance(inner, Variant):
            for kind, variant in inner.schemas.items():
                title = f"#### `{where}`, `kind: {kind}`"
                yield f"{title}\n\n{keys(variant(), without='kind') or 'No other keys.'}"
                yield from _nested(variant(), f"{where}.")
        elif isinstance(inner, fields.Nested):
            yield f"#### `{where}`\n\n{keys(inner.schema)}"
            yield from _nested(inner.schema, f"{where}.")


def _fields(schema: Schema) -> Iterator[tuple[str, fields.Field[Any]]]:
    for name, field in schema.load_fields.items():
        yield field.data_key or name, field


def _meaning(schema: Schema, name: str, field: fields.Field[Any]) -> str:
    """Raises KeyError where nobody has written it yet."""
    written: str | None = field.metadata.get("description")
    return written or str(_meanings()[type(schema).__name__][name])


@cache
def _meanings() -> dict[str, dict[str, str]]:
    meanings: dict[str, dict[str, str]] = yaml.safe_load(MEANINGS.read_text("utf-8"))
    return meanings


def _type(field: fields.Field[Any]) -> str:
    choices = _choices(field)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    if "value" in field.metadata:
        return str(field.metadata["value"])
    if isinstance(field, fields.List):
        return f"list of {_type(field.inner)}s"
    name = next((name for kind, name in _TYPES if isinstance(field, kind)), "any")
    return name + _bounds(field)


def _choices(field: fields.Field[Any]) -> list[str]:
    if isinstance(field, fields.Enum):
        return [str(member.value if field.by_value else member.name) for member in field.enum]
    if isinstance(field, Variant):
        return [f"kind: {kind}" for kind in field.schemas]
    for validator in field.validators:
        if isinstance(validator, validate.OneOf):
            return [str(choice) for choice in validator.choices]
    return []


def _bounds(field: fields.Field[Any]) -> str:
    for validator in field.validators:
        if isinstance(validator, validate.Range):
            low, high = validator.min, validator.max
            if high is None:
                return f", {low} or more" if validator.min_inclusive else f", above {low}"
            return f", {'up' if low is None else low} to {high}"
    return ""


def _default(field: fields.Field[Any]) -> str:
    if field.required:
        return "required"
    if isinstance(field, fields.Nested):
        return ""
    default = field.load_default() if callable(field.load_default) else field.load_default
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, bool):
        default = str(default).lower()
    if isinstance(default, dict) and "kind" in default:
        default = f"kind: {default['kind']}"
    empty = default is missing or default is None or default in ("", [], {})
    return "" if empty or isinstance(default, dict | list | tuple) else f"`{default}`"


def _table(titles: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    body = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    if not body:
        return ""
    return "\n".join(
        f"| {line} |" for line in [" | ".join(titles), " | ".join("---" for _ in titles), *body]
    )


def main(arguments: list[str]) -> int:
    page = PAGE.read_text("utf-8")
    current = filled_in(page)
    if arguments == ["--check"]:
        return int(page != current)
    PAGE.write_text(current, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
