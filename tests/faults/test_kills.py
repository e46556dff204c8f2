"""kill -9 of a worker at each stage of a page and of a job's end, with real processes and servers:
another worker goes on within the lease, nothing is lost and nothing is there twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import servers
from articles import Articles
from collection import Cacm
from deployment import deployment, injection

STAGES = (
    *("fetched", "listed", "embedded", "half-written", "written", "committed"),
    *("finishing", "swept", "switched"),
)
LEASE = 4.0


@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_killed_at_a_stage_loses_nothing(
    stage: str, tmp_path: Path, redis_url: str, postgres_url: str, cacm: Cacm
) -> None:
    before = [one for one in cacm.documents if one["abstract"]][:60]
    after = [dict(one) for one in before[8:]]
    after[3]["abstract"] = " ".join(["A much longer abstract than it was."] * 60)
    after[4]["abstract"] = "Shorter."
    flag = tmp_path / "killed"
    articles = Articles.declare(tmp_path, index={"model": "stub", "chunk_size": 100})
    articles.write(before)
    (tmp_path / "qdrant").mkdir()
    with (
        servers.qdrant(tmp_path / "qdrant", own=True) as qdrant,
        deployment(
            tmp_path,
            articles.configuration,
            redis_url=redis_url,
            database_url=postgres_url,
            qdrant_url=qdrant.url,
            **injection(KILL_AT=stage, KILL_FLAG=str(flag), LEASE=str(LEASE)),
        ) as service,
    ):
        job = service.reindex("acme", "article")
        assert flag.exists(), "no worker died"
        assert (job["state"], job["message"]) == ("succeeded", "")
        # A page that was written but not committed is found unchanged by who goes on with it.
        counters = job["counters"]
        assert counters["listed"] == counters["indexed"] + counters["unchanged"] == 60
        articles.assert_index_equals(job, before, url=qdrant.url)

        articles.write(after)
        flag.unlink()
        dead = [one for one in service.processes.values() if one.running().poll() is not None]
        assert len(dead) == 1
        dead[0].start()
        job = service.reindex("acme", "article")
        assert flag.exists(), "no worker died in the second job"
        assert (job["state"], job["message"]) == ("succeeded", "")
        assert job["counters"]["listed"] == 52
        assert job["counters"]["removed"] == 8
        articles.assert_index_equals(job, after, url=qdrant.url)
