"""Steering through the API and the command line, on a running standalone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deployment
import httpx
import pytest
import servers
from click.testing import CliRunner
from deployment import Json, Service

from celeriac.cli import main

NOBODY = "/jobs/00000000-0000-0000-0000-000000000000"


def write_documents(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for number in range(count):
            body = " ".join(f"word{number}x{position}" for position in range(120))
            lines.write(json.dumps({"id": f"d{number}", "title": f"T{number}", "body": body}))
            lines.write("\n")


def declared(name: str, **more: Any) -> Json:
    return {
        "source": {"kind": "files", "path": f"{name}.jsonl", "id": "id", "page_size": 1},
        "text_fields": ["title", "body"],
        "index": {"model": "stub", "chunk_size": 100},
        **more,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steering")
    write_documents(folder / "slow.jsonl", 5_000)
    write_documents(folder / "few.jsonl", 20)
    few = declared("few", priority="low", max_entities_per_second=0.5)
    types = {"slow": declared("slow"), "few": few}
    deployment.write_configuration(folder, {"shop": types, "other": {"slow": declared("slow")}})
    return folder


@pytest.fixture(scope="module")
def qdrant_url(qdrant_server: servers.QdrantServer) -> str:
    return qdrant_server.url


@pytest.fixture(scope="module")
def service(folder: Path, qdrant_url: str) -> Iterator[Service]:
    configuration = folder / "celeriac.yaml"
    with deployment.standalone(folder, configuration, CELERIAC_QDRANT_URL=qdrant_url) as service:
        yield service


@pytest.fixture
def job(service: Service) -> Iterator[str]:
    """The path of a job that runs for long."""
    location = service.request_reindex("shop", "slow")
    await_listed(service, location, 1)
    yield location
    cancel(service, location)


@pytest.fixture
def ended(service: Service, job: str) -> str:
    cancel(service, job)
    return job


def await_listed(service: Service, location: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while service.job(location)["counters"]["listed"] < count:
        assert time.monotonic() < deadline, service.logs()
        time.sleep(0.02)


def cancel(service: Service, location: str) -> None:
    assert service.client.post(f"{location}/cancel").status_code == 202


def steer(service: Service, location: str, how: str, body: object = None) -> httpx.Response:
    if body is None:
        return service.client.post(f"{location}/{how}")
    return service.client.put(f"{location}/{how}", json=body)


def test_a_job_is_paused_and_goes_on_when_it_is_resumed(service: Service, job: str) -> None:
    assert "paused" not in service.job(job)
    answer = steer(service, job, "pause")
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.json()["paused"] is True
    again = steer(service, job, "pause")
    assert (again.status_code, again.json()["paused"]) == (202, True)
    paused = service.job(job)
    assert (paused["paused"], paused["eta_seconds"]) == (True, None)

    answer = steer(service, job, "resume")
    assert answer.status_code == 202
    assert "paused" not in answer.json()
    await_listed(service, job, paused["counters"]["listed"] + 20)


def test_a_paused_job_is_cancelled(service: Service, job: str) -> None:
    steer(service, job, "pause")
    cancel(service, job)
    assert service.job(job)["state"] == "cancelled"
    assert "paused" not in service.job(job)


def test_a_throttle_and_a_priority_are_shown_and_changed(service: Service, job: str) -> None:
    assert (service.job(job)["throttle"], service.job(job)["priority"]) == (None, "normal")
    answer = steer(service, job, "throttle", {"entities_per_second": 2.5})
    assert (answer.status_code, answer.json()["throttle"]) == (200, 2.5)
    answer = steer(service, job, "priority", {"priority": "high"})
    assert (answer.status_code, answer.json()["priority"]) == (200, "high")
    listed = service.job(job)["counters"]["listed"]
    answer = steer(service, job, "throttle", {"entities_per_second": None})
    assert answer.json()["throttle"] is None
    await_listed(service, job, listed + 20)


def test_what_is_declared_holds_until_it_is_changed(service: Service) -> None:
    location = service.request_reindex("shop", "few")
    job = service.job(location)
    assert (job["throttle"], job["priority"]) == (0.5, "low")
    steer(service, location, "throttle", {"entities_per_second": 1_000})
    assert service.await_job(location, 60)["state"] == "succeeded"


@pytest.mark.parametrize(
    ("how", "body"),
    [
        ("pause", None),
        ("resume", None),
        ("throttle", {"entities_per_second": 5}),
        ("priority", {"priority": "low"}),
    ],
)
def test_what_has_ended_or_never_was_is_not_steered(
    service: Service, ended: str, how: str, body: object
) -> None:
    answer = steer(service, ended, how, body)
    assert (answer.status_code, answer.json()["type"]) == (409, "conflict")
    assert "has been cancelled; only one that is queued or running" in answer.json()["message"]
    answer = steer(service, NOBODY, how, body)
    assert (answer.status_code, answer.json()["code"]) == (404, 404)


@pytest.mark.parametrize(
    ("how", "body"),
    [
        ("throttle", "{}"),
        ("throttle", "[]"),
        ("throttle", ""),
        ("throttle", '{"entities_per_second": 0}'),
        ("throttle", '{"entities_per_second": -1}'),
        ("throttle", '{"entities_per_second": NaN}'),
        ("throttle", '{"entities_per_second": Infinity}'),
        ("throttle", '{"entities_per_second": "50"}'),
        ("throttle", '{"entities_per_second": true}'),
        ("throttle", '{"entities_per_second": 1, "burst": 2}'),
        ("priority", "{}"),
        ("priority", '{"priority": null}'),
        ("priority", '{"priority": "urgent"}'),
        ("priority", '{"priority": 0}'),
    ],
)
def test_what_is_not_valid_is_refused(service: Service, job: str, how: str, body: str) -> None:
    headers = {"content-type": "application/json"}
    answer = service.client.put(f"{job}/{how}", content=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "validation_error")
    assert answer.json()["details"]


def celeriac(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    url = ("--url", service.url, "--key", deployment.API_KEY)
    return subprocess.run(
        [sys.executable, "-m", "celeriac.cli", *arguments, *url],
        env={**os.environ, "PYTHONPATH": str(deployment.ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_steers_jobs(service: Service, job: str) -> None:
    job_id = job.rpartition("/")[2]
    shown = celeriac(service, "pause", job_id)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "running, paused" in shown.stdout
    assert service.job(job)["paused"]
    assert "2.5 entities a second" in celeriac(service, "throttle", job_id, "2.5").stdout
    assert "high" in celeriac(service, "priority", job_id, "high").stdout
    assert service.job(job)["throttle"] == 2.5
    assert "throttle" not in celeriac(service, "throttle", job_id, "off").stdout
    resumed = json.loads(celeriac(service, "resume", job_id, "--json").stdout)
    assert "paused" not in resumed
    assert resumed["priority"] == "high"


def test_the_command_says_what_cannot_be_steered(service: Service, ended: str) -> None:
    refused = celeriac(service, "pause", ended.rpartition("/")[2])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("celeriac: Job")
    assert "has been cancelled" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["throttle", "x", "0"],
        ["throttle", "x", "nan"],
        ["throttle", "x", "inf"],
        ["throttle", "x", "fast"],
        ["throttle", "x"],
        ["priority", "x", "urgent"],
        ["pause"],
    ],
)
def test_wrong_usage_has_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_a_pause_outlives_a_restart(tmp_path: Path, qdrant_url: str) -> None:
    write_documents(tmp_path / "many.jsonl", 400)
    many = declared("many")
    configuration = deployment.write_configuration(tmp_path, {"shop": {"many": many}})
    environment = {"CELERIAC_QDRANT_URL": qdrant_url}
    with deployment.standalone(tmp_path, configuration, **environment) as service:
        job = service.request_reindex("shop", "many")
        await_listed(service, job, 10)
        steer(service, job, "pause")
    with deployment.standalone(tmp_path, configuration, **environment) as service:
        before = service.job(job)
        assert (before["state"], before["paused"]) == ("running", True)
        steer(service, job, "resume")
        after = service.await_job(job)
        assert (after["state"], after["counters"]["indexed"]) == ("succeeded", 400)
