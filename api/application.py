"""The application factory."""

from __future__ import annotations

from flask import Flask

from api import (
    authentication,
    authorization,
    batch,
    control,
    errors,
    events,
    generations,
    health,
    jobs,
    metadata,
    metrics,
    oauth,
    openapi,
    reindex,
    reindex_jobs,
    search,
    steering,
    tracing,
)
from api.bodies import BoundedJson
from api.services import Services
from celeriac import logs
from celeriac.runtime import Runtime
from celeriac.settings import log_format
from workers.process import runtime as process_runtime

MAX_BODY = 1024 * 1024
"""Bytes of a request's body at most."""


def create_app(runtime: Runtime | None = None) -> Flask:
    """The API. Connects to nothing until a request needs it."""
    logs.configure(format=log_format())
    app = Flask("celeriac", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json = BoundedJson(app)
    runtime = runtime or process_runtime()
    app.extensions["celeriac"] = Services.of(runtime)
    errors.register(app)
    metrics.register(app)
    tracing.register(app)
    security = runtime.settings.configuration.security
    authentication.register(app, trusted_proxies=security.trusted_proxies)
    for module in (health, oauth, reindex, search, generations, jobs, steering):
        app.register_blueprint(module.blueprint)
    described = openapi.register(app)
    ours = [one.blueprint for one in (metadata, reindex_jobs, events, metrics)]
    for blueprint in (*ours, *control.BLUEPRINTS, *batch.BLUEPRINTS):
        described.register_blueprint(blueprint)
    authorization.check_declared(app)
    return app
