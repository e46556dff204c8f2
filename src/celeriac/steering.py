"""Steering jobs that wait or run: paused and resumed, throttled, given another priority."""

from __future__ import annotations

from celeriac.catalog.jobs import FINAL, Job
from celeriac.dispatch import Dispatcher
from celeriac.errors import Conflict, NotFound
from celeriac.jobs import JobRunner
from celeriac.model import Priority
from celeriac.runtime import Runtime


class Steering:
    """What people may do to a job that has not ended.

    Each method returns the job as it is then, and raises

    - NotFound: there is no such job;
    - Conflict: there is nothing left to steer.
    """

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher) -> None:
        self._catalog = runtime.catalog
        self._progress = runtime.progress
        self._jobs = JobRunner(runtime, dispatcher)

    def pause(self, job_id: str, by: str | None = None) -> Job:
        """Hold a job up: nothing is written for it after its next checkpoint."""
        changed = self._catalog.steering.pause(job_id, by)
        return self._steered(job_id, changed, "paused")

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on; what is pending is sent at once."""
        changed = self._catalog.steering.resume(job_id)
        job = self._steered(job_id, changed, "resumed")
        self._jobs.send_pending(job)
        return job

    def throttle(self, job_id: str, rate: float | None) -> Job:
        """Let a job list so many entities a second at most, from now on; None lifts it."""
        changed = self._catalog.steering.throttle(job_id, rate)
        job = self._steered(job_id, changed, "throttled")
        # Messages that were put off by the old rate may come too late by the new one.
        self._jobs.send_pages(job)
        return job

    def prioritise(self, job_id: str, priority: Priority) -> Job:
        """Give a job another priority; it holds for every page that is not in hand yet."""
        changed = self._catalog.steering.prioritise(job_id, priority)
        return self._steered(job_id, changed, "given another priority")

    def _steered(self, job_id: str, changed: bool, what: str) -> Job:
        seen = self._catalog.jobs.seen(job_id)
        if seen is None:
            raise NotFound(f"There is no job {job_id!r}.")
        job = seen.job
        if changed:
            self._progress.changed(seen)
        elif job.state in FINAL:
            raise Conflict(
                f"Job {job_id} has {_ended(job)}; only one that is queued or running can be {what}."
            )
        return job


def _ended(job: Job) -> str:
    return "been cancelled" if job.state == "cancelled" else str(job.state)
