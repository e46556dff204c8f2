"""/openapi.json, and /docs: the document as a page to read and to try requests on.

The page is Swagger UI, with every file of it from its package: it asks no other host for anything,
and its Content-Security-Policy would not let it.
"""

from __future__ import annotations

from pathlib import Path

import flask_swagger_ui
from flask import Flask, Response, current_app, send_from_directory
from flask_smorest import Api

from api.authorization import public
from api.blueprint import Blueprint
from api.openapi import document
from celeriac.errors import NotFound

blueprint = Blueprint("docs", __name__, description="This document.")

DIST = Path(flask_swagger_ui.__file__).parent / "dist"
FROM_PACKAGE = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
OURS = "page.js"
DAY = 24 * 3600
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>celeriac: API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/page.js"></script>
</html>
"""
SCRIPT = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "none",
  validatorUrl: null,
});
"""
EXTENSION = "celeriac-openapi"


def register(app: Flask, api: Api) -> None:
    """Write the document of an application whose routes are all there; once."""
    with app.app_context():
        app.extensions[EXTENSION] = app.json.dumps(document(app, api))


@blueprint.get("/openapi.json")
@public
@blueprint.response(200, {"type": "object"})
def get_openapi() -> Response:
    """This document: OpenAPI 3.1, every route."""
    return Response(current_app.extensions[EXTENSION], mimetype="application/json")


@blueprint.get("/docs")
@public
@blueprint.response(200, {"type": "string"}, content_type="text/html")
def get_docs() -> Response:
    """This document as a page."""
    return _protected(Response(PAGE, mimetype="text/html"))


@blueprint.get("/docs/<asset>")
@public
@blueprint.raises(NotFound)
@blueprint.response(200, {"type": "string", "format": "binary"}, content_type="*/*")
def get_docs_asset(asset: str) -> Response:
    """A file of the page."""
    if asset == OURS:
        return _protected(Response(SCRIPT, mimetype="text/javascript"))
    if asset not in FROM_PACKAGE:
        raise NotFound(f"The page has no file {asset!r}.")
    return _protected(send_from_directory(DIST, asset, max_age=DAY))


def _protected(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
