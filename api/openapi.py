"""OpenAPI, generated from the blueprints' own declarations."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from flask import Flask
from flask_smorest import Api
from marshmallow import Schema, fields


class ErrorBody(Schema):
    """What the contract that a path belongs to says went wrong; `docs/contracts.md` has each."""

    detail = fields.Raw()


class OwnErrors(Api):
    """Leaves errors to `api.errors`."""

    ERROR_SCHEMA = ErrorBody

    def _register_error_handlers(self) -> None:
        pass


def register(app: Flask) -> Api:
    """What blueprints are registered with, so that they are in the document."""
    app.config.update(
        API_TITLE="celeriac",
        API_VERSION=version("celeriac"),
        OPENAPI_VERSION="3.1.0",
    )
    return OwnErrors(app, spec_kwargs={"components": {"securitySchemes": _SECURITY}})


_SECURITY: dict[str, Any] = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
}
