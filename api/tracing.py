"""A span a request, where traces are asked for."""

from __future__ import annotations

from contextlib import ExitStack

from flask import Flask, Response, g, request

from api.services import services


def register(app: Flask) -> None:
    """Have every request traced; one that brings a `traceparent` goes on with that trace."""
    app.before_request(_begin)
    app.after_request(_note)
    app.teardown_request(_end)


def _begin() -> None:
    tracing = services().runtime.tracing
    if not tracing.enabled or request.url_rule is None:
        return
    g.span = ExitStack()
    g.span.enter_context(
        tracing.span(
            f"{request.method} {request.url_rule.rule}",
            incoming={"traceparent": request.headers.get("traceparent", "")},
            **{"http.request.method": request.method, "http.route": request.url_rule.rule},
        )
    )


def _note(response: Response) -> Response:
    if "span" in g:
        status = {"http.response.status_code": response.status_code}
        services().runtime.tracing.note(**status)
    return response


def _end(_error: BaseException | None) -> None:
    if "span" in g:
        g.pop("span").close()
