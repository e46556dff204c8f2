"""Blueprints whose operations declare what they take, give and raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import flask_smorest
from marshmallow import Schema

from api.bodies import Parser, Strict
from celeriac.errors import CeleriacError

View = TypeVar("View", bound=Callable[..., Any])

RAISED = "x-raised"
"""Where an operation's errors stand until `api.openapi` writes them as responses."""
BODIES = ("json", "form", "multipart")


class Blueprint(flask_smorest.Blueprint):
    """A blueprint in the OpenAPI document.

    What all operations have in common, credentials and the errors that come with them, is written
    by `api.openapi`; a handler declares the rest.
    """

    ARGUMENTS_PARSER = Parser()
    DEFAULT_LOCATION_CONTENT_TYPE_MAPPING: ClassVar[dict[str, str]] = {
        "json": "application/json",
        "form": "application/x-www-form-urlencoded",
        "multipart": "multipart/form-data",
    }

    def arguments(
        self, schema: type[Schema] | Schema, *, location: str = "json", **options: Any
    ) -> Callable[[View], View]:
        """Declare a part of the request; a body's example is its schema's."""
        if location in BODIES:
            body = schema() if isinstance(schema, type) else schema
            assert isinstance(body, Strict), f"{schema} is not a `Strict` body"
            options["example"] = dict(body.EXAMPLE)
            options["required"] = any(field.required for field in body.fields.values())
        declare: Callable[[View], View] = super().arguments(schema, location=location, **options)
        return declare

    def raises(self, *errors: type[CeleriacError]) -> Callable[[View], View]:
        """Declare errors that the handler raises, beside those of every handler of its kind."""
        declare: Callable[[View], View] = self.doc(**{RAISED: list(errors)})
        return declare

    def _prepare_arguments_doc(
        self, doc: dict[str, Any], doc_info: dict[str, Any], **context: Any
    ) -> dict[str, Any]:
        doc_info.get("arguments", {}).pop("responses", None)
        prepared: dict[str, Any] = super()._prepare_arguments_doc(doc, doc_info, **context)
        return prepared
