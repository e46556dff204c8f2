"""Signing in and out, and what a page needs before anybody did."""

from __future__ import annotations

from pathlib import Path

from flask import Response, make_response, redirect, render_template, request, send_from_directory
from flask.typing import ResponseReturnValue

from api import sessions
from api.authentication import authenticate
from api.authorization import public, requires
from api.console.blueprint import blueprint
from celeriac.errors import Unauthenticated
from celeriac.security.principal import Scope

__all__ = ["blueprint"]

STATIC = Path(__file__).parent / "static"


@blueprint.get("/console/sign-in")
@public
def sign_in_page() -> str:
    return _page()


@blueprint.post("/console/sign-in")
@public
def sign_in() -> ResponseReturnValue:
    """Begin a session with a key or a token."""
    credential = request.form.get("credential", "").strip()
    if not credential or len(credential) > sessions.MAX_CREDENTIAL:
        return _page("Type a key or a token."), 400
    try:
        authenticate(credential)
    except Unauthenticated as error:
        return _page(str(error)), 401
    response = make_response(redirect(_next(), 303))
    sessions.sign_in(response, credential)
    return response


@blueprint.post("/console/sign-out")
@requires(Scope.AGENT_READ)
def sign_out() -> Response:
    sessions.check_form()
    response = make_response(redirect("/console/sign-in", 303))
    sessions.sign_out(response)
    return response


@blueprint.get("/console/static/<path:name>")
@public
def static(name: str) -> Response:
    return send_from_directory(STATIC, name, max_age=3600)


def _page(problem: str = "") -> str:
    return render_template("console/sign_in.html", problem=problem, next=_next())


def _next() -> str:
    """Where to go then: a path of this console, whatever was asked for."""
    wanted = request.values.get("next", "/")
    ours = wanted == "/" or wanted.startswith("/console/")
    return wanted if ours and "\\" not in wanted else "/"
