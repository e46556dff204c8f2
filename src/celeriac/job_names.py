"""What people know jobs by: tenant and entity type, of the jobs that this process met last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from celeriac.catalog import Catalog
from celeriac.catalog.jobs import Job
from celeriac.errors import NotFound

KEPT = 4096


class JobNames:
    """Names of jobs by their ids; they never change. Thread-safe."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._known: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, job: Job) -> dict[str, str]:
        """Know this job from now on."""
        names = {"tenant": job.tenant, "type": job.entity_type}
        with self._lock:
            self._known[job.id] = names
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return names

    def of(self, job_id: str) -> dict[str, str]:
        """Its `tenant` and `type`.

        Raises:
            NotFound: there is no such job.
            CatalogUnavailable: this process does not know it, and the catalog is away.
        """
        known = self._known.get(job_id)
        if known is not None:
            return known
        job = self._catalog().jobs.get(job_id)
        if job is None:
            raise NotFound(f"There is no job {job_id!r}.")
        return self.note(job)
