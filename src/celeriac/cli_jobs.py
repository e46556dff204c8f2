"""Jobs through the REST API: `celeriac reindex`, `retry`, `confirm-removal`, `rollback`, and what
steers a job."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from celeriac import console, terminal
from celeriac.cli_options import Command, as_json, of_type, open_remote, strict, through_api
from celeriac.errors import TransientError
from celeriac.model import MAX_RATE, MIN_RATE, PRIORITIES

if TYPE_CHECKING:
    from celeriac.remote import JobResource, Remote

NOT_SUCCEEDED = 3
"""Exit status: a job that was watched did not succeed."""
POLL_INTERVAL = 0.5
PATIENCE = 60.0
"""Seconds that a watch goes on while the API does not answer."""


def watched(command: Command) -> Command:
    """Options of a command that asks for a job."""
    watch = click.option(
        "--watch", is_flag=True, help="Stay until the job ends; status 3 if it fails."
    )
    return watch(strict(command))


def of_job(command: Command) -> Command:
    """The argument that names a job, and the options of a command through the API."""
    return click.argument("job_id", metavar="JOB")(through_api(as_json(command)))


@click.command()
@of_type
@watched
@through_api
@as_json
def reindex(
    *,
    tenant: str,
    entity_type: str,
    watch: bool,
    strict: bool,
    url: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Ask for a reindex through the API."""
    with open_remote(url, key) as remote:
        job_id = remote.reindex(tenant, entity_type)
        _follow(remote, job_id, watch or strict, as_json, strict=strict)


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--class", "error_class", metavar="CLASS", help="Only what failed with this error.")
@click.option("--retryable-only", is_flag=True, help="Only what may succeed as it stands.")
@watched
@through_api
@as_json
def retry(
    *,
    job_id: str,
    error_class: str | None,
    retryable_only: bool,
    watch: bool,
    strict: bool,
    url: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Retry the entities that failed in a job, and nothing else, through the API."""
    with open_remote(url, key) as remote:
        new = remote.retry(job_id, error_class, retryable_only=retryable_only)
        _follow(remote, new, watch or strict, as_json, strict=strict)


@click.command("confirm-removal")
@click.argument("job_id", metavar="JOB")
@watched
@through_api
@as_json
def confirm_removal(
    *, job_id: str, watch: bool, strict: bool, url: str | None, key: str | None, as_json: bool
) -> None:
    """Reindex once more after JOB refused to remove that much, with leave to, through the API."""
    with open_remote(url, key) as remote:
        _follow(remote, remote.confirm_removal(job_id), watch or strict, as_json, strict=strict)


@click.command()
@of_job
def cancel(job_id: str, url: str | None, key: str | None, as_json: bool) -> None:
    """Cancel a job through the API; it writes nothing after its next batch."""
    _steer(url, key, as_json, lambda remote: remote.cancel(job_id))


@click.command()
@of_job
def pause(job_id: str, url: str | None, key: str | None, as_json: bool) -> None:
    """Hold a job up through the API; it writes nothing after its next batch."""
    _steer(url, key, as_json, lambda remote: remote.pause(job_id))


@click.command()
@of_job
def resume(job_id: str, url: str | None, key: str | None, as_json: bool) -> None:
    """Let a paused job go on through the API."""
    _steer(url, key, as_json, lambda remote: remote.resume(job_id))


@click.command()
@of_job
@click.argument("rate", metavar="RATE|off")
def throttle(job_id: str, url: str | None, key: str | None, as_json: bool, rate: str) -> None:
    """Let a job list RATE entities a second at most, from now on, through the API."""
    limit = _rate(rate)
    _steer(url, key, as_json, lambda remote: remote.throttle(job_id, limit))


@click.command()
@of_job
@click.argument("priority", type=click.Choice(PRIORITIES))
def priority(job_id: str, url: str | None, key: str | None, as_json: bool, priority: str) -> None:
    """Give a job another priority through the API; pages of higher ones go first."""
    _steer(url, key, as_json, lambda remote: remote.prioritise(job_id, priority))


def _steer(
    url: str | None, key: str | None, as_json: bool, do: Callable[[Remote], JobResource]
) -> None:
    """Do something to a job and show it as it is then."""
    with open_remote(url, key) as remote:
        job = do(remote)
    terminal.show_json(job) if as_json else console.show_job(job)


def _rate(text: str) -> float | None:
    """Entities a second; None for `off`."""
    if text == "off":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not MIN_RATE <= rate <= MAX_RATE:
        wanted = f"a number from {MIN_RATE} to {MAX_RATE:,}, or off"
        raise click.BadParameter(f"{text!r} is not {wanted}.", param_hint="RATE")
    return rate


@click.command()
@of_type
@click.option("--undo", is_flag=True, help="Accept again what was rolled back from.")
@through_api
@as_json
def rollback(
    *, tenant: str, entity_type: str, undo: bool, url: str | None, key: str | None, as_json: bool
) -> None:
    """Go back to the generation that was live before, through the API.

    What is declared is not built again until it changes, or until --undo.
    """
    with open_remote(url, key) as remote:
        done = remote.roll_back(tenant, entity_type, undo=undo)
    terminal.show_json(done) if as_json else console.show_rollback(done)


def _follow(remote: Remote, job_id: str, watch: bool, as_json: bool, *, strict: bool) -> None:
    """Show a job that was asked for, at its end where it is watched."""
    from celeriac.catalog.jobs import JobState

    job = remote.job(job_id)
    if watch:
        job = _watched(remote, job)
    terminal.show_json(job) if as_json else console.show_job(job)
    lacks = strict and job["counters"]["failed"]
    if watch and (lacks or job["state"] != JobState.SUCCEEDED):
        sys.exit(NOT_SUCCEEDED)


def _watched(remote: Remote, job: JobResource) -> JobResource:
    """The job at its end, with a bar on stderr meanwhile."""
    from celeriac.catalog.jobs import JobState

    answered = time.monotonic()
    with terminal.bar() as show:
        while job["state"] in (JobState.QUEUED, JobState.RUNNING):
            time.sleep(POLL_INTERVAL)
            try:
                job = remote.job(job["id"])
                answered = time.monotonic()
            except TransientError:
                if time.monotonic() - answered > PATIENCE:
                    raise
            said = job.get("waiting") or f"{job['counters']['listed']:,} entities"
            show(console.state_of(job), job["progress_percentage"], said)
    return job


COMMANDS = (reindex, retry, confirm_removal, cancel, pause, resume, throttle, priority, rollback)
