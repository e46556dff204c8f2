"""/healthz: the process answers. /readyz: what it depends on answers too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from marshmallow import Schema, fields
from marshmallow.validate import OneOf
from redis.exceptions import RedisError

from api.authorization import public
from api.blueprint import Blueprint
from api.services import services
from celeriac.errors import DependencyUnavailable
from celeriac.runtime import Runtime

blueprint = Blueprint("health", __name__, description="Whether it runs, and what it needs does.")


class Alive(Schema):
    """That the process answers."""

    status = fields.String(required=True, validate=OneOf(["ok"]))


class Readiness(Schema):
    """`ok`, or what is wrong, by what it depends on."""

    status = fields.String(required=True, validate=OneOf(["ok", "unavailable"]))
    catalog = fields.String(required=True)
    redis = fields.String(required=True)
    qdrant = fields.String(required=True)


@blueprint.get("/healthz")
@public
@blueprint.response(200, Alive)
def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@public
@blueprint.response(200, Readiness)
@blueprint.alt_response(503, schema=Readiness)
def readyz() -> tuple[dict[str, str], int]:
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
    return {"status": "ok" if ready else "unavailable", **found}, 200 if ready else 503


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
