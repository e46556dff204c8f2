"""Indexings: the jobs over an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.authorization import requires
from api.control.common import blueprint as make_blueprint
from api.control.common import knowledge, listed, seconds, the_index, window_of
from api.control.schemas import CancelQuery, IndexingView, ListQuery, list_of
from api.services import services
from celeriac.catalog.jobs import Job, JobState
from celeriac.catalog.knowledge_bases import KnowledgeIndex
from celeriac.errors import Conflict, NotFound
from celeriac.jobs import JobRunner
from celeriac.security.principal import Scope

blueprint = make_blueprint("indexings", "The jobs over an index.")

PATH = "/knowledge-bases/<knowledge_base_id>/indexes/<index_id>"
STATES: Mapping[JobState, str] = {
    JobState.QUEUED: "PENDING",
    JobState.RUNNING: "RUNNING",
    JobState.SUCCEEDED: "DONE",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "CANCELLED",
}


@blueprint.post(f"{PATH}/indexings")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.response(201, IndexingView)
def start_indexing(knowledge_base_id: str, index_id: str) -> dict[str, Any]:
    """Index the knowledge base's documents anew; what did not change costs next to nothing."""
    index = the_index(knowledge_base_id, index_id)
    services().store_check.require()
    return shown(knowledge().start_indexing(index), index)


@blueprint.get(f"{PATH}/indexings")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.arguments(ListQuery(exclude=["name"]), location="query")
@blueprint.response(200, list_of(IndexingView))
def list_indexings(query: dict[str, Any], knowledge_base_id: str, index_id: str) -> dict[str, Any]:
    """The jobs over an index."""
    index = the_index(knowledge_base_id, index_id)
    jobs = services().runtime.catalog.jobs
    found, more = jobs.list(index.id, window_of(query))
    return listed(found, more, query, lambda: jobs.count(index.id), lambda job: shown(job, index))


@blueprint.get(f"{PATH}/indexings/<indexing_id>")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, IndexingView)
def get_indexing(knowledge_base_id: str, index_id: str, indexing_id: str) -> dict[str, Any]:
    """One job over an index."""
    index = the_index(knowledge_base_id, index_id)
    return shown(_job(index, indexing_id), index)


@blueprint.get(f"{PATH}/active-indexing")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, IndexingView)
def get_active_indexing(knowledge_base_id: str, index_id: str) -> dict[str, Any]:
    """The running job, else the latest that completed, else the oldest that waits."""
    index = the_index(knowledge_base_id, index_id)
    return shown(knowledge().active_indexing(index), index)


@blueprint.post(f"{PATH}/indexings/<indexing_id>/cancel")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound)
@blueprint.arguments(CancelQuery, location="query")
@blueprint.response(202, IndexingView)
def cancel_indexing(
    _query: dict[str, Any], knowledge_base_id: str, index_id: str, indexing_id: str
) -> dict[str, Any]:
    """Cancel a job; it writes nothing after its next checkpoint."""
    index = the_index(knowledge_base_id, index_id)
    job = _job(index, indexing_id)
    return shown(JobRunner(services().runtime, services().dispatcher).cancel(job.id), index)


def _job(index: KnowledgeIndex, indexing_id: str) -> Job:
    job = services().runtime.catalog.jobs.get(indexing_id)
    if job is None or job.index_id != index.id:
        raise NotFound(f"There is no indexing {indexing_id!r} of this index.")
    return job


def shown(job: Job, index: KnowledgeIndex) -> dict[str, Any]:
    """A job as clients see it."""
    return {
        "id": job.id,
        "state": STATES[job.state],
        "created_at": seconds(job.created_at),
        "completed_at": seconds(job.finished_at),
        "knowledge_base_id": index.knowledge_base_id,
        "index_id": index.id,
        "message": job.message or None,
    }
