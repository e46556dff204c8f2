"""The console's blueprint, which its modules add their pages to."""

from __future__ import annotations

from flask import Blueprint

from api.sessions import CONSOLE

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

blueprint = Blueprint(
    CONSOLE,
    __name__,
    template_folder="templates",
    static_folder=None,
)
