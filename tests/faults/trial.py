"""One test's entity type on the site that the fault tests share."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from articles import Articles
from collection import JsonObject
from deployment import Json, Process, Service
from disks import Disk, empty
from figures import Record
from injection.injected.failpoints import Failpoints
from oracle import Comparison
from servers import Server, ServerFailed
from sites import Site
from sqlalchemy import select

from celeriac.catalog import Catalog
from celeriac.catalog.jobs import Job
from celeriac.catalog.tables import pages
from celeriac.sealing import UNLISTED
from celeriac.store.base import StoredChunk

SECONDS_TO_ANSWER = 10.0
"""More than any answer may take while a server is away; far less than a hang."""
SECONDS_TO_END = 240.0
"""Until a job that meets a fault has to have ended."""
SECONDS_TO_RECOVER = 60.0
"""Until what was started, or is back, has to be of use again."""
LEASE = 3.0
RECOVERY = 2.0


@dataclass
class Arena:
    """The site, the switches of its faults, and the entity types declared on it."""

    site: Site
    failpoints: Failpoints
    disks: dict[str, Disk]
    declared: dict[str, Iterator[Articles]]
    """Entity types that no test has used yet, by kind."""

    def heal(self) -> None:
        """Undo every fault and have all of it run."""
        self.failpoints.clear()
        self.make_room()
        for server in self.site.servers:
            server.thaw()
        self.make_room_in_redis()
        for process in self.site.service.processes.values():
            if not process.alive:
                process.start()
        self.site.service.await_ready()

    def make_room(self) -> None:
        """Empty the disks, and start the servers that a full one has ended."""
        for disk in self.disks.values():
            disk.free()
        for server in self.site.servers:
            if not server.alive:
                self.start(server)

    def start(self, server: Server) -> bool:
        """Start a server that was ended; whether its data are there.

        Qdrant 1.16.3 may hang over what it had, after very few kills and then at each start: it
        begins without then, as docs/troubleshooting.md has it.
        """
        try:
            server.start()
        except ServerFailed as failure:
            if "Loading collection" not in str(failure).splitlines()[-1]:
                raise
            empty(self.disks["qdrant"].folder)
            server.start()
            return False
        return True

    def make_room_in_redis(self) -> None:
        """No limit to what Redis holds."""
        with self.site.redis.client() as client:
            client.config_set("maxmemory", 0)


@dataclass
class Trial:
    """A source, its jobs, and the comparison with the index."""

    arena: Arena
    articles: Articles
    chance: random.Random
    record: Record
    documents: list[JsonObject] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)

    @property
    def site(self) -> Site:
        return self.arena.site

    @property
    def service(self) -> Service:
        return self.arena.site.service

    @property
    def failpoints(self) -> Failpoints:
        return self.arena.failpoints

    @property
    def workers(self) -> list[Process]:
        processes = self.service.processes
        return [one for name, one in processes.items() if name.startswith("worker")]

    def beside(self) -> Trial:
        """A trial of another entity type with the same documents."""
        articles = next(self.arena.declared["plain"])
        other = Trial(self.arena, articles, self.chance, self.record, locations=self.locations)
        other.write(self.documents)
        return other

    def restart_workers(self) -> None:
        """Stop and start them one after the other, so that one always runs."""
        for worker in self.workers:
            # One that still starts would not hear the signal as a worker does.
            worker.await_logged("ready.", SECONDS_TO_RECOVER)
            assert worker.stop() == 0
            worker.start()
            worker.await_logged("ready.", SECONDS_TO_RECOVER)

    def write(self, documents: list[JsonObject], *, also: str = "") -> None:
        """Make the source hold these documents, and the lines `also`."""
        self.documents = documents
        self.articles.write(documents, also=also)

    def request(self) -> str:
        """Request a reindex; the job's path."""
        location = self.service.request_reindex(self.articles.tenant, "article")
        self.locations.append(location)
        return location

    def begin(self, through: int = 30) -> str:
        """Start a job and wait until it is through with so many entities."""
        location = self.request()
        while _through((job := self.service.job(location))["counters"]) < through:
            assert job["state"] in ("queued", "running"), job
            time.sleep(0.02)
        assert job["state"] == "running", "it was over before the fault"
        return location

    def await_end(self, location: str) -> Json:
        """Wait until a job has ended, whatever is away meanwhile; processes that end by
        themselves are started again, as a restart policy does."""
        deadline = time.monotonic() + SECONDS_TO_END
        while time.monotonic() < deadline:
            self.service.restart_ended()
            job = self.find(location)
            if job is not None and job["state"] not in ("queued", "running"):
                return job
            time.sleep(0.05)
        raise AssertionError(f"the job did not end: {job}\n{self.service.logs()}")

    def find(self, location: str) -> Json | None:
        """The job; None where the API cannot say for now."""
        try:
            answer = self.service.client.get(location)
        except httpx.TransportError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def end_right(self, location: str, *, removed: int | None = None) -> Json:
        """Wait for a job's end; it must have succeeded with the index equal to the source."""
        job = self.await_end(location)
        self.assert_right(job, removed=removed)
        return job

    def assert_right(self, job: Json, *, removed: int | None = None, failed: int = 0) -> None:
        """The job succeeded, the index equals the source exactly, the counters what they count."""
        assert job["state"] == "succeeded"
        assert job["message"] in ("", UNLISTED)
        comparison = self.assert_index_equals(job, self.documents)
        counters = job["counters"]
        # A page that was written and not committed is found unchanged by who goes on with it.
        assert counters["indexed"] + counters["unchanged"] == len(self.documents)
        assert counters["listed"] == len(self.documents) + failed
        assert counters["failed"] == failed
        assert counters["chunks"] == len(comparison.expected)
        if removed is not None:
            assert counters["removed"] == removed

    def assert_index_equals(self, job: Json, documents: list[JsonObject]) -> Comparison:
        """The job's generation holds every chunk of the documents and nothing else."""
        comparison = self.articles.compare(job, documents, url=self.site.qdrant.url)
        self.record.compared(comparison)
        comparison.assert_equal()
        return comparison

    def injected(self, count: int = 1) -> None:
        """Count faults."""
        self.record.injected += count

    def assert_refused(self) -> None:
        """The API says within seconds that something is away, and hangs at no request."""
        path = f"/ai-rag-indexer/{self.articles.tenant}/article/reindex"
        began = time.monotonic()
        while (answer := self.service.client.post(path)).status_code != 503:
            # An answer of the store is believed for a second.
            assert time.monotonic() - began < SECONDS_TO_ANSWER, answer
        assert time.monotonic() - began < SECONDS_TO_ANSWER
        assert answer.json()["code"] == 503
        assert answer.headers["Retry-After"]

    def assert_back(self) -> None:
        """The API answers again by itself."""
        deadline = time.monotonic() + SECONDS_TO_RECOVER
        while (answer := self.service.client.get("/readyz")).status_code != 200:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.1)

    @contextmanager
    def catalog(self) -> Iterator[Catalog]:
        """The site's catalog."""
        catalog = Catalog(self.site.postgres.url)
        try:
            yield catalog
        finally:
            catalog.close()

    def jobs(self) -> list[Job]:
        """Every job of this trial's entity type."""
        with self.catalog() as catalog:
            return catalog.jobs.recent(tenant=self.articles.tenant)

    def await_jobs(self, count: int) -> list[Job]:
        """Return once a schedule has made so many jobs."""
        deadline = time.monotonic() + SECONDS_TO_RECOVER
        while len(jobs := self.jobs()) < count:
            assert time.monotonic() < deadline, f"the schedule made {len(jobs)} jobs"
            time.sleep(0.1)
        return jobs

    def await_last_error(self, location: str) -> str:
        """What the catalog says of a page of the job that is tried again."""
        query = select(pages.c.last_error).where(
            pages.c.job_id == location.rpartition("/")[2], pages.c.last_error.is_not(None)
        )
        deadline = time.monotonic() + SECONDS_TO_RECOVER
        with self.catalog() as catalog:
            while time.monotonic() < deadline:
                with catalog.database.read() as connection:
                    if found := connection.execute(query).scalars().first():
                        return str(found)
                time.sleep(0.1)
        raise AssertionError("no page has failed")

    def points(self, job: Json) -> dict[tuple[str, int], StoredChunk]:
        """The points of the job's generation with their vectors, by entity and chunk."""
        return self.articles.points(job, url=self.site.qdrant.url)

    def close(self) -> None:
        """Cancel what a failed test left running."""
        for location in self.locations:
            job = self.find(location)
            if job is not None and job["state"] in ("queued", "running"):
                self.service.client.post(f"{location}/cancel")


def _through(counters: Json) -> int:
    return int(counters["indexed"] + counters["unchanged"])
