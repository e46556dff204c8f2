"""Who asks: `x-api-key: KEY` or `Authorization: Bearer KEY`."""

from __future__ import annotations

import hmac

from flask import Flask, request

from api.errors import Unauthenticated
from api.services import services

OPEN_ENDPOINTS = {"health.healthz", "health.readyz"}


def register(app: Flask) -> None:
    """Ask every request but the health checks for its credential."""
    app.before_request(_authenticate)


def _authenticate() -> None:
    if request.endpoint in OPEN_ENDPOINTS:
        return
    given = _credential()
    known = services().runtime.settings.api_key
    if given is None:
        raise Unauthenticated(
            "Send a key: 'x-api-key: KEY' or 'Authorization: Bearer KEY'.",
            "oauth.v2.MissingAccessToken",
        )
    if not known or not hmac.compare_digest(given.encode(), known.encode()):
        raise Unauthenticated("The key is not valid.", "oauth.v2.InvalidAccessToken")


def _credential() -> str | None:
    key = request.headers.get("x-api-key")
    if key:
        return key
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
