"""What jobs and their pages add to the metrics."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac import measured
from celeriac.catalog.jobs import Job, JobState, class_of
from celeriac.model import Counters, EntityFailure
from celeriac.runtime import Runtime
from celeriac.stages import Stage, Timing


class Counts:
    """Counts what became of jobs and pages."""

    def __init__(self, runtime: Runtime) -> None:
        self._metrics = runtime.metrics

    def stage(self, stage: Stage, timing: Timing) -> None:
        """A go at a stage."""
        self._metrics.observe(measured.STAGES, timing.seconds, stage)
        self._metrics.count(measured.STAGE_ITEMS, stage, by=timing.items)

    def page(self, job: Job, counted: Counters, failures: Sequence[EntityFailure]) -> None:
        """A page that was committed."""
        for outcome in ("unchanged", "indexed", "failed"):
            by = getattr(counted, outcome)
            self._metrics.count(measured.ENTITIES, job.tenant, outcome, by=by)
        self._metrics.count(measured.CHUNKS, job.tenant, by=counted.chunks)
        self._metrics.count(measured.EMBEDDED, job.tenant, by=counted.embedded)
        self._metrics.count(measured.TOKENS, job.tenant, by=counted.tokens)
        self._metrics.count(measured.BYTES, job.tenant, by=counted.bytes)
        for failure in failures:
            self._metrics.count(measured.FAILURES, failure.error_class)

    def retry(self, error: Exception) -> None:
        """A page that is tried again."""
        self._metrics.count(measured.RETRIES, class_of(error))

    def end(self, job: Job) -> None:
        """A job that ended."""
        removed = job.counters.removed
        self._metrics.count(measured.ENTITIES, job.tenant, "removed", by=removed)
        self._metrics.count(measured.JOBS, job.tenant, job.state)
        if job.state == JobState.FAILED:
            self._metrics.count(measured.JOB_FAILURES, job.error_class or "unknown")
