"""What the control contract's handlers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from api.blueprint import Blueprint
from api.services import services
from api.tenancy import current_tenant
from celeriac.catalog.knowledge_bases import KnowledgeBase, KnowledgeIndex
from celeriac.catalog.lists import Window
from celeriac.knowledge import Knowledge

PREFIX = "/api/v1/control"

Item = TypeVar("Item")


def blueprint(name: str, description: str) -> Blueprint:
    """A blueprint below the contract's prefix."""
    return Blueprint(f"control_{name}", __name__, url_prefix=PREFIX, description=description)


def knowledge() -> Knowledge:
    return Knowledge(services().runtime, services().dispatcher)


def the_base(knowledge_base_id: str) -> KnowledgeBase:
    """The knowledge base of the one who asks; NotFound otherwise."""
    return knowledge().knowledge_base(current_tenant(), knowledge_base_id)


def the_index(knowledge_base_id: str, index_id: str) -> KnowledgeIndex:
    """The index of a knowledge base of the one who asks; NotFound otherwise."""
    return knowledge().index(current_tenant(), knowledge_base_id, index_id)


def window_of(query: dict[str, Any]) -> Window:
    """The part of a list that a query asks for."""
    return Window(
        limit=query["limit"],
        offset=query["offset"],
        after=query.get("after"),
        before=query.get("before"),
        descending=query["order"] == "desc",
    )


def listed(
    items: Sequence[Item],
    has_more: bool,
    query: dict[str, Any],
    count: Callable[[], int],
    shown: Callable[[Item], dict[str, Any]],
) -> dict[str, Any]:
    """A list as the contract has it; `count` is asked only when the query wants the total."""
    data = [shown(item) for item in items]
    return {
        "object": "list",
        "has_more": has_more,
        "num_objects": count() if query["set_num_objects"] else None,
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def seconds(moment: float | None) -> int | None:
    """A time as the contract has it: Unix seconds."""
    return None if moment is None else int(moment)
