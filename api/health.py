"""/healthz: the process answers. /readyz: what it depends on answers too."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, jsonify
from redis.exceptions import RedisError

from api.authorization import public
from api.services import services
from celeriac.errors import DependencyUnavailable

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
    checks: dict[str, Callable[[], object]] = {
        "catalog": _ask_catalog,
        "redis": _ask_redis,
        "qdrant": services().store_check.require,
    }
    found = {name: _state(check) for name, check in checks.items()}
    ready = all(state == "ok" for state in found.values())
    return jsonify({"status": "ok" if ready else "unavailable", **found}), 200 if ready else 503


def _state(check: Callable[[], object]) -> str:
    try:
        check()
    except (DependencyUnavailable, RedisError) as error:
        return str(error)
    return "ok"


def _ask_catalog() -> None:
    services().runtime.catalog.ping()


def _ask_redis() -> None:
    services().runtime.redis.ping()
