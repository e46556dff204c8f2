"""Whether an embedding model is available: asked of the workers, which have the models."""

from __future__ import annotations

from api.services import services
from celeriac.errors import CeleriacError, ModelUnavailable, TransientError
from workers import searching

UNAVAILABLE = "EMBEDDING_MODEL_ENDPOINT_UNAVAILABLE"
NO_ROUTE = "ROUTE_TO_MODEL_NOT_FOUND"
INVALID = "INVALID_RESPONSE_FROM_MODEL_ENDPOINT"


def status_errors(model: str) -> list[str]:
    """Why an index under the model is not available; empty where it is."""
    runtime = services().runtime
    if model not in runtime.settings.configuration.models:
        return [NO_ROUTE]
    try:
        searching.probe(runtime.redis, model)
    except (ModelUnavailable, TransientError):
        return [UNAVAILABLE]
    except CeleriacError:
        return [INVALID]
    return []
