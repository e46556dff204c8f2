"""The commands `celeriac schedules`: what is reindexed by itself, through the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from celeriac import console, terminal
from celeriac.cli_options import Command, as_json, of_type, open_remote, through_api

if TYPE_CHECKING:
    from celeriac.remote import JobResource, Remote


@click.group()
def schedules() -> None:
    """Schedules: list, add, change, pause, resume and remove them."""


def of_schedule(command: Command) -> Command:
    """Arguments that name a schedule, and the options of a command through the API."""
    named = click.argument("schedule_id", metavar="SCHEDULE")(through_api(as_json(command)))
    return click.argument("tenant")(named)


@schedules.command("list")
@click.argument("tenant")
@through_api
@as_json
def list_schedules(tenant: str, url: str | None, key: str | None, as_json: bool) -> None:
    """List the schedules of TENANT: when each ran last, when it will next."""
    with open_remote(url, key) as remote:
        found = remote.schedules(tenant)
    terminal.show_json(found) if as_json else console.show_schedules(found["schedules"])


@schedules.command()
@of_type
@click.argument("cron")
@click.option("--timezone", default="UTC", show_default=True, help="Whose clocks count.")
@through_api
@as_json
def add(*, tenant: str, entity_type: str, cron: str, timezone: str, **options: Any) -> None:
    """Have an entity type reindexed at more times: CRON has five fields, in quotes."""
    _do(lambda remote: remote.add_schedule(tenant, entity_type, cron, timezone), **options)


@schedules.command()
@of_schedule
@click.option("--cron", help="Five fields, in quotes.")
@click.option("--timezone", help="Whose clocks count.")
def change(
    *, tenant: str, schedule_id: str, cron: str | None, timezone: str | None, **options: Any
) -> None:
    """Have a schedule due at other times."""
    given = {name: one for name, one in (("cron", cron), ("timezone", timezone)) if one is not None}
    if not given:
        raise click.UsageError("Give --cron, --timezone or both.")
    _do(lambda remote: remote.change_schedule(tenant, schedule_id, **given), **options)


@schedules.command()
@of_schedule
def pause(tenant: str, schedule_id: str, **options: Any) -> None:
    """Have a schedule not run until it is resumed."""
    _do(lambda remote: remote.pause_schedule(tenant, schedule_id), **options)


@schedules.command()
@of_schedule
def resume(tenant: str, schedule_id: str, **options: Any) -> None:
    """Have a schedule run again; what was due meanwhile is not caught up."""
    _do(lambda remote: remote.resume_schedule(tenant, schedule_id), **options)


@schedules.command()
@of_schedule
def delete(tenant: str, schedule_id: str, url: str | None, key: str | None, as_json: bool) -> None:
    """Remove a schedule that was added; one that is declared can be paused."""
    with open_remote(url, key) as remote:
        remote.delete_schedule(tenant, schedule_id)
    if as_json:
        terminal.show_json({"id": schedule_id, "deleted": True})
    else:
        click.echo(f"The schedule {schedule_id} is removed.")


def _do(
    change: Callable[[Remote], JobResource], *, url: str | None, key: str | None, as_json: bool
) -> None:
    """Do something to a schedule and show it as it is then."""
    with open_remote(url, key) as remote:
        schedule = change(remote)
    terminal.show_json(schedule) if as_json else console.show_schedules([schedule])
