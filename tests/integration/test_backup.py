"""Backed up, destroyed, restored: the index equals its source again, the catalog is as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import servers
from api_server import InProcess
from harness import NAME, TENANT, World, article
from sqlalchemy import select

from celeriac.backup import ServerVectors, Vectors, back_up
from celeriac.catalog import Catalog
from celeriac.catalog.documents import DocumentKind
from celeriac.catalog.jobs import JobState
from celeriac.catalog.knowledge_bases import DataOriginType
from celeriac.catalog.tables import job_errors, metadata
from celeriac.configuration.schedule import Schedule
from celeriac.knowledge import Knowledge
from celeriac.model import Partition, Splitting
from celeriac.schedules import Schedules
from celeriac.store.base import VectorStore
from celeriac.store.opening import open_local, open_server
from celeriac.voice import VoiceLibrary, new_document

ENTITIES = [article(number) for number in range(30)]
CHANGED_BY_RESTORE = {"jobs", "pages", "listings", "access_tokens", "schedules", "generations"}


@dataclass
class Place:
    """An installation that can be destroyed."""

    home: Path
    database_url: str
    redis_url: str
    qdrant: servers.QdrantServer | None

    def world(self) -> World:
        return World(
            home=self.home,
            database_url=self.database_url,
            redis_url=self.redis_url,
            store=self._store(),
        )

    def _store(self) -> VectorStore:
        return open_server(self.qdrant.url) if self.qdrant else open_local(self.home / "qdrant")

    @property
    def cli(self) -> InProcess:
        qdrant_url = self.qdrant.url if self.qdrant else ""
        return InProcess(
            {
                "CELERIAC_HOME": str(self.home),
                "CELERIAC_DATABASE_URL": self.database_url,
                "CELERIAC_QDRANT_URL": qdrant_url,
            }
        )

    def destroy(self) -> None:
        if self.qdrant is None:
            shutil.rmtree(self.home)
            self.home.mkdir()
            return
        with psycopg.connect(self.database_url.replace("+psycopg", "")) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        self.qdrant.stop()
        shutil.rmtree(self.qdrant.log.parent / "storage")
        self.qdrant.start()


@pytest.fixture(params=["server", "local"])
def place(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Place]:
    home = tmp_path / "home"
    home.mkdir()
    if request.param == "local":
        yield Place(home, f"sqlite:///{home / 'catalog.sqlite'}", redis_url, None)
        return
    with servers.qdrant(tmp_path, own=True) as qdrant:
        yield Place(home, request.getfixturevalue("postgres_url"), redis_url, qdrant)


def rows(catalog: Catalog) -> dict[str, Any]:
    """Everything in the catalog, by table."""
    with catalog.database.read() as connection:
        return {
            table.name: sorted(map(str, connection.execute(select(table)).all()))
            for table in metadata.sorted_tables
        }


def fill(world: World) -> None:
    """An index with an error, a job that runs, documents with content and parents, a schedule."""
    world.source.entities = [*ENTITIES, article(99, title="\0")]
    world.assert_succeeded(world.reindex())
    catalog = world.runtime.catalog
    base = catalog.knowledge_bases.create(
        TENANT, "kb", "", DataOriginType.LOCAL_FILES, {"policy_type": "HOURLY", "minute": 1}
    )
    knowledge = Knowledge(world.runtime, world.messages)
    knowledge.create_index(
        TENANT, base.id, name="i", description="", model="stub", splitting=Splitting()
    )
    knowledge.upload(base, "a.txt", "ein Text mit Ümläuten \x00".encode()[:-1], "text/plain")
    library = VoiceLibrary(world.runtime, world.messages, TENANT)
    library.add(new_document(DocumentKind.TEXT, "n", b"text", media_type="text/plain"))
    schedules = Schedules(world.runtime, world.messages)
    schedules.pause(schedules.add(TENANT, NAME, Schedule("0 3 * * *", "Europe/Berlin")))
    catalog.api_keys.create(tenants=[TENANT], scopes=["ai.agent_read"])
    world.run()
    world.request()
    world.deliver(world.messages.waiting.pop(0))
    world.messages.waiting.clear()


def test_what_is_destroyed_comes_back_and_converges(place: Place, tmp_path: Path) -> None:
    world = place.world()
    fill(world)
    running = world.runtime.catalog.jobs.recent(tenant=TENANT, limit=1)[0]
    assert running.state == JobState.RUNNING
    before, chunks = rows(world.runtime.catalog), world.indexed()
    world.close()

    made = place.cli.json("backup", str(tmp_path / "backup"))
    assert made["rows"]["job_errors"] == 1
    place.destroy()
    shown = place.cli("restore", str(tmp_path / "backup")).stdout
    assert "restored" in shown

    world = place.world()
    catalog = world.runtime.catalog
    after = rows(catalog)
    same = before.keys() - CHANGED_BY_RESTORE
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert world.indexed() == chunks
    world.assert_index_equals(ENTITIES)
    ended = world.job(running.id)
    assert ended.state == JobState.FAILED
    assert "restored from a backup" in ended.message
    (schedule,) = [one for one in catalog.schedules.of_tenant(TENANT) if one.paused_at]
    assert schedule.schedule == Schedule("0 3 * * *", "Europe/Berlin")

    # The source went on meanwhile; what the restore queued brings the index to it.
    entities = [article(0, words=9), *ENTITIES[1:-1], article(50)]
    world.source.entities = [*entities, article(99, title="\0")]
    world.refresh()
    world.jobs.recover()
    world.run()
    jobs = catalog.jobs.recent(tenant=TENANT, limit=10)
    assert {one.state for one in jobs if one.created_at > ended.created_at} == {JobState.SUCCEEDED}
    counters = next(one.counters for one in jobs if one.entity_type == NAME)
    assert (counters.unchanged, counters.indexed, counters.removed) == (28, 2, 1)
    world.assert_index_equals(entities)
    with catalog.database.read() as connection:
        ids = [row.id for row in connection.execute(select(job_errors.c.id))]
    assert len(ids) == len(set(ids)) == 2
    world.close()


def test_what_is_there_is_lost_only_when_that_is_said(place: Place, tmp_path: Path) -> None:
    world = place.world()
    fill(world)
    world.close()
    place.cli("backup", str(tmp_path / "backup"))
    assert "is not empty" in place.cli.error("backup", str(tmp_path / "backup"))

    world = place.world()
    world.source.entities = ENTITIES[:25]
    world.refresh()
    world.runtime.catalog.jobs.cancel(world.runtime.catalog.jobs.recent(limit=1)[0].id)
    world.reindex(removal_limit=1.0)
    world.close()
    assert "--overwrite" in place.cli.error("restore", str(tmp_path / "backup"))
    place.cli("restore", str(tmp_path / "backup"), "--overwrite")
    world = place.world()
    world.assert_index_equals(ENTITIES)
    world.close()


def test_a_backup_that_is_not_whole_is_refused(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    assert "no backup" in place.cli.error("restore", str(folder))
    world = place.world()
    world.source.entities = ENTITIES
    world.reindex()
    world.close()
    place.cli("backup", str(folder))
    (folder / "catalog" / "jobs.jsonl.gz").write_bytes(b"")
    assert "jobs.jsonl.gz is not as" in place.cli.error("restore", str(folder), "--overwrite")
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    changed = {**manifest, "files": {}, "revision": "0001"}
    (folder / "manifest.json").write_text(json.dumps(changed), "utf-8")
    assert "revision 0001" in place.cli.error("restore", str(folder), "--overwrite")


def test_points_that_are_given_up_meanwhile_have_it_made_again(
    place: Place, tmp_path: Path
) -> None:
    world = place.world()
    world.source.entities = ENTITIES
    world.reindex()
    switches = iter([{"chunk_size": 120}, {"chunk_size": 110}])

    class Switched:
        """Vectors that two switches give up while they are copied, the first time."""

        kind = "server"

        def save(self, collections: list[str], folder: Path) -> None:
            for change in switches:
                world.declare(splitting=Splitting(**change))
                world.assert_succeeded(world.reindex())
            if place.qdrant:
                vectors: Vectors = ServerVectors(place.qdrant.url, None)
                vectors.save(collections, folder)

        def restore(self, collections: list[str], folder: Path, *, overwrite: bool) -> None:
            raise AssertionError

    made = back_up(world.runtime.catalog, Switched(), tmp_path / "backup")
    assert made.rows["generations"] == 3
    live = world.partition()
    assert isinstance(live, Partition)
    world.close()
