"""/healthz: the process answers. /readyz: what it depends on answers too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flask import Blueprint, Response, jsonify
from redis.exceptions import RedisError

from api.authorization import public
from api.services import services
from celeriac.errors import DependencyUnavailable
from celeriac.runtime import Runtime

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@public
def healthz() -> Response:
    """The process is alive."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
@public
def readyz() -> tuple[Response, int]:
    """Whether each dependency answers; 503 when one does not."""
    runtime, store_check = services().runtime, services().store_check
    checks: dict[str, Callable[[], object]] = {
        "catalog": partial(_ask_catalog, runtime),
        "redis": partial(_ask_redis, runtime),
        "qdrant": store_check.require,
    }
    asked = {name: partial(_state, check) for name, check in checks.items()}
    found = services().probes.states(asked)
    ready = all(state == "ok" for state in found.values())
    return jsonify({"status": "ok" if ready else "unavailable", **found}), 200 if ready else 503


def _state(check: Callable[[], object]) -> str:
    try:
        check()
    except (DependencyUnavailable, RedisError) as error:
        return str(error)
    return "ok"


def _ask_catalog(runtime: Runtime) -> None:
    runtime.catalog.ping()


def _ask_redis(runtime: Runtime) -> None:
    runtime.redis.ping()
