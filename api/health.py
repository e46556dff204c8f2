"""/healthz: the process answers. /readyz: what it depends on answers too."""

from __future__ import annotations

from collections.abc import Callable

from marshmallow import Schema, fields
from marshmallow.validate import OneOf
from redis.exceptions import RedisError

from api.authorization import public
from api.blueprint import Blueprint
from api.services import services
from celeriac.errors import DependencyUnavailable

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
    checks: dict[str, Callable[[], object]] = {
        "catalog": _ask_catalog,
        "redis": _ask_redis,
        "qdrant": services().store_check.require,
    }
    found = {name: _state(check) for name, check in checks.items()}
    ready = all(state == "ok" for state in found.values())
    return {"status": "ok" if ready else "unavailable", **found}, 200 if ready else 503


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
