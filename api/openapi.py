"""The OpenAPI document, generated from what the blueprints declare.

A handler declares its arguments, its answer and the errors of its own (`api.blueprint`). What all
have in common is written here from the route's marks: its scope, the credentials, the errors that
every request can meet, in the shape of the contract that the path belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from flask_smorest import Api
from flask_smorest.spec.plugins import FlaskPlugin
from marshmallow import Schema

from api.authorization import scope_of
from api.batch.schemas import ANSWERS
from api.blueprint import RAISED
from api.problems import TABLE, row_of
from api.sessions import CONSOLE
from api.shapes import ERROR_MESSAGE, SHAPES, Shape, shape_of
from api.tenancy import HEADER
from celeriac.errors import (
    CeleriacError,
    ConfigurationError,
    DependencyUnavailable,
    Forbidden,
    RateLimited,
    TooLarge,
    Unauthenticated,
)
from celeriac.security.principal import Scope

Json = dict[str, Any]

EVERY_CREDENTIAL = (
    *(Unauthenticated, Forbidden, RateLimited, DependencyUnavailable),
    CeleriacError,
)
"""What every request with a credential can meet."""
AUTOMATIC = {"HEAD", "OPTIONS"}
"""Methods that Flask answers by itself."""

DESCRIPTIONS = {
    400: "The request is not valid.",
    401: "There is no credential, or it is not valid.",
    403: "The credential lacks the scope, or is not of the tenant.",
    404: "There is nothing under this name; what is another tenant's is answered alike.",
    409: "What is there already does not allow it now.",
    413: "The body is too large.",
    422: "The request is not valid.",
    429: "Too many requests of this credential, or of failures from this address.",
    500: "Something went wrong here; the log says what.",
    503: "Something that celeriac depends on is away.",
    504: "No worker answered in time.",
}

PARAMETERS = {
    "tenant": ("A tenant.", "acme"),
    "entity_type": (
        "A declared entity type; `car-parts` and `CAR_PARTS` are two spellings of one.",
        "product",
    ),
    "job_id": ("Id of a job.", "6f0c5d1e-7b0a-4f0e-9a53-0d5a1f6f2c01"),
    "knowledge_base_id": ("Id of a knowledge base.", "6f0c5d1e-7b0a-4f0e-9a53-0d5a1f6f2c02"),
    "index_id": ("Id of an index of the knowledge base.", "6f0c5d1e-7b0a-4f0e-9a53-0d5a1f6f2c03"),
    "indexing_id": ("Id of an indexing of the index.", "6f0c5d1e-7b0a-4f0e-9a53-0d5a1f6f2c04"),
    "document_id": ("Id of a document.", "6f0c5d1e-7b0a-4f0e-9a53-0d5a1f6f2c05"),
    "data_source_id": ("Id of a data source.", "6f0c5d1e-7b0a-4f0e-9a53-0d5a1f6f2c06"),
    "rag_index_id": ("Id of a RAG index of the document.", "6f0c5d1e-7b0a-4f0e-9a53-0d5a1f6f2c07"),
    "schedule_id": ("Id of a schedule.", "6f0c5d1e-7b0a-4f0e-9a53-0d5a1f6f2c08"),
    "check_id": ("Id of a plan or an audit.", "6f0c5d1e-7b0a-4f0e-9a53-0d5a1f6f2c09"),
    "asset": ("A file of the page.", "page.js"),
}
"""What stands in paths: a description and an example each."""

TENANT_HEADER = {
    "in": "header",
    "name": HEADER,
    "schema": {"type": "string"},
    "description": "The tenant, for a credential that is of several.",
}

_WAIT = {
    "description": "Seconds to wait before the next attempt.",
    "schema": {"type": "string"},
}
HEADERS = {
    401: {
        "WWW-Authenticate": {
            "description": "The scheme that is wanted, and what is wrong (RFC 6750).",
            "schema": {"type": "string"},
        }
    },
    **{status: {"Retry-After": _WAIT} for status in (429, 503, 504)},
}


class OwnErrors(Api):
    """Leaves errors to `api.errors`, and what they look like to `api.shapes`."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_error_handlers(self) -> None:
        pass

    def _register_responses(self) -> None:
        pass

    def _register_pagination_header(self) -> None:
        pass


def register(app: Flask) -> Api:
    """What blueprints are registered with, so that they are in the document."""
    app.config.update(
        API_TITLE="celeriac",
        API_VERSION=version("celeriac"),
        OPENAPI_VERSION="3.1.0",
    )
    api = OwnErrors(
        app,
        spec_kwargs={
            "info": {"description": _INTRODUCTION, "license": _LICENSE},
            "components": {"securitySchemes": _SECURITY},
            "marshmallow_plugin": MarshmallowPlugin(schema_name_resolver=_schema_name),
        },
    )
    schemas: tuple[type[Schema], ...] = (*ANSWERS, *_error_schemas())
    for schema in schemas:
        api.spec.components.schema(_schema_name(schema), schema=schema)
    return api


def document(app: Flask, api: Api) -> Json:
    """The whole document: what the blueprints declare, completed by what is the same for all."""
    written: Json = api.spec.to_dict()
    errors: dict[str, Json] = {}
    for path, method, endpoint in _routes(app):
        item = written["paths"][path]
        _describe(item.get("parameters", []))
        _complete(item[method], path, endpoint, scope_of(endpoint))
        _add_errors(item[method], path, public=scope_of(endpoint) is None, known=errors)
        _untype_texts(item[method], written["components"]["schemas"])
    written["components"]["responses"] = errors
    written["tags"] = [{**tag, "name": _tag(tag["name"])} for tag in written["tags"]]
    return written


def _routes(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Path, method and endpoint of each operation; the console's pages are none."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith(f"{CONSOLE}."):
            continue
        for method in sorted((rule.methods or set()) - AUTOMATIC):
            yield FlaskPlugin.flaskpath2openapi(rule.rule), method.lower(), rule.endpoint


def _describe(parameters: Iterable[Json]) -> None:
    for parameter in parameters:
        text, example = PARAMETERS[parameter["name"]]
        parameter.update(description=text, example=example)


def _complete(operation: Json, path: str, endpoint: str, scope: Scope | None) -> None:
    operation["operationId"] = endpoint.replace(".", "_")
    operation["summary"] = " ".join(operation["summary"].split())
    operation["tags"] = [_tag(name) for name in operation["tags"]]
    operation["security"] = [] if scope is None else [{name: [scope]} for name in _SECURITY]
    if scope is not None:
        said = operation.get("description")
        operation["description"] = "\n\n".join(filter(None, (said, f"Scope: `{scope}`.")))
        if shape_of(path) is not ERROR_MESSAGE:
            operation.setdefault("parameters", []).append(TENANT_HEADER)


def _untype_texts(operation: Json, schemas: Json) -> None:
    """Leave out that the texts of a form with files are texts: whatever is sent there is one."""
    multipart = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    if multipart is not None:
        name = multipart["schema"]["$ref"].rpartition("/")[2]
        for field in schemas[name]["properties"].values():
            if field.get("format") != "binary":
                field.pop("type", None)


def _add_errors(operation: Json, path: str, *, public: bool, known: dict[str, Json]) -> None:
    """Refer to the errors that an operation can give; `known` has what is referred to."""
    shape = shape_of(path)
    for error in _errors(operation, path, public=public):
        status = shape.status(row_of(error))
        if str(status) not in operation["responses"]:
            name = f"{shape.name}{HTTPStatus(status).phrase.title().replace(' ', '')}"
            known[name] = _response(shape, status)
            operation["responses"][str(status)] = {"$ref": f"#/components/responses/{name}"}


def _errors(operation: Json, path: str, *, public: bool) -> Iterator[type[CeleriacError]]:
    """Those that an operation can give."""
    yield from operation.pop(RAISED, [])
    if "requestBody" in operation:
        yield TooLarge
    if not public:
        yield from EVERY_CREDENTIAL
        if "requestBody" in operation or operation.get("parameters") or "{tenant}" in path:
            yield ConfigurationError


def _response(shape: Shape, status: int) -> Json:
    response: Json = {"description": DESCRIPTIONS[status]}
    schema = shape.schemas(status)
    if schema is not None:
        ref = f"#/components/schemas/{_schema_name(schema)}"
        response["content"] = {"application/json": {"schema": {"$ref": ref}}}
    if status in HEADERS:
        response["headers"] = HEADERS[status]
    return response


def _error_schemas() -> set[type[Schema]]:
    found = (shape.schemas(shape.status(row)) for _, shape in SHAPES for row in TABLE)
    return {schema for schema in found if schema is not None}


def _schema_name(schema: Schema | type[Schema]) -> str:
    """A schema's name in the document: contracts have schemas of one name."""
    cls = schema if isinstance(schema, type) else type(schema)
    contract = cls.__module__.split(".")[1] if cls.__module__.count(".") > 1 else ""
    return contract.capitalize() + cls.__name__.removesuffix("View")


def _tag(blueprint: str) -> str:
    return blueprint.replace("_", " ").capitalize()


_INTRODUCTION = (
    "Keeps a Qdrant index equal to the place your data lives. Errors have the shape of the "
    "contract that the path belongs to."
)
_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_SECURITY: Json = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "A key of `celeriac keys create`.",
    },
    "Bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key, a token of `/oauth/token`, or one of a trusted OpenID provider.",
    },
}
