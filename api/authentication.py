"""Who asks: `x-api-key: KEY` or `Authorization: Bearer KEY-OR-TOKEN`."""

from __future__ import annotations

from flask import Flask, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from api import authorization, sessions
from api.services import services
from celeriac.errors import MISSING, Unauthenticated
from celeriac.security.principal import Principal


def register(app: Flask, *, trusted_proxies: int = 0) -> None:
    """Admit a request to its handler only with a credential that is valid, is not used too often
    and reaches there."""
    app.before_request(_admit)
    if trusted_proxies:
        proxied = ProxyFix(app.wsgi_app, x_for=trusted_proxies, x_proto=0)
        app.wsgi_app = proxied  # type: ignore[method-assign]


def _admit() -> None:
    if authorization.is_public(request.endpoint):
        return
    principal = authenticate(_presented())
    g.principal = principal
    authorization.authorize(principal, request.endpoint, request.view_args or {})


def authenticate(presented: str) -> Principal:
    """Who presents this, counted among the credential's requests."""
    principal = services().authenticator.authenticate(presented, request.remote_addr)
    if principal.credential is not None:
        runtime = services().runtime
        per_minute = runtime.settings.configuration.security.requests_per_minute
        runtime.limits.spend(f"credential:{principal.credential}", per_minute)
    return principal


def _presented() -> str:
    if request.blueprint == sessions.CONSOLE:
        return sessions.presented()
    key = request.headers.get("x-api-key", "").strip()
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    presented = key or (token.strip() if scheme.lower() == "bearer" else "")
    if not presented:
        raise Unauthenticated(
            "Send a key or a token: 'x-api-key: KEY' or 'Authorization: Bearer TOKEN'.", MISSING
        )
    return presented
