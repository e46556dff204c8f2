"""Query text -> the model the index was built with -> Qdrant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.catalog.indexes import Generation, GenerationState
from celeriac.errors import ConfigurationError
from celeriac.generations import has_its_model, live_generation
from celeriac.model import FilterField, FilterValue
from celeriac.rendering import wanted_value
from celeriac.runtime import Runtime
from celeriac.store.base import Hit

GONE = (GenerationState.DROPPING, GenerationState.DROPPED)


def search(
    runtime: Runtime,
    tenant: str,
    entity_type: str,
    text: str,
    *,
    top_k: int = 10,
    filters: Mapping[str, Any] | None = None,
) -> list[Hit]:
    """The `top_k` chunks nearest to `text` in the live generation, best first.

    `filters` are by key what `wanted_value` takes.

    Raises:
        NotFound: no such entity type, or nothing was indexed for it yet.
        ConfigurationError: a filter names a field that the live generation does not have, or has a
            value of another type.
    """
    declared = runtime.entity_type(tenant, entity_type)
    while True:
        live = live_generation(runtime, declared)
        wanted = _wanted(filters or {}, live.spec.filter_fields)
        hits = nearest(runtime, live, text, top_k=top_k, filters=wanted)
        # Loading a model takes longer than two switches may: its points may be gone by now.
        if runtime.catalog.indexes.generation(live.index_id, live.number).state not in GONE:
            return hits


def nearest(
    runtime: Runtime,
    generation: Generation,
    text: str,
    *,
    top_k: int,
    filters: Mapping[str, FilterValue] | None = None,
) -> list[Hit]:
    """Likewise in a given generation.

    Raises:
        ConfigurationError: its model is described otherwise by now.
    """
    if not has_its_model(runtime, generation):
        raise ConfigurationError(
            f"The index was built with a model {generation.model!r} that is described otherwise by "
            "now; reindex, or describe it under `models:` as it was."
        )
    vector = runtime.embedder(generation.model).embed_query(text)
    return runtime.store.search(generation.partition, vector, top_k=top_k, filters=filters)


def _wanted(filters: Mapping[str, Any], fields: Sequence[FilterField]) -> dict[str, FilterValue]:
    """The filters as the fields' values are kept: "7" finds the integer 7."""
    declared = {field.key: field for field in fields}
    unknown = sorted(set(filters) - set(declared))
    if unknown:
        raise ConfigurationError(
            f"There is no filter field {unknown[0]!r}; the index has "
            f"{', '.join(sorted(declared)) or 'none'}. One that was declared since can be used "
            "once a reindex has succeeded."
        )
    return {key: wanted_value(declared[key], value) for key, value in filters.items()}
