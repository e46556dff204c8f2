"""Tenants that share workers, with real processes: none waits for another's thousands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import servers
from deployment import Json, Service, deployment, write_configuration

MANY = 20_000
LONG_PAGE = 5_000
SHORT_PAGE = 20
TYPES = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a file of many entities, and one of few."""
    text = " ".join(f"word{position}" for position in range(60))
    for name, count in (("many", MANY), ("few", 10)):
        with (tmp_path / f"{name}.jsonl").open("w", encoding="utf-8") as lines:
            for number in range(count):
                entity = {"id": f"{name}{number}", "title": f"Title {number}", "body": text}
                lines.write(json.dumps(entity) + "\n")
    return tmp_path


def declared(name: str, page_size: int = LONG_PAGE) -> Json:
    return {
        "source": {"kind": "files", "path": f"{name}.jsonl", "id": "id", "page_size": page_size},
        "text_fields": ["title", "body"],
        "index": {"model": "stub", "chunk_size": 100, "chunk_overlap": 10},
    }


@contextmanager
def running(
    folder: Path,
    tenants: dict[str, dict[str, Json]],
    redis_url: str,
    postgres_url: str,
    *,
    workers: int = 1,
) -> Iterator[Service]:
    (folder / "qdrant").mkdir()
    with (
        servers.qdrant(folder / "qdrant", own=True) as qdrant,
        deployment(
            folder,
            write_configuration(folder, tenants),
            redis_url=redis_url,
            database_url=postgres_url,
            qdrant_url=qdrant.url,
            workers=workers,
        ) as service,
    ):
        yield service


def dealt_with(service: Service, *locations: str) -> int:
    """Entities that the jobs are through with, in pages in hand too."""
    counted = [service.job(location)["counters"] for location in locations]
    return sum(one["unchanged"] + one["indexed"] + one["failed"] for one in counted)


def await_dealt_with(service: Service, count: int, *locations: str) -> None:
    deadline = time.monotonic() + 300
    while dealt_with(service, *locations) < count:
        assert time.monotonic() < deadline, service.logs()
        time.sleep(0.05)


def cancel(service: Service, *locations: str) -> None:
    for location in locations:
        assert service.client.post(f"{location}/cancel").status_code == 202


@pytest.mark.parametrize("tenants", [1, 5])
def test_ten_entities_do_not_wait_for_other_tenants_thousands(
    tenants: int, folder: Path, redis_url: str, postgres_url: str
) -> None:
    """Be there one other tenant, which must leave a thread free, or more of them than threads,
    whose long pages must make way."""
    big = {f"big{number}": {"many": declared("many")} for number in range(tenants)}
    both = {**big, "small": {"few": declared("few")}}
    with running(folder, both, redis_url, postgres_url) as service:
        theirs = [service.request_reindex(tenant, "many") for tenant in big]
        await_dealt_with(service, 500, *theirs)
        before = dealt_with(service, *theirs)
        ours = service.await_job(service.request_reindex("small", "few"))
        meanwhile = dealt_with(service, *theirs) - before
        assert (ours["state"], ours["counters"]["indexed"]) == ("succeeded", 10)
        # Turns are of seconds, pages of entities: what they come to in between depends on the
        # machine. Without turns ours would wait for whole pages of every other tenant.
        assert meanwhile < tenants * MANY / 2, "half of what the others have to do"
        cancel(service, *theirs)


def test_a_tenant_with_twenty_jobs_gets_no_more_than_one_with_a_single_job(
    folder: Path, redis_url: str, postgres_url: str
) -> None:
    types = {f"type-{number}": declared("many", SHORT_PAGE) for number in range(TYPES)}
    both = {"big": types, "small": {"many": declared("many", SHORT_PAGE)}}
    with running(folder, both, redis_url, postgres_url) as service:
        theirs = [service.request_reindex("big", name) for name in types]
        await_dealt_with(service, TYPES * SHORT_PAGE, *theirs)
        ours = service.request_reindex("small", "many")
        await_dealt_with(service, 4 * SHORT_PAGE, ours)
        before = dealt_with(service, ours)
        all_before = before + dealt_with(service, *theirs)
        await_dealt_with(service, before + 40 * SHORT_PAGE, ours)
        gained = dealt_with(service, ours) - before
        total = dealt_with(service, ours, *theirs) - all_before
        assert gained / total > 0.35, "about a half; a share by jobs would be a twentieth"
        counts = [dealt_with(service, one) for one in theirs]
        assert min(counts) > max(counts) / 4, "its jobs take turns"
        cancel(service, ours, *theirs)


def test_a_throttle_holds_across_workers_and_can_be_lifted(
    folder: Path, redis_url: str, postgres_url: str
) -> None:
    rate = 20.0
    slow = {**declared("many", 10), "max_entities_per_second": rate}
    with running(folder, {"one": {"many": slow}}, redis_url, postgres_url, workers=2) as service:
        begun = time.monotonic()
        job = service.request_reindex("one", "many")
        await_dealt_with(service, 200, job)
        found, seconds = dealt_with(service, job), time.monotonic() - begun
        assert rate * seconds / 3 < found <= rate * seconds + 10, "and the first page at once"

        answer = service.client.put(f"{job}/throttle", json={"entities_per_second": None})
        assert (answer.status_code, answer.json()["throttle"]) == (200, None)
        begun = time.monotonic()
        await_dealt_with(service, found + 500, job)
        assert dealt_with(service, job) - found > 1.5 * rate * (time.monotonic() - begun)
        cancel(service, job)
