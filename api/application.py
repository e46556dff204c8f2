"""The application factory."""

from __future__ import annotations

import logging

from flask import Flask

from api import (
    authentication,
    authorization,
    batch,
    control,
    errors,
    generations,
    health,
    jobs,
    metadata,
    oauth,
    openapi,
    reindex,
    reindex_jobs,
    search,
    steering,
)
from api.bodies import BoundedJson
from api.services import Services
from celeriac import logs
from celeriac.runtime import Runtime
from workers.process import deployed

logger = logging.getLogger(__name__)

NO_CREDENTIAL = (
    "CELERIAC_API_KEY is not set and no identity provider is configured, so only keys of the "
    "catalog are accepted: make one with `celeriac keys create --tenant TENANT --scope "
    "ai.agent_manage --scope ai.agent_read`"
)
MAX_BODY = 1024 * 1024
"""Bytes of a request's body at most."""


def create_app(runtime: Runtime | None = None) -> Flask:
    """The API; without a runtime, on what the environment says. Connects to nothing until a request
    needs it."""
    logs.configure()
    app = Flask("celeriac", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json = BoundedJson(app)
    runtime = runtime or deployed()
    app.extensions["celeriac"] = Services.of(runtime)
    errors.register(app)
    security = runtime.settings.configuration.security
    if runtime.settings.api_key is None and not security.issuers:
        logger.warning(NO_CREDENTIAL, extra={"action": "start"})
    authentication.register(app, trusted_proxies=security.trusted_proxies)
    for module in (health, oauth, reindex, search, generations, jobs, steering):
        app.register_blueprint(module.blueprint)
    described = openapi.register(app)
    ours = (metadata.blueprint, reindex_jobs.blueprint)
    for blueprint in (*ours, *control.BLUEPRINTS, *batch.BLUEPRINTS):
        described.register_blueprint(blueprint)
    authorization.check_declared(app)
    return app
