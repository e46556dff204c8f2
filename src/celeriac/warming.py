"""Models loaded before the first search asks for them."""

from __future__ import annotations

import logging
import time

from celeriac.catalog.indexes import Generation, index_id_of
from celeriac.embedding.models import Engine
from celeriac.errors import CeleriacError
from celeriac.generations import has_its_model
from celeriac.runtime import Runtime

logger = logging.getLogger(__name__)


def load_searched(runtime: Runtime) -> None:
    """Load each model computed here that searches of declared entity types need now, until the
    process is asked to end. One that cannot be loaded is logged and left to the search."""
    try:
        wanted = searched_models(runtime)
    except CeleriacError as error:
        logger.warning("no model is loaded ahead", extra=_about("", str(error)))
        return
    for name in wanted:
        if runtime.stopping.is_set():
            return
        _load(runtime, name)


def searched_models(runtime: Runtime) -> list[str]:
    """Names of models computed here that the live indexes of declared entity types were built
    with, each once, in the order of the configuration file."""
    declared = [
        entity_type
        for tenant in runtime.settings.configuration.tenants.values()
        for entity_type in tenant.entity_types.values()
    ]
    live = (runtime.catalog.indexes.live(index_id_of(one.tenant, one.name)) for one in declared)
    return list(dict.fromkeys(one.model for one in live if one and _computed_here(runtime, one)))


def _computed_here(runtime: Runtime, generation: Generation) -> bool:
    if not has_its_model(runtime, generation):
        return False
    return runtime.settings.configuration.models[generation.model].engine is not Engine.GEMINI


def _load(runtime: Runtime, name: str) -> None:
    begun = time.monotonic()
    try:
        runtime.embedder(name)
    except CeleriacError as error:
        logger.warning("a model is not loaded ahead", extra=_about(name, str(error)))
    except Exception:
        logger.exception("a model is not loaded ahead", extra=_about(name, "see below"))
    else:
        took = f"{time.monotonic() - begun:.1f} s"
        logger.info("model loaded ahead", extra={"action": "load", "model": name, "took": took})


def _about(model: str, reason: str) -> dict[str, str]:
    return {"action": "load", "model": model, "reason": reason}
