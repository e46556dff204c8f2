"""The list of indexes by REST and by the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from application import Site
from click.testing import CliRunner
from harness import ListSource, World, article, local_world

from api import create_app
from celeriac.cli import main
from celeriac.errors import SourceError
from celeriac.model import EntityFailure

Json = dict[str, Any]
OTHERS = [("acme", "zebra"), ("beta", "article"), ("beta", "product"), ("gamma", "article")]


@pytest.fixture
def world(tmp_path: Path, redis_url: str) -> Iterator[World]:
    with local_world(tmp_path, redis_url=redis_url) as world:
        failure = EntityFailure("bad", "NotText", "It is no text.")
        world.source = ListSource([article(number) for number in range(8)], failures={0: failure})
        yield world


@pytest.fixture
def site(world: World) -> Site:
    return Site(create_app(world.runtime), world.runtime)


def listed(site: Site, query: str = "", tenant: str = "*") -> list[Json]:
    answer = site.ask("GET", f"/indexes{query}", site.key(tenant=tenant))
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    found: list[Json] = answer.json["indexes"]
    return found


def test_an_index_tells_how_it_stands(world: World, site: Site) -> None:
    (before,) = listed(site)
    assert (before["state"], before["generation"], before["last_job"]) == (
        "not_indexed",
        None,
        None,
    )
    assert (before["entities"], before["indexed_at"], before["age_seconds"]) == (None, None, None)
    done = world.reindex()
    (live,) = listed(site)
    assert (live["tenant"], live["entity_type"], live["title"]) == ("acme", "article", "article")
    assert (live["state"], live["generation"], live["model"]) == ("live", 1, "stub")
    assert (live["entities"], live["failing"]) == (8, 1)
    assert live["chunks"] == done.counters.chunks
    assert live["last_job"] == {
        "id": done.id,
        "state": "succeeded",
        "finished_at": int(done.finished_at or 0),
        "message": "",
    }
    assert live["age_seconds"] >= 0


def test_one_whose_job_failed_or_waits_says_so(world: World, site: Site) -> None:
    world.reindex()

    def refuse(_: int) -> None:
        raise SourceError("The source is shut.")

    world.source.before_page = refuse
    failed = world.reindex()
    (index,) = listed(site)
    assert (index["state"], index["generation"]) == ("failed", 1)
    assert (index["last_job"]["id"], index["active_job_id"]) == (failed.id, None)
    assert "is shut" in index["last_job"]["message"]
    waiting = world.request()
    (index,) = listed(site)
    assert (index["state"], index["active_job_id"]) == ("queued", waiting.id)


def test_pages_are_parts_of_the_whole_list(world: World, site: Site) -> None:
    for tenant, name in OTHERS:
        world.runtime.catalog.requests.queue(f"{tenant}-{name}", tenant, name)
    everything = listed(site)
    names = [(one["tenant"], one["entity_type"]) for one in everything]
    assert names == [("acme", "article"), *OTHERS]
    parts = [listed(site, f"?pageSize=2&pageNumber={page}") for page in (1, 2, 3, 4)]
    assert [len(part) for part in parts] == [2, 2, 1, 0]
    assert [one["id"] for part in parts for one in part] == [one["id"] for one in everything]
    assert [one["state"] for part in parts for one in part] == [one["state"] for one in everything]
    beta = site.ask("GET", "/indexes?pageSize=1&tenant=beta", site.key(tenant="*"))
    assert beta.headers["X-Total-Count"] == "2"
    assert {one["tenant"] for one in listed(site, tenant="gamma")} == {"gamma"}
    assert site.ask("GET", "/indexes?pageSize=0", site.key()).status_code == 400


def test_the_command_lists_the_same(
    world: World, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reindex()
    world.runtime.catalog.requests.queue("beta-article", "beta", "article")
    monkeypatch.setenv("CELERIAC_DATABASE_URL", f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    monkeypatch.setenv("CELERIAC_HOME", str(tmp_path))
    said = json.loads(CliRunner().invoke(main, ["indexes", "--json"]).stdout)
    assert [{**one, "age_seconds": 0} for one in said] == [
        {**one, "age_seconds": 0} for one in listed(site)
    ]
    shown = CliRunner().invoke(main, ["indexes", "acme"]).stdout
    assert "acme/article" in shown
    assert "live, 1 failed" in shown
    assert "beta" not in shown
