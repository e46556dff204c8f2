"""What a credential stands for once it is found valid."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

EVERY_TENANT = "*"
"""Stands for every tenant in an API key; in a token of an identity provider it is only a name."""


class Scope(StrEnum):
    """What a credential may do; the names are those of the reindex contract and its successor, and
    one is ours."""

    AGENT_READ = "ai.agent_read"
    AGENT_MANAGE = "ai.agent_manage"
    SEARCH_VIEW = "indexing.search_view"
    SEARCH_MANAGE = "indexing.search_manage"
    METRICS_READ = "celeriac.metrics_read"
    """Ours: `GET /metrics`."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    subject: str
    """For logs: `key:ID`, or the token's `sub`."""
    tenants: frozenset[str] | None
    """None stands for every tenant."""
    scopes: frozenset[str]
    credential: str | None
    """What its requests are counted under; None where they are not limited."""
    key_id: str | None = None
    """The API key, where it is one or a token that was given for one."""

    def reaches(self, tenant: str) -> bool:
        """Whether what belongs to the tenant is visible to it."""
        return self.tenants is None or tenant in self.tenants


BOOTSTRAP = Principal("bootstrap", None, frozenset(Scope), None)
"""Who has CELERIAC_API_KEY."""


def tenants_of(names: Collection[str]) -> frozenset[str] | None:
    """The tenants of an API key, as a principal has them."""
    return None if EVERY_TENANT in names else frozenset(names)
