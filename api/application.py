"""The application factory."""

from __future__ import annotations

import logging

from flask import Flask

from api import (
    authentication,
    authorization,
    batch,
    bodies,
    checks,
    console,
    control,
    docs,
    errors,
    events,
    generations,
    health,
    indexes,
    jobs,
    metadata,
    metrics,
    oauth,
    openapi,
    reindex,
    reindex_jobs,
    schedules,
    search,
    steering,
    tracing,
)
from api.bodies import BoundedJson
from api.services import Services
from celeriac import logs
from celeriac.runtime import Runtime
from celeriac.settings import log_format
from workers.process import deployed

logger = logging.getLogger(__name__)

NO_CREDENTIAL = (
    "CELERIAC_API_KEY is not set and no identity provider is configured, so only keys of the "
    "catalog are accepted: make one with `celeriac keys create --tenant TENANT --scope "
    "ai.agent_manage --scope ai.agent_read`"
)
MAX_BODY = 1024 * 1024
"""Bytes of a request's body at most."""


BLUEPRINTS = (
    *(reindex.blueprint, metadata.blueprint, search.blueprint, checks.blueprint),
    *(generations.blueprint, indexes.blueprint),
    *(
        jobs.blueprint,
        events.blueprint,
        steering.blueprint,
        reindex_jobs.blueprint,
        schedules.blueprint,
    ),
    *control.BLUEPRINTS,
    *batch.BLUEPRINTS,
    *(oauth.blueprint, health.blueprint, metrics.blueprint, docs.blueprint),
)
"""In the order of the OpenAPI document."""


def create_app(runtime: Runtime | None = None) -> Flask:
    """The API; without a runtime, on what the environment says. Connects to nothing until a request
    needs it."""
    logs.configure(format=log_format())
    app = Flask("celeriac", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json = BoundedJson(app)
    runtime = runtime or deployed()
    app.extensions["celeriac"] = Services.of(runtime)
    errors.register(app)
    metrics.register(app)
    tracing.register(app)
    security = runtime.settings.configuration.security
    if runtime.settings.api_key is None and not security.issuers:
        logger.warning(NO_CREDENTIAL, extra={"action": "start"})
    authentication.register(app, trusted_proxies=security.trusted_proxies)
    bodies.register(app)
    described = openapi.register(app)
    for blueprint in BLUEPRINTS:
        described.register_blueprint(blueprint)
    console.register(app)
    authorization.check_declared(app)
    docs.register(app, described)
    return app
