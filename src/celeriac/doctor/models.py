"""The embedding models that are declared: whether they are here, and of the declared dimension."""

from __future__ import annotations

from celeriac.doctor.findings import Findings, error, fine
from celeriac.embedding import registry
from celeriac.errors import CeleriacError
from celeriac.settings import Settings


def findings(settings: Settings, *, load: bool) -> Findings:
    configuration = settings.configuration
    named = {
        one.spec.model
        for tenant in configuration.tenants.values()
        for one in tenant.entity_types.values()
    }
    for name in sorted(named):
        try:
            yield fine("models", _looked_at(settings, name, load=load))
        except CeleriacError as problem:
            yield error("models", f"{name}: {problem}", "Workers fail its jobs until that is so.")


def _looked_at(settings: Settings, name: str, *, load: bool) -> str:
    """What is well with the model.

    Raises:
        CeleriacError: what is not.
    """
    model = settings.configuration.models[name]
    if not load:
        registry.counter(model, settings.environ)
        return f"{name}: its tokenizer is here, its dimension is declared as {model.dimension}"
    embedder = registry.load(
        model, device=settings.device, dtype=settings.dtype, environ=settings.environ
    )
    vector = embedder.embed_query("Is anybody there?")
    return f"{name}: computes vectors of {len(vector)} dimensions"
