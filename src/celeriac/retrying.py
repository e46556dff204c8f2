"""Retries of what failed in a job: which are asked for, which are refused, and why.

A retry is a job of its own. It takes the entities that failed, indexes them as any job would, into
the generation that is searched, and looks at nothing else.
"""

from __future__ import annotations

from celeriac.catalog.indexes import Generation
from celeriac.catalog.jobs import FINAL, Job, JobMode
from celeriac.catalog.requests import Request, Terms
from celeriac.configuration import EntityType
from celeriac.dispatch import Dispatcher
from celeriac.errors import Conflict, NotFound
from celeriac.generations import in_force
from celeriac.model import Selection
from celeriac.runtime import Runtime


def request_retry(runtime: Runtime, dispatcher: Dispatcher, selection: Selection) -> Request:
    """Queue a retry, or have a job that waits for the index take its entities too, and announce it.

    Raises:
        NotFound: there is no such job, or its entity type is not declared any more.
        Conflict: the job has not ended, nothing that can be retried failed in it, or the index
            has no generation to write to.
        DependencyUnavailable: as `celeriac.jobs.request_job`.
    """
    catalog = runtime.catalog
    job = catalog.jobs.get(selection.job_id)
    if job is None:
        raise NotFound(f"There is no job {selection.job_id!r}.")
    _require_failures(runtime, job, selection)
    declared = in_force(runtime, runtime.entity_type(job.tenant, job.entity_type))
    waiting = catalog.jobs.waiting(job.index_id)
    if waiting is None or waiting.mode == JobMode.RETRY:
        writable_generation(runtime, job.index_id, declared)
    terms = Terms(declared.priority, declared.max_entities_per_second)
    request = catalog.requests.queue(
        job.index_id, job.tenant, job.entity_type, retry=selection, terms=terms
    )
    dispatcher.start_job(request.job.id)
    return request


def writable_generation(runtime: Runtime, index_id: str, declared: EntityType) -> Generation:
    """The generation that a retry writes: the one that is searched, if it was built as the entity
    type is declared now.

    Raises:
        Conflict: there is none.
    """
    live = runtime.catalog.indexes.live(index_id)
    name = f"{declared.tenant}/{declared.name}"
    if live is None:
        raise Conflict(f"Nothing is indexed yet for {name}; reindex it.")
    if live.spec_digest != declared.spec.digest:
        raise Conflict(
            f"{name} is declared otherwise than its index was built, so all of it has to be "
            "indexed again, not only what failed; reindex it."
        )
    return live


def require_jobs(runtime: Runtime, retry: Job) -> None:
    """Raise NotFound where a job whose failures a running retry takes is there no more."""
    for job_id in runtime.catalog.retries.lost(retry.retries):
        raise NotFound(
            f"Job {job_id}, of which the failures were to be retried, has been removed "
            "(CELERIAC_JOB_RETENTION_DAYS); reindex."
        )


def _require_failures(runtime: Runtime, job: Job, selection: Selection) -> None:
    if job.state not in FINAL:
        raise Conflict(f"Job {job.id} is {job.state}; retry what failed once it has ended.")
    retries = runtime.catalog.retries
    if not retries.count([selection]):
        raise Conflict(_nothing_to_retry(job, selection, retries.classes(job.id)))


def _nothing_to_retry(job: Job, selection: Selection, classes: dict[str, int]) -> str:
    if not classes and job.counters.failed:
        return (
            f"What failed in job {job.id} is not recorded under an entity's id, so it cannot be "
            "retried alone; mend it at the source and reindex."
        )
    if not classes:
        return f"No entity failed in job {job.id}; there is nothing to retry."
    failed = ", ".join(f"{name}: {count}" for name, count in classes.items())
    if selection.error_class is not None and selection.error_class not in classes:
        return f"No entity failed with {selection.error_class} in job {job.id}; by class: {failed}."
    return (
        f"Nothing that failed in job {job.id} may succeed as it stands ({failed}); mend it at the "
        "source, then retry it without asking for the retryable alone."
    )
