"""OpenAPI, generated from the blueprints' own declarations."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
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
    return OwnErrors(
        app,
        spec_kwargs={
            "components": {"securitySchemes": _SECURITY},
            "marshmallow_plugin": MarshmallowPlugin(schema_name_resolver=_schema_name),
        },
    )


def _schema_name(schema: Schema | type[Schema]) -> str:
    """A schema's name in the document: contracts have schemas of one name."""
    cls = schema if isinstance(schema, type) else type(schema)
    contract = cls.__module__.split(".")[1] if cls.__module__.count(".") > 1 else ""
    return contract.capitalize() + cls.__name__.removesuffix("View")


_SECURITY: dict[str, Any] = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
}
