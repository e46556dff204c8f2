"""Schedules over REST and by the command `celeriac schedules`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_server import InProcess, api_server

from celeriac.runtime import Runtime
from celeriac.security.principal import Scope
from celeriac.settings import Settings

KEY = "bootstrap-key-of-the-tests"
ARTICLE = {
    "source": {"kind": "files", "path": "*.jsonl", "id": "id"},
    "text_fields": ["title"],
    "index": {"model": "stub"},
}
NIGHTLY = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}


@pytest.fixture
def runtime(tmp_path: Path, redis_url: str) -> Iterator[Runtime]:
    types = {"article": {**ARTICLE, "schedule": NIGHTLY}, "note": ARTICLE}
    file = tmp_path / "celeriac.yaml"
    file.write_text(json.dumps({"tenants": {"acme": {"entity_types": types}}}), "utf-8")
    runtime = Runtime(
        Settings.load(
            {
                "CELERIAC_HOME": str(tmp_path),
                "CELERIAC_CONFIG": str(file),
                "CELERIAC_REDIS_URL": redis_url,
                "CELERIAC_DATABASE_URL": f"sqlite:///{tmp_path / 'catalog.sqlite'}",
                "CELERIAC_API_KEY": KEY,
            }
        )
    )
    yield runtime
    runtime.close()


@pytest.fixture
def url(runtime: Runtime) -> Iterator[str]:
    with api_server(runtime) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"x-api-key": KEY}) as client:
        yield client


@pytest.fixture
def cli(url: str) -> InProcess:
    host, _, port = url.removeprefix("http://").partition(":")
    return InProcess({"CELERIAC_HOST": host, "CELERIAC_PORT": port, "CELERIAC_API_KEY": KEY})


def test_a_schedule_has_a_life(client: httpx.Client) -> None:
    path = "/indexing/acme/schedules"
    (declared,) = client.get(path).json()["schedules"]
    assert {name: declared[name] for name in ("entity_type", "origin", "cron", "timezone")} == {
        "entity_type": "article",
        "origin": "declared",
        **NIGHTLY,
    }
    made = client.post(path, json={"entity_type": "NOTE", "cron": "*/5 8-18 * * MON-FRI"})
    assert made.status_code == 201
    added = made.json()
    assert (added["entity_type"], added["cron"], added["timezone"], added["origin"]) == (
        *("note", "*/5 8-18 * * mon-fri", "UTC", "added"),
    )
    where = made.headers["Location"]
    assert client.get(where).json() == added

    changed = client.patch(where, json={"timezone": "Asia/Kathmandu"}).json()
    assert (changed["cron"], changed["timezone"]) == (added["cron"], "Asia/Kathmandu")
    paused = client.post(f"{where}/pause").json()
    assert (paused["paused"], paused["next_at"]) == (True, None)
    assert client.post(f"{where}/resume").json() == changed
    assert client.delete(where).status_code == 204
    assert client.get(where).status_code == 404
    assert client.delete(f"{path}/{declared['id']}").status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"entity_type": "note", "cron": "0 25 * * *"}, 400, "hour: '25'"),
        ({"entity_type": "note", "cron": ",".join(["1"] * 9000)}, 400, "1024 characters"),
        ({"entity_type": "note", "cron": "0 3 * * *", "timezone": "X"}, 400, "no time zone 'X'"),
        ({"entity_type": "note", "cron": "0 3 * * *", "when": "now"}, 400, "Unknown field"),
        ({"entity_type": "not", "cron": "0 3 * * *"}, 404, "did you mean 'note'"),
        ({"entity_type": "kb:1", "cron": "0 3 * * *"}, 404, "no entity type"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(
    client: httpx.Client, body: dict[str, str], status: int, said: str
) -> None:
    answer = client.post("/indexing/acme/schedules", json=body)
    assert answer.status_code == status
    assert said in answer.text


def test_a_tenant_sees_its_own(client: httpx.Client, runtime: Runtime) -> None:
    (declared,) = client.get("/indexing/acme/schedules").json()["schedules"]
    _, secret = runtime.catalog.api_keys.create(tenants=["globex"], scopes=list(Scope))
    theirs = {"x-api-key": secret.reveal()}
    assert client.get("/indexing/globex/schedules", headers=theirs).json() == {"schedules": []}
    assert client.get("/indexing/acme/schedules", headers=theirs).status_code == 403
    other = client.get(f"/indexing/globex/schedules/{declared['id']}", headers=theirs)
    assert other.status_code == 404


def test_the_command_does_the_same(cli: InProcess) -> None:
    (declared,) = cli.json("schedules", "list", "acme")["schedules"]
    added = cli.json("schedules", "add", "acme", "note", "0 4 * * *", "--timezone", "Asia/Tokyo")
    shown = cli("schedules", "list", "acme").stdout
    assert "Europe/Berlin" in shown
    assert added["id"] in shown
    changed = cli.json("schedules", "change", "acme", added["id"], "--cron", "0 5 * * *")
    assert (changed["cron"], changed["timezone"]) == ("0 5 * * *", "Asia/Tokyo")
    assert "paused" in cli("schedules", "pause", "acme", added["id"]).stdout
    assert not cli.json("schedules", "resume", "acme", added["id"])["paused"]
    assert cli.json("schedules", "delete", "acme", added["id"])["deleted"]
    assert "remove it there" in cli.error("schedules", "delete", "acme", declared["id"])
    assert "hour: '25'" in cli.error("schedules", "add", "acme", "note", "0 25 * * *")
    cli("schedules", "change", "acme", declared["id"], status=2)
