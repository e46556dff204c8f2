"""What docs/contracts.md shows works as it stands there, on standalone."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment import API_KEY, ROOT, Service, standalone

PAGE = (ROOT / "docs" / "contracts.md").read_text("utf-8")
BATCH = "/v1/voiceai/knowledge-base"


def written(language: str) -> str:
    """The page's one block in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contracts")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    """With the page's models, and a tenant."""
    configuration = folder / "celeriac.yaml"
    tenants = {"tenants": {"acme": {"entity_types": {}}}}
    configuration.write_text(yaml.safe_dump(tenants) + written("yaml"), "utf-8")
    with standalone(folder, configuration) as service:
        yield service


def test_the_walk_through_ends_with_the_passage_that_was_looked_for(
    service: Service, folder: Path
) -> None:
    (folder / "handbook.md").write_text("# Leave\n\nAsk for leave two weeks ahead.\n", "utf-8")
    script = written("sh").replace("http://localhost:8080", service.url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "CELERIAC_API_KEY": API_KEY},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    decoder = json.JSONDecoder()
    found, _ = decoder.raw_decode(done.stdout[done.stdout.index("{") :])
    assert "two weeks ahead" in found["chunks"][0]["text"]


def test_a_name_of_the_batch_contract_stands_for_the_small_model(service: Service) -> None:
    (model,) = yaml.safe_load(written("yaml"))["models"]
    text = "Celeriac is a variety of celery cultivated for its edible stem. " * 20
    document = posted(service, f"{BATCH}/text", text=text)["id"]
    item = {"document_id": document, "create_if_missing": True, "model": model}
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = posted(service, f"{BATCH}/rag-index", items=[item])[document]["data"]
        if found["status"] == "succeeded":
            break
        time.sleep(0.2)
    assert (found["status"], found["model"]) == ("succeeded", model)
    item["model"] = "all-minilm-l6-v2"
    refused = service.client.post(f"{BATCH}/rag-index", json={"items": [item]})
    assert refused.status_code == 422


def posted(service: Service, path: str, **body: Any) -> Any:
    answer = service.client.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()
