"""Query text -> the model the index was built with -> Qdrant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from celeriac.catalog.indexes import Generation
from celeriac.errors import ConfigurationError, NotFound
from celeriac.model import FilterField, MetadataValue
from celeriac.rendering import wanted_value
from celeriac.runtime import Runtime
from celeriac.store.base import Hit


def search(
    runtime: Runtime,
    tenant: str,
    entity_type: str,
    text: str,
    *,
    top_k: int = 10,
    filters: Mapping[str, MetadataValue] | None = None,
) -> list[Hit]:
    """The `top_k` chunks nearest to `text` in the live generation, best first.

    Raises:
        NotFound: no such entity type, or nothing was indexed for it yet.
        ConfigurationError: a filter names a field that is not declared, or has a value of another
            type.
    """
    declared = runtime.entity_type(tenant, entity_type)
    wanted = _wanted(filters or {}, declared.spec.filter_fields)
    index = runtime.catalog.indexes.find(declared.tenant, declared.name)
    live = runtime.catalog.indexes.live(index.id) if index else None
    if live is None:
        raise NotFound(f"Nothing is indexed yet for {tenant}/{declared.name}; reindex it first.")
    _require_same_model(runtime, live)
    vector = runtime.embedder(live.model).embed_query(text)
    return runtime.store.search(live.partition, vector, top_k=top_k, filters=wanted)


def _require_same_model(runtime: Runtime, live: Generation) -> None:
    """A query embedded otherwise than the index would find anything but what is near."""
    model = runtime.settings.configuration.models.get(live.model)
    if model is None or model.digest != live.model_digest:
        raise ConfigurationError(
            f"The index was built with a model {live.model!r} that is described otherwise by now; "
            "reindex, or describe it under `models:` as it was."
        )


def _wanted(
    filters: Mapping[str, MetadataValue], fields: Sequence[FilterField]
) -> dict[str, MetadataValue]:
    """The filters as the fields' values are kept: "7" finds the integer 7."""
    declared = {field.key: field for field in fields}
    unknown = sorted(set(filters) - set(declared))
    if unknown:
        raise ConfigurationError(
            f"There is no filter field {unknown[0]!r}; "
            f"this entity type declares {', '.join(sorted(declared)) or 'none'}."
        )
    return {key: wanted_value(declared[key], value) for key, value in filters.items()}
