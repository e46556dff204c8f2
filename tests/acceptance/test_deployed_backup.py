"""A backup made while workers write; then everything is lost, restored and started again."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import psycopg
import pytest
from api_server import InProcess
from articles import Articles
from collection import Cacm, JsonObject
from sites import Site

from celeriac.catalog import Catalog


@pytest.fixture(scope="module")
def documents(cacm: Cacm) -> list[JsonObject]:
    return [one for one in cacm.documents if one["abstract"]][:300]


@pytest.fixture
def workers() -> int:
    return 1


def destroy(site: Site, tmp_path: Path) -> None:
    """Lose every server's data, with nothing of ours running."""
    for process in site.service.processes.values():
        process.stop()
    with psycopg.connect(site.postgres.dsn) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    with site.redis.client() as redis:
        redis.flushall()
    site.qdrant.stop()
    shutil.rmtree(tmp_path / "qdrant" / "storage")
    site.qdrant.start()


def await_restored(site: Site) -> JsonObject:
    """The job that the restore has queued, at its end."""
    catalog = Catalog(site.postgres.url)
    job = catalog.jobs.recent(tenant="acme", limit=1)[0]
    catalog.close()
    return site.service.await_job(f"/jobs/{job.id}")


def test_it_converges_with_the_source_as_it_is_then(
    site: Site, articles: Articles, documents: list[JsonObject], tmp_path: Path
) -> None:
    cli = InProcess(
        {
            "CELERIAC_HOME": str(tmp_path),
            "CELERIAC_DATABASE_URL": site.postgres.url,
            "CELERIAC_QDRANT_URL": site.qdrant.url,
        }
    )
    first = site.service.reindex("acme", "article")
    assert first["state"] == "succeeded"
    changed = [{**one, "title": f"{one['title']}, again"} for one in documents]
    articles.write(changed)
    location = site.service.request_reindex("acme", "article")
    while site.service.job(location)["counters"]["indexed"] < 40:
        time.sleep(0.05)
    made = cli.json("backup", str(tmp_path / "backup"))
    assert made["rows"]["jobs"] == 2
    site.service.await_job(location)

    destroy(site, tmp_path)
    cli("restore", str(tmp_path / "backup"))
    kept = [*changed[:150], *documents[150:280]]
    articles.write(kept)
    for process in site.service.processes.values():
        process.start()
    site.service.await_ready()
    job = await_restored(site)
    assert (job["state"], job["message"]) == ("succeeded", "")
    assert job["counters"]["unchanged"] > 0
    articles.assert_index_equals(job, kept, url=site.qdrant.url)
    interrupted = site.service.job(location)
    assert interrupted["state"] in ("failed", "succeeded")
