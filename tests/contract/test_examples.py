"""Every example in the served OpenAPI document works as it stands, once the ids are put in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
from live_service import World
from openapi_document import Document, Operation

Json = dict[str, Any]


@pytest.fixture(scope="module")
def document(world: World) -> Document:
    return Document(world.get("/openapi.json"))


def with_body(document: Document) -> list[Operation]:
    return [one for one in document.operations if "requestBody" in one.declared]


def names_of_examples(document: Document) -> dict[str, str]:
    """What a value in an example stands for: the name that it has in paths."""
    return {
        parameter["example"]: parameter["name"]
        for operation in document.operations
        for parameter in operation.parameters
    }


NOT_PRODUCTS: Mapping[str, Callable[[World], dict[str, str]]] = {
    "steering_throttle": lambda world: {"job_id": world.endless_job},
    "steering_priority": lambda world: {"job_id": world.endless_job},
    "schedules_change_schedule": lambda world: {"schedule_id": world.schedule()},
    "generations_rollback": lambda _: {"entity_type": "edition"},
    "control_data_sources_link_data_source": World.crawled,
}
"""Where ids are wanted that others do not share."""


def ids_for(world: World, operation: Operation) -> dict[str, str]:
    ids = {"tenant": "acme", "entity_type": "product", "job_id": world.ended_job}
    if operation.id in NOT_PRODUCTS:
        return ids | NOT_PRODUCTS[operation.id](world)
    if operation.path.startswith("/v1/voiceai"):
        return ids | world.voice()
    return ids | (world.knowledge() if operation.path.startswith("/api/v1/control/") else {})


def put_in(value: Any, names: Mapping[str, str], ids: Mapping[str, str]) -> Any:
    """The example with the ids of what there is."""
    match value:
        case dict():
            return {key: put_in(item, names, ids) for key, item in value.items()}
        case list():
            return [put_in(item, names, ids) for item in value]
        case str() if names.get(value) in ids:
            return ids[names[value]]
    return value


def send(world: World, operation: Operation, path: str, media_type: str, body: Json) -> Any:
    if media_type == "multipart/form-data":
        file = (body.pop("file").removeprefix("@"), b"The text of an example.")
        parts: Json = {"data": body, "files": {"file": file}}
    else:
        parts = {"json" if media_type == "application/json" else "data": body}
    return world.client.request(operation.method, path, **parts)


def test_every_body_has_an_example(document: Document) -> None:
    for operation in with_body(document):
        for content in operation.declared["requestBody"]["content"].values():
            assert "example" in content, operation.id


def test_every_example_runs(world: World, document: Document) -> None:
    names = names_of_examples(document)
    form = world.key("ai.agent_read", "ai.agent_manage")
    ours = {
        "https://www.example.com/terms.html": world.page,
        "THE-ID-OF-A-KEY": form["client_id"],
        "ITS-SECRET": form["client_secret"],
    }
    sent = 0
    for operation in with_body(document):
        ids = ids_for(world, operation)
        path = operation.path.format(**ids)
        for media_type, content in operation.declared["requestBody"]["content"].items():
            body = put_in(content["example"], {**names, **{key: key for key in ours}}, ids | ours)
            answer: httpx.Response = send(world, operation, path, media_type, body)
            assert answer.status_code in operation.success, f"{operation.id}: {answer.text}"
            document.check(answer)
            sent += 1
    assert sent >= 15
