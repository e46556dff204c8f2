"""Refresh policies in a real deployment: two beats, servers and workers as processes of their own.

Hours pass by the catalog's rows being made older.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import servers
import sqlalchemy as sa
from articles import Articles
from deployment import Json, Process, Service, deployment

CONTROL = "/api/v1/control"
PATIENCE = 180.0
HOUR = 3600
BEATS = 2


@dataclass
class Refreshed:
    """A knowledge base with an hourly policy, linked to `documents.jsonl`, and its beats."""

    service: Service
    articles: Articles
    database: sa.Engine
    index: str
    """The path of its index."""
    beats: list[Process]

    def get(self, path: str) -> Json:
        answer = self.service.client.get(path)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def indexings(self) -> list[Json]:
        found: list[Json] = self.get(f"{self.index}/indexings")["data"]
        return found

    def await_indexings(self, count: int) -> None:
        """Wait until so many are done."""
        deadline = time.monotonic() + PATIENCE
        while [one["state"] for one in self.indexings()] != ["DONE"] * count:
            assert time.monotonic() < deadline, f"{self.indexings()}\n{self.service.logs()}"
            time.sleep(0.1)

    def pass_hours(self, hours: float) -> None:
        """Have everything that the catalog knows be so much older."""
        columns = {
            "knowledge_bases": ("created_at", "updated_at"),
            "jobs": ("created_at", "started_at", "finished_at"),
            "schedules": ("created_at", "next_at", "last_due_at", "last_run_at"),
        }
        with self.database.begin() as connection:
            for table, names in columns.items():
                changes = ", ".join(f"{name} = {name} - {hours * HOUR}" for name in names)
                connection.execute(sa.text(f"UPDATE {table} SET {changes}"))

    def refreshes(self) -> int:
        """How many messages of the beats the workers have done."""
        logs = (self.service.processes[name].log.read_text() for name in ("worker-0", "worker-1"))
        lines = [line for log in logs for line in log.splitlines()]
        return sum("celeriac.run_schedules[" in line and "succeeded" in line for line in lines)

    def await_refreshes(self, more: int) -> None:
        """Wait until so many more messages of the beats are done."""
        wanted, deadline = self.refreshes() + more, time.monotonic() + PATIENCE
        while self.refreshes() < wanted:
            assert time.monotonic() < deadline, self.service.logs()
            time.sleep(0.1)


@pytest.fixture
def refreshed(tmp_path: Path, redis_url: str, postgres_url: str) -> Iterator[Refreshed]:
    articles = Articles.declare(tmp_path)
    articles.write([article(1)])
    (tmp_path / "qdrant").mkdir()
    database = sa.create_engine(postgres_url)
    with (
        servers.qdrant(tmp_path / "qdrant", own=True) as qdrant,
        deployment(
            tmp_path,
            articles.configuration,
            redis_url=redis_url,
            database_url=postgres_url,
            qdrant_url=qdrant.url,
        ) as service,
    ):
        first = service.processes["beat"]
        second = replace(first, name="beat-1", log=tmp_path / "beat-1.log", popen=None)
        beats = [first, second]
        refreshed = Refreshed(service, articles, database, linked_index(service), beats)
        refreshed.await_refreshes(2)  # the policy is known
        first.stop()
        yield refreshed
        if second.alive:
            second.stop()
    database.dispose()


def article(number: int) -> Json:
    return {"id": str(number), "title": f"Title {number}", "abstract": f"Text {number}."}


def linked_index(service: Service) -> str:
    """The path of a new knowledge base's index, which nothing but its policy refreshes."""

    def made(path: str, **body: Any) -> str:
        answer = service.client.post(f"{CONTROL}{path}", json=body)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["id"]
        return found

    source = made("/data-sources", name="articles", type="ENTITY_TYPE", origin_url="article")
    policy = {"policy_type": "HOURLY", "minute": dt.datetime.now(dt.UTC).minute, "timezone": "UTC"}
    base = made(
        "/knowledge-bases",
        name="Handbook",
        index_refresh_policy=policy,
        data_origin_type="DATA_SOURCES",
    )
    made(f"/knowledge-bases/{base}/data-sources", data_source_id=source)
    index = made(
        f"/knowledge-bases/{base}/indexes",
        name="small",
        embeddings_model_endpoint="stub",
        text_splitting="TOKEN",
        chunk_size=100,
    )
    return f"{CONTROL}/knowledge-bases/{base}/indexes/{index}"


def test_missed_refreshes_are_caught_up_once_whoever_beats(refreshed: Refreshed) -> None:
    refreshed.await_indexings(1)  # the one that a new index begins with
    refreshed.articles.write([article(1), article(2)])
    refreshed.pass_hours(5.5)
    assert len(refreshed.indexings()) == 1

    for beat in refreshed.beats:
        beat.start()
    refreshed.await_indexings(2)
    assert refreshed.get(refreshed.index)["num_documents"] == 2
    # Both beats go on asking, and nothing is due.
    refreshed.await_refreshes(2 * BEATS)
    refreshed.await_indexings(2)

    refreshed.articles.write([article(1), article(2), article(3)])
    refreshed.pass_hours(1)
    refreshed.await_indexings(3)
    assert refreshed.get(refreshed.index)["num_documents"] == 3
