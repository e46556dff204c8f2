"""What went wrong, as a page."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Response, make_response, redirect, render_template, request

from api.console.blueprint import POLICY
from api.problems import Problem
from celeriac.errors import Unauthenticated


def page(problem: Problem) -> Response:
    """A page that says so; who is not signed in is led to where that is done."""
    if isinstance(problem.error, Unauthenticated):
        asked = request.full_path.rstrip("?") if request.method == "GET" else "/"
        response = make_response(redirect(f"/console/sign-in?{urlencode({'next': asked})}", 303))
    else:
        response = make_response(
            render_template("console/problem.html", problem=problem), problem.reindex_status
        )
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Cache-Control"] = "no-store"
    return response
