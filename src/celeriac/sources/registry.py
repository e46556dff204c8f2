"""Which kinds of sources there are, and building one from its options.

Other packages add kinds by an entry point of the group `celeriac.sources` that loads a SourceKind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from marshmallow import Schema, ValidationError

from celeriac.errors import ConfigurationError
from celeriac.sources.base import Source

ENTRY_POINT_GROUP = "celeriac.sources"


@dataclass(frozen=True, slots=True)
class SourceKind:
    """One kind of source."""

    name: str
    """What the option `kind` says."""
    schema: type[Schema]
    """Validates the kind's options; what it loads can be loaded again."""
    build: Callable[[Mapping[str, Any]], Source]
    """Makes a source of loaded options, without connecting anywhere.

    Raises ConfigurationError where they cannot be used.
    """


def source_kinds() -> Mapping[str, SourceKind]:
    """Every kind by its name, installed packages' among them.

    Raises:
        ConfigurationError: an entry point does not load, or two packages bring one name.
    """
    kinds = {kind.name: kind for kind in _builtin_kinds()}
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        kind = _load(entry_point)
        if kind.name in kinds:
            raise ConfigurationError(
                f"{_origin(entry_point)} brings the source kind {kind.name!r}, "
                "which exists already; remove one of the packages."
            )
        kinds[kind.name] = kind
    return MappingProxyType(kinds)


def load_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Validate a `source:` mapping and fill in the defaults; loading the result changes nothing.

    Raises:
        marshmallow.ValidationError: with messages by key, nested as the options are.
    """
    name = options.get("kind")
    if name is None:
        raise ValidationError({"kind": ["Missing data for required field."]})
    kind = _kind(name)
    if kind is None:
        raise ValidationError({"kind": [f"Must be one of: {', '.join(sorted(source_kinds()))}."]})
    own = {key: value for key, value in options.items() if key != "kind"}
    loaded: dict[str, Any] = kind.schema().load(own)
    return {"kind": kind.name, **loaded}


def build_source(options: Mapping[str, Any]) -> Source:
    """The source that a valid `source:` mapping describes. Nothing is connected yet.

    Raises:
        ConfigurationError: the options are not valid or cannot be used here.
    """
    try:
        loaded = load_options(options)
    except ValidationError as error:
        raise ConfigurationError(
            f"The source's options are not valid: {error.messages}"
        ) from None  # the validated data, secrets among it, hangs on the cause
    kind = _kind(loaded["kind"])
    assert kind is not None
    return kind.build(loaded)


def _kind(name: object) -> SourceKind | None:
    builtin = {kind.name: kind for kind in _builtin_kinds()}
    return builtin.get(str(name)) or source_kinds().get(str(name))


def _builtin_kinds() -> Iterator[SourceKind]:
    from celeriac.sources.files import FilesOptions, build_files
    from celeriac.sources.rest import RestOptions, build_rest
    from celeriac.sources.sql import SqlOptions, build_sql

    yield SourceKind("files", FilesOptions, build_files)
    yield SourceKind("rest", RestOptions, build_rest)
    yield SourceKind("sql", SqlOptions, build_sql)


def _load(entry_point: EntryPoint) -> SourceKind:
    try:
        kind = entry_point.load()
    except Exception as error:
        raise ConfigurationError(f"{_origin(entry_point)} cannot be loaded: {error}") from error
    if not isinstance(kind, SourceKind):
        raise ConfigurationError(
            f"{_origin(entry_point)} loads a {type(kind).__name__}; "
            "it has to load a celeriac.sources.registry.SourceKind."
        )
    return kind


def _origin(entry_point: EntryPoint) -> str:
    package = entry_point.dist.name if entry_point.dist else "unknown package"
    return f"The entry point {entry_point.name!r} of {package} ({entry_point.value})"
