"""How fast an index's jobs were, and how long another one would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from celeriac.catalog.jobs import Job, JobMode


@dataclass(frozen=True, slots=True)
class Throughput:
    """The best rates among an index's last succeeded jobs.

    Fetching, comparing and embedding overlap in a job, so the best rate each of them had is the
    nearest to what it can do; a job that waited for something else does not count against it.
    """

    jobs: int
    """How many were looked at."""
    entities_per_second: float
    tokens_per_second: float | None
    """Tokens of embedded chunks; None where none of the jobs embedded with the present model."""

    def seconds(self, entities: int, tokens: int) -> float | None:
        """The time for so many listed entities and embedded tokens; None where it was not
        measured."""
        listing = entities / self.entities_per_second
        if not tokens:
            return listing
        if not self.tokens_per_second:
            return None
        return max(listing, tokens / self.tokens_per_second)


def throughput_of(jobs: Sequence[Job], chunk_sizes: Mapping[int, int]) -> Throughput | None:
    """The rates of succeeded reindexes; None where none of them listed anything.

    `chunk_sizes` gives the chunk size, in tokens, of each generation that the present model built:
    a job counts the tokens it cut, and of those it embedded at most that many a chunk.
    """
    measured = [job for job in jobs if job.counters.listed and job.mode == JobMode.REINDEX]
    if not measured:
        return None
    tokens = [
        min(job.counters.tokens, job.counters.embedded * chunk_size) / _seconds(job)
        for job in measured
        if job.counters.embedded and (chunk_size := chunk_sizes.get(job.generation or 0))
    ]
    return Throughput(
        jobs=len(measured),
        entities_per_second=max(job.counters.listed / _seconds(job) for job in measured),
        tokens_per_second=max(tokens, default=None),
    )


def _seconds(job: Job) -> float:
    return job.working_seconds(job.finished_at or 0.0)
