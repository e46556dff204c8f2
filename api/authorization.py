"""What a principal may do: each endpoint declares its scope, and its tenant is checked for it.

    @blueprint.post("/<job_id>/cancel")
    @requires(Scope.AGENT_MANAGE)
    def cancel_job(job_id: str) -> ...:
        job = owned("job", job_id, services().runtime.catalog.jobs.get)

A `<tenant>` in the path is checked before the handler runs; whatever else a handler finds by an id
from the request goes through `owned`. The application does not start with an endpoint that
declares nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from flask import Flask, current_app, g, request

from celeriac.errors import Forbidden, NotFound
from celeriac.security.principal import Principal, Scope

View = TypeVar("View", bound=Callable[..., Any])


class OfTenant(Protocol):
    """Whatever belongs to a tenant."""

    @property
    def tenant(self) -> str: ...


Owned = TypeVar("Owned", bound=OfTenant)

_declared: dict[Callable[..., Any], Scope | None] = {}
"""The scope by view function; None where everybody may ask."""


def requires(scope: Scope) -> Callable[[View], View]:
    """Declare the scope that an endpoint asks for."""

    def declare(view: View) -> View:
        _declared[view] = scope
        return view

    return declare


def public(view: View) -> View:
    """Declare that an endpoint asks for no credential."""
    _declared[view] = None
    return view


def check_declared(app: Flask) -> None:
    """Raise RuntimeError where an endpoint declares nothing."""
    silent = [name for name, view in app.view_functions.items() if view not in _declared]
    if silent:
        raise RuntimeError(
            f"{', '.join(sorted(silent))}: put @requires(Scope...) below the route "
            "(api/authorization.py)"
        )


def is_public(endpoint: str | None) -> bool:
    """Whether an endpoint asks for no credential; what is not there does ask for one."""
    return endpoint is not None and scope_of(endpoint) is None


def scope_of(endpoint: str) -> Scope | None:
    """What an endpoint of the current application declares."""
    return _declared[current_app.view_functions[endpoint]]


def authorize(principal: Principal, endpoint: str | None, arguments: Mapping[str, Any]) -> None:
    """Raise Forbidden where the principal's scopes or tenants do not reach that far."""
    scope = scope_of(endpoint) if endpoint is not None else None
    if scope is not None and scope not in principal.scopes:
        raise Forbidden(f"The credential lacks the scope {scope}.", scope=scope)
    tenant = arguments.get("tenant")
    if tenant is not None and not principal.reaches(tenant):
        raise Forbidden(f"The credential is not of the tenant {tenant!r}.")


def owned(kind: str, id: str, find: Callable[[str], Owned | None]) -> Owned:
    """What `find` finds under an id, if it belongs to a tenant of the one who asks, and to the
    one in the path where that names one.

    Raises:
        NotFound: there is no such thing, or it is another tenant's: nobody can tell which.
    """
    found = find(id)
    if found is None or not _within_reach(found.tenant):
        raise NotFound(f"There is no {kind} {id!r}.")
    return found


def _within_reach(tenant: str) -> bool:
    principal: Principal = g.principal
    named = (request.view_args or {}).get("tenant", tenant)
    return tenant == named and principal.reaches(tenant)
