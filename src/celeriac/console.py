"""How the command line shows what the library found: for people, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from celeriac.model import Counters, EntityFailure, IndexSpec
from celeriac.terminal import (
    Row,
    bar,
    duration,
    moment,
    output,
    say,
    short,
    show_rows,
    size_of,
    table_of,
    text_of,
)

if TYPE_CHECKING:  # what makes these takes seconds to import
    from celeriac.audit import Audit
    from celeriac.backup import Backup
    from celeriac.capacity import Needs, Time
    from celeriac.catalog.api_keys import ApiKey, FoundKey
    from celeriac.catalog.indexes import Generation
    from celeriac.catalog.jobs import Job
    from celeriac.comparison import Findings
    from celeriac.doctor import Finding
    from celeriac.explain import Explanation
    from celeriac.plan import Plan
    from celeriac.remote import JobResource
    from celeriac.security.secrets import Secret
    from celeriac.store.base import Hit

SHOWN_IDS = 5


@contextmanager
def job_bar() -> Iterator[Callable[[Job], None]]:
    """A progress bar for a job that runs in this process."""
    with bar() as show:
        yield lambda job: show(job.state, None, f"{job.counters.listed:,} entities")


def show_indexed(job: Job, errors: Sequence[EntityFailure]) -> None:
    """A job that ran in this process, at its end."""
    counters = asdict(job.counters)
    rows: list[Row] = [("job", job.id), ("state", job.state)]
    rows += [(name, f"{value:,}") for name, value in counters.items() if value]
    if job.message:
        rows.append(("message", job.message))
    rows += _shortfall(job.state, job.counters)
    show_rows(rows)
    _show_errors(errors, job.counters.failed)


def show_plan(plan: Plan) -> None:
    rows: list[Row] = [
        ("index", f"{plan.tenant}/{plan.entity_type}, generation {plan.generation}"),
        ("listed", f"{plan.listed:,}"),
        ("add", f"{plan.added:,}"),
        ("change", f"{plan.changed:,}"),
        ("remove", f"{plan.removed + plan.emptied:,}"),
        ("leave", f"{plan.unchanged:,}"),
        ("fail", f"{plan.failed:,}"),
        ("embed", f"{plan.chunks_to_embed:,} chunks, {plan.tokens_to_embed:,} tokens"),
        ("reuse", f"{plan.chunks_reused:,} chunks"),
        ("time", _expected(plan)),
    ]
    show_rows(rows)
    if plan.refusal is not None:
        say(f"A reindex would fail: {plan.refusal}")
    if plan.builds and (plan.refusal is None or plan.changes):
        say(_building(plan))
    if plan.rejected is not None:
        say(
            f"Generation {plan.rejected}, built as it is declared, was rolled back from: "
            f"generation {plan.generation} is gone on with under its own declaration."
        )
    for change in plan.changes:
        say(f"  {change.part}: {short(change.before)} -> {short(change.now)}")
    _show_errors(plan.errors, plan.failed)


def _expected(plan: Plan) -> str:
    if plan.expected_seconds is None or plan.throughput is None:
        return "not measured yet"
    return f"about {duration(plan.expected_seconds)}, by {plan.throughput.jobs} earlier jobs"


def _building(plan: Plan) -> str:
    if plan.live_generation is None:
        return "Nothing is indexed yet: a reindex builds the index."
    return (
        f"Generation {plan.generation} is built beside {plan.live_generation}, which is searched "
        "until it is complete, because the declaration changed:"
    )


def show_needs(needs: Needs, times: Sequence[Time], spec: IndexSpec) -> None:
    texts, rule = needs.texts, size_of(needs.rule)
    cut = spec.splitting
    show_rows(
        [
            ("entities", f"{texts.entities:,}"),
            ("chunks", f"{texts.chunks:,}, {cut.method} {cut.chunk_size}/{cut.chunk_overlap}"),
            ("tokens", f"{texts.tokens:,} to embed with {spec.model}"),
            ("vectors", f"{size_of(needs.vectors)}; {rule} of memory by Qdrant's rule"),
            ("graph", f"{size_of(needs.graph)}"),
            ("ids and indexes", f"{size_of(needs.points)}"),
            ("payload", f"{size_of(needs.payload)}, on disk alone"),
            ("catalog", _catalog(needs)),
            ("Redis", f"{size_of(needs.redis)} a running job"),
        ]
    )
    stages = table_of("generations", "Qdrant's memory", "its disk", "when")
    for one in needs.stages:
        cells = (one.generations, size_of(one.memory), size_of(one.disk), one.when)
        stages.add_row(*map(text_of, cells))
    output().print(stages)
    _show_times(times, spec.model)


def _catalog(needs: Needs) -> str:
    sizes = ", ".join(f"{size_of(size)} in {kind}" for kind, size in needs.catalog.items())
    return f"{needs.catalog_rows:,} rows while a job runs: {sizes}"


def _show_times(times: Sequence[Time], model: str) -> None:
    if not times:
        say(f"How fast {model} is was not measured: give --tokens-per-second.")
        return
    table = table_of("tokens a second", "takes", "needed", "by")
    for one in times:
        needed = _times(one.times)
        cells = (f"{one.rate.tokens_per_second:,.0f}", duration(one.seconds), needed)
        table.add_row(*map(text_of, (*cells, one.rate.where)))
    output().print(table)


def _times(times: int | None) -> str:
    if times is None:
        return ""
    return "that is enough" if times == 1 else f"{times:,} times that"


def show_audit(audit: Audit) -> None:
    show_rows(
        [
            ("index", f"{audit.tenant}/{audit.entity_type}, generation {audit.generation}"),
            ("listed", f"{audit.listed:,}, {audit.failed:,} of them cannot be indexed"),
            ("indexed", f"{audit.indexed:,} entities, {audit.points:,} chunks"),
        ]
    )
    _show_findings(audit.found)
    _show_errors(audit.errors, audit.failed)
    if audit.repair is not None:
        done = audit.repair.counters
        say(
            f"Repaired by job {audit.repair.job_id}: {done.indexed:,} entities indexed again, "
            f"{done.removed:,} removed, {done.embedded:,} chunks embedded."
        )
        _show_errors(audit.repair.failures, done.failed)
        if audit.repair.remaining.count:
            say("Still different:")
            _show_findings(audit.repair.remaining)
    if audit.disturbed:
        say("A job ran meanwhile: what it was at may show as a difference. Audit again.")
    say(_verdict(audit))


def _verdict(audit: Audit) -> str:
    if not audit.equal:
        return "The index differs from the source."
    if audit.failed:
        return f"The index equals the source but for {audit.failed:,} that cannot be indexed."
    return "The index equals the source."


def _show_findings(found: Findings) -> None:
    table = table_of("difference", "entities", "why", "such as")
    for name in ("missing", "stale", "orphaned", "half_written", "altered"):
        finding = getattr(found, name)
        if finding.count:
            why = ", ".join(f"{reason}: {count:,}" for reason, count in finding.reasons.items())
            ids = ", ".join(finding.entity_ids[:SHOWN_IDS])
            table.add_row(*map(Text, (name.replace("_", " "), f"{finding.count:,}", why, ids)))
    if table.row_count:
        output().print(table)


def show_explanation(found: Explanation) -> None:
    rows: list[Row] = [
        ("entity", f"{found.tenant}/{found.entity_type}/{found.entity_id}"),
        ("state", found.state.replace("_", " ")),
        ("generation", f"{found.generation}{'' if found.current else ', of another declaration'}"),
        ("fingerprint", found.fingerprint or "none"),
        ("chunks", f"{len(found.chunks)} of {found.chunk_count or 0}"),
        ("metadata", json.dumps(found.metadata, ensure_ascii=False)),
    ]
    if found.last_job is not None:
        rows.append(("last job", f"{found.last_job.id}, {found.last_job.state}"))
    if found.last_error is not None:
        failure = found.last_error.failure
        rows.append(("last error", f"{failure.error_class}: {failure.message}"))
        rows.append(("", f"job {found.last_error.job_id}, {moment(found.last_error.recorded_at)}"))
    show_rows(rows)
    if found.chunks:
        table = table_of("chunk", "tokens", "characters", "begins")
        for chunk in found.chunks:
            begins = " ".join(chunk.start.split())
            table.add_row(*map(text_of, (chunk.number, chunk.tokens, chunk.characters, begins)))
        output().print(table)


def show_keys(keys: Sequence[FoundKey]) -> None:
    table = table_of("key", "name", "tenants", "scopes", "state", "created", "expires", "last used")
    for found in keys:
        key = found.key
        cells = (
            key.id,
            key.name,
            " ".join(key.tenants),
            " ".join(key.scopes),
            found.state,
            moment(key.created_at),
            moment(key.expires_at) if key.expires_at else "never",
            moment(key.last_used_at) if key.last_used_at else "never",
        )
        table.add_row(*map(text_of, cells))
    output().print(table)


def show_new_key(key: ApiKey, secret: Secret) -> None:
    """The one time that a key is shown, on a line of its own."""
    say(secret.reveal())
    rows: list[Row] = [
        ("id", key.id),
        ("tenants", " ".join(key.tenants)),
        ("scopes", " ".join(key.scopes)),
        ("expires", moment(key.expires_at) if key.expires_at else "never"),
    ]
    show_rows(rows)
    say("Keep it now, it is not shown again. At /oauth/token the id is the client_id, and what")
    say("follows the last _ of the key is the client_secret.")


def show_jobs(jobs: Sequence[Job], titles: Mapping[str, str]) -> None:
    """Jobs; `titles` says what people call indexes of knowledge bases, by index id."""
    table = table_of(
        *("job", "index", "mode", "state", "created", "took", "listed", "indexed", "failed")
    )
    for job in jobs:
        took = "" if job.finished_at is None else job.finished_at - (job.started_at or 0.0)
        counters, title = job.counters, titles.get(job.index_id)
        cells = (
            job.id,
            f"{job.tenant} / {title}" if title else f"{job.tenant}/{job.entity_type}",
            job.mode,
            f"{job.state}, paused" if job.paused else job.state,
            moment(job.created_at),
            duration(took) if job.started_at and isinstance(took, float) else "",
            counters.listed,
            counters.indexed,
            counters.failed,
        )
        table.add_row(*map(text_of, cells))
    output().print(table)
    for job in jobs:
        if job.message:
            say(f"{job.id}: {job.message}")


def show_indexes(indexes: Sequence[Mapping[str, Any]]) -> None:
    """Indexes as `celeriac.overview.resource` has them."""
    table = table_of(
        *("index", "state", "generation", "model", "entities", "chunks", "equal to its source"),
        "last job",
    )
    for one in indexes:
        age, last = one["age_seconds"], one["last_job"]
        state = one["state"].replace("_", " ")
        cells = (
            f"{one['tenant']}/{one['title']}",
            f"{state}, {one['failing']:,} failed" if one["failing"] else state,
            "" if one["generation"] is None else one["generation"],
            one["model"] or "",
            "" if one["entities"] is None else f"{one['entities']:,}",
            "" if one["chunks"] is None else f"{one['chunks']:,}",
            "never" if age is None else f"{duration(age)} ago",
            f"{last['id']}, {last['state']}" if last else "",
        )
        table.add_row(*map(text_of, cells))
    output().print(table)
    for one in indexes:
        if one["state"] == "failed" and one["last_job"]["message"]:
            say(f"{one['tenant']}/{one['title']}: {one['last_job']['message']}")


def show_schedules(schedules: Iterable[JobResource]) -> None:
    """Schedules as the API tells them."""
    table = table_of("schedule", "of", "cron", "time zone", "from", "next", "last run", "last job")
    for one in schedules:
        of = one["entity_type"] or f"knowledge base {one['knowledge_base_id']}"
        origin = f"{one['origin']}, changed" if one["overridden"] else one["origin"]
        following = "paused" if one["paused"] else moment(one["next_at"])
        ran = moment(one["last_run_at"]) if one["last_run_at"] else "never"
        cells = (one["id"], of, one["cron"], one["timezone"], origin, following, ran)
        table.add_row(*map(text_of, (*cells, one["last_job_id"] or "")))
    output().print(table)
    for one in schedules:
        if one["message"]:
            say(f"{one['id']}: {one['message']}")


def show_backup(backup: Backup, what: str) -> None:
    """A backup that was written or restored."""
    rows: list[Row] = [
        (what, moment(backup.created_at)),
        ("catalog", f"{sum(backup.rows.values()):,} rows, revision {backup.revision}"),
        ("vectors", ", ".join(backup.collections) or "none"),
    ]
    show_rows(rows)


def show_findings(findings: Iterable[Finding]) -> None:
    """What a doctor found, each with what to do."""
    from celeriac.doctor import Level

    table = table_of("", "check", "found", "what to do")
    for one in findings:
        style = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}[one.level]
        label = Text(one.level.label, style=style)
        table.add_row(label, text_of(one.check), text_of(one.message), text_of(one.remedy))
    output().print(table)


def show_generations(generations: Iterable[Generation]) -> None:
    table = table_of(
        "generation", "state", "model", "equal to its source", "partition", "collection"
    )
    for one in generations:
        state = f"{one.state}, rolled back from" if one.rejected_at is not None else one.state
        indexed = "" if one.indexed_at is None else moment(one.indexed_at)
        cells = (one.number, state, one.model, indexed, one.partition.key, one.collection)
        table.add_row(*map(text_of, cells))
    output().print(table)


def show_rollback(done: JobResource) -> None:
    """A rollback, or its undoing, as the API tells it."""
    rows: list[Row] = [("live", f"generation {done['generation']}")]
    if "accepted" in done:
        rows.append(("accepted", ", ".join(f"generation {one}" for one in done["accepted"])))
    else:
        rows.append(("rolled back from", f"generation {done['rolled_back_from']}"))
        rows.append(("partition", done["partition"]))
        if done["indexed_at"] is not None:
            rows.append(("equal to its source", moment(done["indexed_at"])))
    rows.append(("reindex", done["job_id"] or "to be asked for"))
    show_rows(rows)


def show_hits(hits: Iterable[Hit]) -> None:
    table = table_of("score", "entity", "chunk", "text")
    for hit in hits:
        cells = (f"{hit.score:.3f}", hit.entity_id, hit.chunk, " ".join(hit.text.split()))
        table.add_row(*map(text_of, cells))
    output().print(table)


def show_job(job: JobResource) -> None:
    """A job as the API tells it."""
    counters = job["counters"]
    rows: list[Row] = [("job", job["id"]), ("state", state_of(job)), ("priority", job["priority"])]
    if job["retries"]:
        rows.append(("retries", ", ".join(job["retries"])))
    if job["throttle"] is not None:
        rows.append(("throttle", f"{job['throttle']:,g} entities a second"))
    rows += [(name, f"{value:,}") for name, value in counters.items() if value]
    if job["message"]:
        rows.append(("message", job["message"]))
    if job.get("waiting"):
        rows.append(("waits", job["waiting"]))
    rows += _shortfall(job["state"], Counters(**counters))
    show_rows(rows)
    errors = [
        EntityFailure(one["entity_id"], one["class"], one["message"]) for one in job["errors"]
    ]
    _show_errors(errors, counters["failed"])


def state_of(job: JobResource) -> str:
    """The state of a job as the API tells it."""
    return f"{job['state']}, paused" if job.get("paused") else str(job["state"])


def _shortfall(state: str, counters: Counters) -> list[Row]:
    """What a job that succeeded lacks."""
    from celeriac.catalog.jobs import JobState

    lacks = counters.shortfall if state == JobState.SUCCEEDED else ""
    return [("but", lacks)] if lacks else []


def _show_errors(errors: Sequence[EntityFailure], count: int) -> None:
    """The first errors, those that say the same together."""
    alike: dict[tuple[str, str], list[str]] = {}
    for error in errors:
        ids = alike.setdefault((error.error_class, error.message), [])
        ids.append(error.entity_id or "(no id)")
    for (error_class, message), ids in list(alike.items())[:SHOWN_IDS]:
        more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
        say(f"  {', '.join(ids[:SHOWN_IDS])}{more}: {error_class}: {message}")
    if count > len(errors) or len(alike) > SHOWN_IDS:
        say(f"  ... {count:,} entities fail in all")
