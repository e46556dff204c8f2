"""Whose the request is, in contracts that name no tenant in their paths."""

from __future__ import annotations

from flask import g, request

from api.problems import Invalid
from api.services import services
from celeriac.errors import Forbidden
from celeriac.security.principal import Principal

HEADER = "x-tenant"
"""Names the tenant where a credential is of several (ours)."""


def current_tenant() -> str:
    """The tenant of the credential; of one that has several, the one that the header names, or the
    only one there is.

    Raises:
        Forbidden: the credential is not of the tenant that the header names, or of none.
        Invalid: it has several, and the header names none.
    """
    principal: Principal = g.principal
    declared = services().runtime.settings.configuration.tenants
    named = request.headers.get(HEADER)
    if named is not None:
        if not principal.reaches(named) or (principal.tenants is None and named not in declared):
            raise Forbidden(f"The credential is not of the tenant {named!r}.")
        return named
    if principal.tenants is not None and not principal.tenants:
        raise Forbidden("The credential is of no tenant.")
    choice = sorted(declared if principal.tenants is None else principal.tenants)
    if len(choice) != 1:
        raise Invalid(
            {HEADER: [f"The credential has {len(choice)} tenants; name one in this header."]},
            "header",
        )
    return choice[0]
