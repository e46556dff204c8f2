"""schemathesis against a running service: with the published contracts, and with our document.

CELERIAC_TEST_EXAMPLES is how many random requests an operation gets (`make test-contracts`); what
the documents themselves suggest, and every limit on either side, comes on top. Random values are
mixed with ids of what there is, so that requests get past the 404.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from deployment import API_KEY
from live_service import BATCH, CONTROL, World
from openapi_document import CONTRACTS

EXAMPLES = os.environ.get("CELERIAC_TEST_EXAMPLES", "10")
LEFT_OUT = ("positive_data_acceptance", "allow_header_conformance", "unsupported_method")
"""Checks that are not made. A schema does not say all that a value has to be: a model that is
declared, a folder that is there. And what `/text` does not do, `/{document_id}` answers there."""
DELETED = 3
"""How many there are of what is deleted."""

Values = Mapping[str, list[str]]
"""By the place that a value has in requests."""


@pytest.fixture(scope="module")
def used(world: World) -> Values:
    """What requests that delete nothing are about."""
    knowledge, crawled, voice = world.knowledge(), world.crawled(), world.voice()
    key = world.key("ai.agent_read", "ai.agent_manage")
    return {
        "path.tenant": ["acme"],
        "path.type": ["product", "EDITION"],
        "path.entity_type": ["product", "EDITION"],
        "path.job_id": [world.ended_job, world.endless_job],
        "path.knowledge_base_id": [knowledge["knowledge_base_id"], crawled["knowledge_base_id"]],
        "path.index_id": [knowledge["index_id"]],
        "path.indexing_id": [knowledge["indexing_id"]],
        "path.document_id": [knowledge["document_id"], voice["document_id"]],
        "path.data_source_id": [crawled["data_source_id"]],
        "path.asset": ["page.js", "swagger-ui.css"],
        "header.x-tenant": ["acme"],
        "body.items[*].document_id": [voice["document_id"]],
        "body.data_source_id": [crawled["data_source_id"]],
        "body.entityType": ["PRODUCT", "edition"],
        "body.parent_folder_id": [world.post(f"{BATCH}/folder", name="Manuals")["id"]],
        "body.url": [world.page],
        "body.grant_type": ["client_credentials"],
        "body.client_id": [key["client_id"]],
        "body.client_secret": [key["client_secret"]],
    }


@pytest.fixture(scope="module")
def deleted(world: World) -> Values:
    """What may be gone afterwards."""
    base = world.knowledge_base()
    index = world.index(base)
    voices = [world.voice() for _ in range(DELETED)]
    uploads = [world.upload(base, index, f"{number}.md") for number in range(DELETED)]
    crawled = [world.crawled() for _ in range(DELETED)]
    for one in crawled:
        links = f"{CONTROL}/knowledge-bases/{one['knowledge_base_id']}/data-sources"
        world.post(links, data_source_id=one["data_source_id"])
    return {
        "path.knowledge_base_id": [base, *(one["knowledge_base_id"] for one in crawled)],
        "path.index_id": [index],
        "path.document_id": [*uploads, *(one["document_id"] for one in voices)],
        "path.rag_index_id": [one["rag_index_id"] for one in voices],
        "path.data_source_id": [one["data_source_id"] for one in crawled],
        "header.x-tenant": ["acme"],
    }


def configuration(used: Values, deleted: Values) -> str:
    """schemathesis's, in TOML. Credentials are left to the check of ignored ones."""
    return "\n".join(
        [
            f'headers = {{Authorization = "Bearer {API_KEY}"}}',
            "generation = {with-security-parameters = false, database = ':memory:'}",
            *_dictionaries("used", used),
            *_dictionaries("deleted", deleted),
            *_bindings("used", used, ["GET", "POST", "PUT", "PATCH"]),
            *_bindings("deleted", deleted, ["DELETE"]),
        ]
    )


def _dictionaries(kind: str, values: Values) -> Iterable[str]:
    for number, found in enumerate(values.values()):
        yield f"[dictionaries.{kind}{number}]\nvalues = {json.dumps(found)}"


def _bindings(kind: str, values: Values, methods: list[str]) -> Iterable[str]:
    yield f"[[operations]]\ninclude-method = {json.dumps(methods)}\n[operations.parameters]"
    for number, place in enumerate(values):
        probability = 0.95 if place.startswith("header.") else 0.7
        yield f'"{place}" = {{dictionary = "{kind}{number}", probability = {probability}}}'


def fuzz(world: World, document: Path, folder: Path, settings: str) -> None:
    (folder / "schemathesis.toml").write_text(settings)
    command = [
        *(sys.executable, "-m", "schemathesis.cli"),
        *("--config-file", str(folder / "schemathesis.toml")),
        *("run", str(document), "--url", world.service.url, "--max-examples", EXAMPLES),
        *("--checks", "all", "--exclude-checks", ",".join(LEFT_OUT)),
        *("--continue-on-failure", "--no-color"),
    ]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    (folder / "report.txt").write_text(answer.stdout)
    assert answer.returncode == 0, answer.stdout[-20_000:] + answer.stderr[-5_000:]
    assert "Schemathesis" in answer.stdout


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("name", ["reindex", "control", "batch"])
def test_a_published_contract(
    name: str, world: World, used: Values, deleted: Values, tmp_path: Path
) -> None:
    fuzz(world, CONTRACTS / f"{name}.yaml", tmp_path, configuration(used, deleted))


@pytest.mark.timeout(6 * 3600)
def test_our_document(world: World, used: Values, deleted: Values, tmp_path: Path) -> None:
    """With the ids of what there is in its examples."""
    text = world.client.get("/openapi.json").text.replace(
        "https://www.example.com/terms.html", world.page
    )
    for operation in json.loads(text)["paths"].values():
        for parameter in operation.get("parameters", []):
            found = used.get(f"path.{parameter['name']}")
            if found is not None:
                text = text.replace(json.dumps(parameter["example"]), json.dumps(found[0]))
    (tmp_path / "openapi.json").write_text(text)
    fuzz(world, tmp_path / "openapi.json", tmp_path, configuration(used, deleted))
