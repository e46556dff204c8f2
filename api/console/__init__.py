"""The console: what people look at, rendered here, without a build step.

It stands beside the contracts and has no rule of its own: each button calls what the API calls.
Scripts make pages live (`static/console.js`); without them everything works by reloading.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, g

from api.console import actions, formats, pages, signing_in
from api.console.blueprint import POLICY, blueprint
from api.sessions import form_token
from celeriac.security.principal import Scope

__all__ = ["register"]


def register(app: Flask) -> None:
    """Add the console to the application."""
    for module in (pages, actions, signing_in):
        assert module.blueprint is blueprint
    app.jinja_env.filters.update(formats.FILTERS)
    app.register_blueprint(blueprint)


@blueprint.context_processor
def _common() -> dict[str, Any]:
    principal = g.get("principal")
    return {
        "principal": principal,
        "may_manage": principal is not None and Scope.AGENT_MANAGE in principal.scopes,
        "form_token": form_token,
    }


@blueprint.after_request
def _closed(response: Response) -> Response:
    """Nothing from elsewhere is loaded, and nobody else frames or caches a page."""
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    if response.mimetype == "text/html":
        response.headers.setdefault("Cache-Control", "no-store")
    return response
