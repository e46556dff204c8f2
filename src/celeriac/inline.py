"""Jobs run in this process, without a broker and without workers."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable

from celeriac.catalog.jobs import FINAL, Job
from celeriac.errors import NotFound
from celeriac.finish import Finisher
from celeriac.jobs import JobRunner, request_job
from celeriac.paging import PageRunner
from celeriac.retention import remove_expired
from celeriac.runtime import Runtime

RECOVERY_INTERVAL = 5.0
"""Seconds without a message after which it is looked for what was lost."""

Step = Callable[[], object]


class Inline:
    """A `Dispatcher` whose messages this process itself delivers, one after the other."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._jobs = JobRunner(runtime, self)
        self._waiting: list[tuple[float, int, Step]] = []
        self._order = itertools.count()

    def start_job(self, job_id: str) -> None:
        self._send(lambda: self._jobs.start(job_id))

    def index_page(self, job_id: str, number: int, *, delay: float = 0) -> None:
        self._send(lambda: PageRunner(self._runtime, self, self._jobs).run(job_id, number), delay)

    def finish_job(self, job_id: str, *, delay: float = 0) -> None:
        self._send(lambda: Finisher(self._runtime, self, self._jobs).run(job_id), delay)

    def depth(self) -> int:
        return len(self._waiting)

    def reindex(
        self,
        tenant: str,
        entity_type: str,
        *,
        removal_limit: float | None = None,
        heard: Callable[[Job], None] = lambda _: None,
    ) -> Job:
        """Reindex an entity type; the job at its end. `heard` is told of it after each step.

        Interrupted, it is cancelled; killed, the next reindex goes on with what it left.

        Raises:
            NotFound: the entity type is not declared.
        """
        options = {"removal_limit": removal_limit}
        job = request_job(self._runtime, self, tenant, entity_type, **options).job
        try:
            while job.state not in FINAL:
                self._step()
                job = self._job(job.id)
                heard(job)
        except KeyboardInterrupt:
            self._jobs.cancel(job.id)
            raise
        self._runtime.catalog.retention.clear_ended()
        remove_expired(self._runtime)
        return job

    def _step(self) -> None:
        """Deliver the next message, or look for lost ones where there is none."""
        if not self._waiting:
            time.sleep(RECOVERY_INTERVAL)
            self._jobs.recover()
            return
        due, _, step = heapq.heappop(self._waiting)
        time.sleep(max(due - time.monotonic(), 0.0))
        step()

    def _job(self, job_id: str) -> Job:
        job = self._runtime.catalog.jobs.get(job_id)
        if job is None:
            raise NotFound(f"The job {job_id} is gone.")
        return job

    def _send(self, step: Step, delay: float = 0) -> None:
        heapq.heappush(self._waiting, (time.monotonic() + delay, next(self._order), step))
