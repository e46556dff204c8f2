"""Query text -> the model the index was built with -> Qdrant."""

from __future__ import annotations

from collections.abc import Mapping

from celeriac.catalog.indexes import Generation
from celeriac.errors import ConfigurationError, NotFound
from celeriac.model import MetadataValue
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
        ConfigurationError: a filter names a field that is not declared.
    """
    declared = runtime.entity_type(tenant, entity_type)
    _require_declared(filters or {}, [field.key for field in declared.spec.filter_fields])
    index = runtime.catalog.indexes.find(declared.tenant, declared.name)
    live = runtime.catalog.indexes.live(index.id) if index else None
    if live is None:
        raise NotFound(f"Nothing is indexed yet for {tenant}/{declared.name}; reindex it first.")
    _require_same_model(runtime, live)
    vector = runtime.embedder(live.model).embed_query(text)
    return runtime.store.search(live.partition, vector, top_k=top_k, filters=filters)


def _require_same_model(runtime: Runtime, live: Generation) -> None:
    """A query embedded otherwise than the index would find anything but what is near."""
    model = runtime.settings.configuration.models.get(live.model)
    if model is None or model.digest != live.model_digest:
        raise ConfigurationError(
            f"The index was built with a model {live.model!r} that is described otherwise by now; "
            "reindex, or describe it under `models:` as it was."
        )


def _require_declared(filters: Mapping[str, MetadataValue], declared: list[str]) -> None:
    unknown = sorted(set(filters) - set(declared))
    if unknown:
        raise ConfigurationError(
            f"There is no filter field {unknown[0]!r}; "
            f"this entity type declares {', '.join(sorted(declared)) or 'none'}."
        )
