"""The application factory."""

from __future__ import annotations

from flask import Flask

from api import authentication, errors, generations, health, jobs, reindex, search
from api.services import Services
from celeriac.runtime import Runtime
from workers.process import runtime as process_runtime

MAX_BODY = 1024 * 1024
"""Bytes of a request's body at most."""


def create_app(runtime: Runtime | None = None) -> Flask:
    """The API. Connects to nothing until a request needs it."""
    app = Flask("celeriac", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["celeriac"] = Services.of(runtime or process_runtime())
    errors.register(app)
    authentication.register(app)
    for module in (health, reindex, search, generations, jobs):
        app.register_blueprint(module.blueprint)
    return app
