"""The pages that show something."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from flask import g, render_template, request

from api.authorization import owned, requires
from api.console.blueprint import blueprint
from api.jobs import job_resource, watched_resource
from api.schedules import schedules, shown
from api.services import services
from celeriac.catalog.jobs import ACTIVE, FINAL, Job, JobState
from celeriac.configuration import EntityType
from celeriac.errors import CeleriacError, NotFound
from celeriac.filter_text import parse_filters
from celeriac.overview import IndexSummary, overview
from celeriac.overview import titles as titles_of
from celeriac.passages import passages
from celeriac.security.principal import Principal, Scope
from workers import searching
from workers.application import app as celery
from workers.inspection import workers_alive

__all__ = ["blueprint"]

JOBS_A_PAGE = 50
HITS = 10
MAX_HITS = 100
MAX_TEXT = 32_768


@blueprint.get("/")
@requires(Scope.AGENT_READ)
def overview_page() -> str:
    """Every index, and the jobs that run."""
    summaries = _summaries()
    return render_template(
        "console/overview.html",
        tenants=[(name, list(some)) for name, some in groupby(summaries, lambda one: one.tenant)],
        active=[_shown(one.active, one.title) for one in summaries if one.active],
    )


@blueprint.get("/console/jobs")
@requires(Scope.AGENT_READ)
def jobs_page() -> str:
    """The history, newest first."""
    states = [state for state in JobState if state == request.args.get("state")]
    index_id = request.args.get("index") or None
    page = max(request.args.get("page", 1, int), 1)
    found = services().runtime.catalog.overviews.jobs(
        _tenants(),
        index_id=index_id,
        states=states,
        offset=(page - 1) * JOBS_A_PAGE,
        limit=JOBS_A_PAGE + 1,
    )
    titles = titles_of(services().runtime, _tenants())
    return render_template(
        "console/jobs.html",
        jobs=[_shown(job, titles.get(job.index_id)) for job in found[:JOBS_A_PAGE]],
        has_more=len(found) > JOBS_A_PAGE,
        page=page,
        states=list(JobState),
        state=states[0] if states else "",
        index_id=index_id,
        titles=titles,
    )


@blueprint.get("/console/jobs/<job_id>")
@requires(Scope.AGENT_READ)
def job_page(job_id: str) -> str:
    """One job: how far it is, why it does not move, what failed and why."""
    watched = owned("job", job_id, services().watch.job)
    job = watched.job
    titles = services().runtime.catalog.overviews.titles([job.tenant])
    title = titles.get(job.index_id, job.entity_type)
    return render_template(
        "console/job.html",
        job={**watched_resource(watched), "title": title},
        shortfall=watched.counters.shortfall,
        groups=services().runtime.catalog.overviews.error_groups(job.id),
        can_retry=job.state in FINAL,
        is_active=job.state in ACTIVE,
    )


@blueprint.get("/console/search")
@requires(Scope.AGENT_READ)
def search_page() -> str:
    """A search as users' programs make it, its hits in their texts."""
    indexes = [one for one in _summaries() if one.live is not None]
    text = request.args.get("text", "").strip()[:MAX_TEXT]
    chosen = next((one for one in indexes if one.id == request.args.get("index")), None)
    top_k = min(max(request.args.get("top_k", HITS, int), 1), MAX_HITS)
    conditions = request.args.get("filter", "")
    found: dict[str, Any] = {}
    if text and chosen:
        found = _search(chosen, text, top_k, conditions)
    return render_template(
        "console/search.html",
        indexes=indexes,
        chosen=chosen,
        text=text,
        top_k=top_k,
        most=MAX_HITS,
        filter=conditions,
        **found,
    )


@blueprint.get("/console/schedules")
@requires(Scope.AGENT_READ)
def schedules_page() -> str:
    """What is reindexed by itself, when it last was and when it will be."""
    tenants = _tenants()
    names = services().runtime.settings.configuration.tenants if tenants is None else tenants
    rows = [row for name in sorted(names) for row in schedules().of_tenant(name)]
    return render_template(
        "console/schedules.html",
        schedules=[shown(row) for row in rows],
        names=services().runtime.catalog.overviews.knowledge_base_names(tenants),
    )


@blueprint.get("/console/workers")
@requires(Scope.AGENT_READ)
def workers_page() -> str:
    """Who works, and what waits."""
    return render_template(
        "console/workers.html",
        workers=workers_alive(celery),
        titles=_titles_of_active_jobs(),
        depth=services().dispatcher.depth(),
    )


def summary_of(index_id: str) -> IndexSummary:
    """The index, if it is of a tenant of the one who asks; NotFound otherwise."""
    found = {one.id: one for one in _summaries()}
    return owned("index", index_id, found.get)


def _tenants() -> frozenset[str] | None:
    principal: Principal = g.principal
    return principal.tenants


def _summaries() -> list[IndexSummary]:
    return overview(services().runtime, _tenants())


def _titles_of_active_jobs() -> dict[str, str]:
    """What people call what the visible jobs that run or wait are about, by job id."""
    read = services().runtime.catalog.overviews
    titles = read.titles(_tenants())
    return {
        job.id: f"{job.tenant} / {titles.get(job.index_id, job.entity_type)}"
        for job in read.active(_tenants())
    }


def _shown(job: Job, title: str | None = None) -> dict[str, Any]:
    """The job's resource, with what people call its index."""
    live = services().watch.job(job.id) if job.state in ACTIVE else None
    shown = watched_resource(live) if live else job_resource(job, [], time.time())
    return {**shown, "title": title or job.entity_type}


def _search(index: IndexSummary, text: str, top_k: int, conditions: str) -> dict[str, Any]:
    began = time.monotonic()
    try:
        filters = parse_filters(one for one in conditions.split(";") if one.strip())
        hits = searching.ask(
            services().runtime.redis, index.tenant, index.name, text, top_k=top_k, filters=filters
        )
        assert index.live is not None
        around = passages(services().runtime, index.live, hits)
    except CeleriacError as error:
        return {"problem": str(error)}
    return {
        "hits": list(zip(hits, around, strict=True)),
        "seconds": time.monotonic() - began,
        "fields": _fields(index),
    }


def _fields(index: IndexSummary) -> Sequence[str]:
    """The filter fields of an entity type, to show with a hit."""
    try:
        declared: EntityType = services().runtime.entity_type(index.tenant, index.name)
    except NotFound:
        return ()
    return [field.key for field in declared.spec.filter_fields]
