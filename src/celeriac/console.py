"""How the command line shows what the library found: for people, and as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from celeriac.model import EntityFailure, IndexSpec

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

PIPED_WIDTH = 160
"""Columns where the output is no terminal."""
SHOWN_IDS = 5
LINE_INTERVAL = 15.0
"""Seconds between two lines on how far something is, where stderr is no terminal."""

Row = tuple[str, object]
Show = Callable[[str, float | None, str], None]


def output(*, errors: bool = False) -> Console:
    """A console on stdout, or on stderr."""
    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(stderr=errors, width=width, highlight=False, markup=False, emoji=False)


def show_json(value: object) -> None:
    """Print a dataclass, or what is made of them, as JSON."""
    click.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(type(value).__name__)


@contextmanager
def bar() -> Iterator[Show]:
    """A progress bar on stderr where that is a terminal, else a line now and then: what is yielded
    shows a state, a percentage and what is said beside the bar."""
    shown = output(errors=True)
    if not shown.is_terminal:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=shown, transient=True) as bars:
        task = bars.add_task("queued", total=None, said="")

        def show(state: str, percentage: float | None, said: str) -> None:
            bars.update(
                task,
                description=state,
                total=100 if percentage else None,
                completed=percentage,
                said=said,
            )

        yield show


def _lines() -> Show:
    """Says how far it is on a line of its own each `LINE_INTERVAL`."""
    begun = said_at = time.monotonic()

    def show(state: str, percentage: float | None, said: str) -> None:
        nonlocal said_at
        now = time.monotonic()
        if now - said_at >= LINE_INTERVAL:
            said_at = now
            done = f"{percentage:.0f} %" if percentage else ""
            parts = (f"after {now - begun:.0f} s", state, done, said)
            click.echo(", ".join(filter(None, parts)), err=True)

    return show


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
    _show_rows(rows)
    _show_errors(errors, job.counters.failed)


def show_plan(plan: Plan) -> None:
    rows: list[Row] = [
        ("index", f"{plan.tenant}/{plan.entity_type}, generation {plan.generation}"),
        ("listed", f"{plan.listed:,}"),
        ("add", f"{plan.added:,}"),
        ("change", f"{plan.changed:,}"),
        ("remove", f"{plan.removed + plan.emptied:,}{_removal_note(plan)}"),
        ("leave", f"{plan.unchanged:,}"),
        ("fail", f"{plan.failed:,}"),
        ("embed", f"{plan.chunks_to_embed:,} chunks, {plan.tokens_to_embed:,} tokens"),
        ("reuse", f"{plan.chunks_reused:,} chunks"),
        ("time", _expected(plan)),
    ]
    _show_rows(rows)
    if plan.builds:
        _say(_building(plan))
    if plan.rejected is not None:
        _say(
            f"Generation {plan.rejected}, built as it is declared, was rolled back from: "
            f"generation {plan.generation} is gone on with under its own declaration."
        )
    for change in plan.changes:
        _say(f"  {change.part}: {_short(change.before)} -> {_short(change.now)}")
    _show_errors(plan.errors, plan.failed)


def _removal_note(plan: Plan) -> str:
    if not plan.removal_refused:
        return ""
    return "; the index would lose more than one job may remove: that has to be confirmed"


def _expected(plan: Plan) -> str:
    if plan.expected_seconds is None or plan.throughput is None:
        return "not measured yet"
    return f"about {_duration(plan.expected_seconds)}, by {plan.throughput.jobs} earlier jobs"


def _building(plan: Plan) -> str:
    if plan.live_generation is None:
        return "Nothing is indexed yet: the index is built."
    return (
        f"Generation {plan.generation} is built beside {plan.live_generation}, which is searched "
        "until it is complete, because the declaration changed:"
    )


def show_needs(needs: Needs, times: Sequence[Time], spec: IndexSpec) -> None:
    texts = needs.texts
    cut = spec.splitting
    _show_rows(
        [
            ("entities", f"{texts.entities:,}"),
            ("chunks", f"{texts.chunks:,}, {cut.method} {cut.chunk_size}/{cut.chunk_overlap}"),
            ("tokens", f"{texts.tokens:,} to embed with {spec.model}"),
            ("vectors", f"{_size(needs.vectors)}; by Qdrant's rule {_size(needs.rule)} of memory"),
            ("graph", f"{_size(needs.graph)}"),
            ("ids and indexes", f"{_size(needs.points)}"),
            ("payload", f"{_size(needs.payload)}, on disk alone"),
            ("catalog", _catalog(needs)),
            ("Redis", f"{_size(needs.redis)} a running job"),
        ]
    )
    stages = _table("generations", "Qdrant's memory", "its disk", "when")
    for one in needs.stages:
        cells = (one.generations, _size(one.memory), _size(one.disk), one.when)
        stages.add_row(*map(_text, cells))
    output().print(stages)
    _show_times(times, spec.model)


def _catalog(needs: Needs) -> str:
    sizes = ", ".join(f"{_size(size)} in {kind}" for kind, size in needs.catalog.items())
    return f"{needs.catalog_rows:,} rows while a job runs: {sizes}"


def _show_times(times: Sequence[Time], model: str) -> None:
    if not times:
        _say(f"How fast {model} is was not measured: give --tokens-per-second.")
        return
    table = _table("tokens a second", "takes", "needed", "by")
    for one in times:
        needed = "" if one.times is None else f"{one.times:,} times that"
        cells = (f"{one.rate.tokens_per_second:,.0f}", _duration(one.seconds), needed)
        table.add_row(*map(_text, (*cells, one.rate.where)))
    output().print(table)


def show_audit(audit: Audit) -> None:
    _show_rows(
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
        _say(
            f"Repaired by job {audit.repair.job_id}: {done.indexed:,} entities indexed again, "
            f"{done.removed:,} removed, {done.embedded:,} chunks embedded."
        )
        _show_errors(audit.repair.failures, done.failed)
        if audit.repair.remaining.count:
            _say("Still different:")
            _show_findings(audit.repair.remaining)
    if audit.disturbed:
        _say("A job ran meanwhile: what it was at may show as a difference. Audit again.")
    _say("The index equals the source." if audit.equal else "The index differs from the source.")


def _show_findings(found: Findings) -> None:
    table = _table("difference", "entities", "why", "such as")
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
        rows.append(("", f"job {found.last_error.job_id}, {_moment(found.last_error.recorded_at)}"))
    _show_rows(rows)
    if found.chunks:
        table = _table("chunk", "tokens", "characters", "begins")
        for chunk in found.chunks:
            begins = " ".join(chunk.start.split())
            table.add_row(*map(_text, (chunk.number, chunk.tokens, chunk.characters, begins)))
        output().print(table)


def show_keys(keys: Sequence[FoundKey]) -> None:
    table = _table("key", "name", "tenants", "scopes", "state", "created", "expires", "last used")
    for found in keys:
        key = found.key
        cells = (
            key.id,
            key.name,
            " ".join(key.tenants),
            " ".join(key.scopes),
            found.state,
            _moment(key.created_at),
            _moment(key.expires_at) if key.expires_at else "never",
            _moment(key.last_used_at) if key.last_used_at else "never",
        )
        table.add_row(*map(_text, cells))
    output().print(table)


def show_new_key(key: ApiKey, secret: Secret) -> None:
    """The one time that a key is shown, on a line of its own."""
    _say(secret.reveal())
    rows: list[Row] = [
        ("id", key.id),
        ("tenants", " ".join(key.tenants)),
        ("scopes", " ".join(key.scopes)),
        ("expires", _moment(key.expires_at) if key.expires_at else "never"),
    ]
    _show_rows(rows)
    _say("Keep it now, it is not shown again. At /oauth/token the id is the client_id, and what")
    _say("follows the last _ of the key is the client_secret.")


def show_jobs(jobs: Sequence[Job]) -> None:
    table = _table(
        *("job", "index", "mode", "state", "created", "took", "listed", "indexed", "failed")
    )
    for job in jobs:
        took = "" if job.finished_at is None else job.finished_at - (job.started_at or 0.0)
        counters = job.counters
        cells = (
            job.id,
            f"{job.tenant}/{job.entity_type}",
            job.mode,
            f"{job.state}, paused" if job.paused else job.state,
            _moment(job.created_at),
            _duration(took) if job.started_at and isinstance(took, float) else "",
            counters.listed,
            counters.indexed,
            counters.failed,
        )
        table.add_row(*map(_text, cells))
    output().print(table)
    for job in jobs:
        if job.message:
            _say(f"{job.id}: {job.message}")


def show_schedules(schedules: Iterable[JobResource]) -> None:
    """Schedules as the API tells them."""
    table = _table("schedule", "of", "cron", "time zone", "from", "next", "last run", "last job")
    for one in schedules:
        of = one["entity_type"] or f"knowledge base {one['knowledge_base_id']}"
        origin = f"{one['origin']}, changed" if one["overridden"] else one["origin"]
        following = "paused" if one["paused"] else _moment(one["next_at"])
        ran = _moment(one["last_run_at"]) if one["last_run_at"] else "never"
        cells = (one["id"], of, one["cron"], one["timezone"], origin, following, ran)
        table.add_row(*map(_text, (*cells, one["last_job_id"] or "")))
    output().print(table)
    for one in schedules:
        if one["message"]:
            _say(f"{one['id']}: {one['message']}")


def show_backup(backup: Backup, what: str) -> None:
    """A backup that was written or restored."""
    rows: list[Row] = [
        (what, _moment(backup.created_at)),
        ("catalog", f"{sum(backup.rows.values()):,} rows, revision {backup.revision}"),
        ("vectors", ", ".join(backup.collections) or "none"),
    ]
    _show_rows(rows)


def show_findings(findings: Iterable[Finding]) -> None:
    """What a doctor found, each with what to do."""
    from celeriac.doctor import Level

    table = _table("", "check", "found", "what to do")
    for one in findings:
        style = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}[one.level]
        label = Text(one.level.label, style=style)
        table.add_row(label, _text(one.check), _text(one.message), _text(one.remedy))
    output().print(table)


def show_generations(generations: Iterable[Generation]) -> None:
    table = _table("generation", "state", "model", "equal to its source", "partition", "collection")
    for one in generations:
        state = f"{one.state}, rolled back from" if one.rejected_at is not None else one.state
        indexed = "" if one.indexed_at is None else _moment(one.indexed_at)
        cells = (one.number, state, one.model, indexed, one.partition.key, one.collection)
        table.add_row(*map(_text, cells))
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
            rows.append(("equal to its source", _moment(done["indexed_at"])))
    rows.append(("reindex", done["job_id"] or "to be asked for"))
    _show_rows(rows)


def show_hits(hits: Iterable[Hit]) -> None:
    table = _table("score", "entity", "chunk", "text")
    for hit in hits:
        cells = (f"{hit.score:.3f}", hit.entity_id, hit.chunk, " ".join(hit.text.split()))
        table.add_row(*map(_text, cells))
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
    _show_rows(rows)
    errors = [
        EntityFailure(one["entity_id"], one["class"], one["message"]) for one in job["errors"]
    ]
    _show_errors(errors, counters["failed"])


def state_of(job: JobResource) -> str:
    """The state of a job as the API tells it."""
    return f"{job['state']}, paused" if job.get("paused") else str(job["state"])


def _show_errors(errors: Sequence[EntityFailure], count: int) -> None:
    for error in errors[:SHOWN_IDS]:
        _say(f"  {error.entity_id or '(no id)'}: {error.error_class}: {error.message}")
    if count > SHOWN_IDS:
        _say(f"  ... {count:,} entities fail in all")


def _show_rows(rows: Iterable[Row]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, _text(value))
    output().print(table)


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _text(value: object) -> Text:
    return Text(str(value))


def _say(line: str) -> None:
    output().print(line, soft_wrap=True)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 1 else "a second"


def _size(size: float) -> str:
    """Bytes, for people."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:  # noqa: PLR2004 - the step from one unit to the next
            return f"{size:,.0f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= PIPED_WIDTH else f"{text[:PIPED_WIDTH]}..."
