"""The specs that an index's generations were built under, kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from celeriac.errors import ConfigurationError
from celeriac.model import (
    FilterField,
    FilterType,
    IndexSpec,
    Splitting,
    SplittingMethod,
    TextField,
)

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SpecChange:
    """One part of a spec that is not as it was."""

    part: str
    """Dotted, such as `splitting.chunk_size`."""
    before: Any
    now: Any


def index_spec(values: Json, digest: str) -> IndexSpec:
    """The spec that was kept as `values` and had this digest.

    Raises:
        ConfigurationError: another version of celeriac kept it, and it cannot be had as it was.
    """
    try:
        spec = _rebuilt(dict(values))
    except (TypeError, ValueError, KeyError):
        spec = None
    if spec is None or spec.digest != digest:
        raise ConfigurationError(
            "The live generation was built by a celeriac of another version, whose rules this one "
            "cannot follow; change the declaration and reindex, so that another one is built."
        )
    return spec


def _rebuilt(values: dict[str, Any]) -> IndexSpec:
    splitting = dict(values.pop("splitting"))
    text_fields = tuple(TextField(**one) for one in values.pop("text_fields"))
    filter_fields = tuple(
        FilterField(**{**one, "type": FilterType(one["type"])})
        for one in values.pop("filter_fields")
    )
    method = SplittingMethod(splitting.pop("method"))
    return IndexSpec(
        splitting=Splitting(method, **splitting),
        text_fields=text_fields,
        filter_fields=filter_fields,
        **values,
    )


def spec_changes(before: Json, now: IndexSpec) -> tuple[SpecChange, ...]:
    """The parts of `now` that differ from a spec that was kept."""
    old = dict(_parts(before))
    new = dict(_parts(json.loads(json.dumps(asdict(now)))))
    return tuple(
        SpecChange(part, old.get(part), new.get(part))
        for part in sorted(old.keys() | new.keys())
        if old.get(part) != new.get(part)
    )


def _parts(values: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _parts(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
