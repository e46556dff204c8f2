"""Schedules of a real deployment with two beats, whose Redis forgets everything."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sites
from articles import Articles
from collection import Cacm
from deployment import Process
from sites import Site
from sqlalchemy import update

from celeriac.catalog import Catalog
from celeriac.catalog.tables import schedules

NIGHTLY = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}
SECONDS_TO_RUN = 60.0


@pytest.fixture
def site(tmp_path: Path, cacm: Cacm) -> Iterator[Site]:
    articles = Articles.declare(tmp_path)
    articles.write(cacm.documents[:20])
    with sites.site(tmp_path, articles.configuration, workers=1) as site:
        yield site


@pytest.fixture
def second_beat(site: Site, tmp_path: Path) -> Iterator[Process]:
    beat = dataclasses.replace(site.service.processes["beat"], log=tmp_path / "beat-2.log")
    beat.start()
    yield beat
    beat.stop()


@pytest.fixture
def catalog(site: Site) -> Iterator[Catalog]:
    catalog = Catalog(site.postgres.url)
    yield catalog
    catalog.close()


def make_due(catalog: Catalog, schedule_id: str) -> None:
    """Have three nights have been missed."""
    moment = catalog.database.now() - 3 * 86_400
    with catalog.database.write() as connection:
        connection.execute(
            update(schedules).where(schedules.c.id == schedule_id).values(next_at=moment)
        )


def await_run(site: Site, catalog: Catalog, schedule_id: str, after: float | None) -> float:
    deadline = time.monotonic() + SECONDS_TO_RUN
    while time.monotonic() < deadline:
        row = catalog.schedules.find(schedule_id)
        assert row is not None
        if row.last_run_at != after and row.last_run_at is not None:
            return row.last_run_at
        time.sleep(0.1)
    raise AssertionError(site.service.logs())


def test_missed_nights_are_caught_up_once_by_two_beats_and_outlive_redis(
    site: Site, second_beat: Process, catalog: Catalog
) -> None:
    path = "/indexing/acme/schedules"
    new = {"entity_type": "article", **NIGHTLY}
    added = site.service.client.post(path, json=new).json()
    make_due(catalog, added["id"])
    first = await_run(site, catalog, added["id"], None)
    job_id = site.service.client.get(f"{path}/{added['id']}").json()["last_job_id"]
    assert site.service.await_job(f"/jobs/{job_id}")["state"] == "succeeded"

    with site.redis.client() as redis:
        redis.flushall()
    make_due(catalog, added["id"])
    await_run(site, catalog, added["id"], first)
    shown = site.service.client.get(f"{path}/{added['id']}").json()
    assert shown["next_at"] > time.time()
    site.service.await_job(f"/jobs/{shown['last_job_id']}")
    assert len(catalog.jobs.recent(tenant="acme", limit=10)) == 2
    assert second_beat.alive
