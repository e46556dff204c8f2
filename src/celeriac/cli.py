"""The command `celeriac`.

`index`, `plan`, `capacity`, `audit`, `explain`, `search`, `jobs`, `indexes`, `generations`, `keys`
and `doctor` work in this process, on the servers that the environment names or on the data of a
standalone celeriac; what its vectors are needed for is asked of it while it runs.
`reindex`, `retry`, `confirm-removal`, `rollback`, `cancel`, `pause`, `resume`, `throttle`,
`priority` and `schedules` go through the REST API.

Exit status: 0 fine, 1 an error, told in one line on stderr, 2 wrong usage, 3 an audit found
differences, a job did not succeed or would not, a doctor warns or, with `--strict`, an entity
could not be indexed.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

import click

import celeriac
from celeriac import console, terminal
from celeriac.cli_access import found_of, open_runtime, require_tenant, runtime_of
from celeriac.cli_backup import backup, restore
from celeriac.cli_capacity import capacity
from celeriac.cli_index import index
from celeriac.cli_jobs import COMMANDS
from celeriac.cli_keys import keys
from celeriac.cli_options import as_json, of_type, strict
from celeriac.cli_schedules import schedules
from celeriac.errors import CeleriacError, ConfigurationError, NotFound
from celeriac.filter_text import parse_filters

if TYPE_CHECKING:
    from celeriac.explain import Explanation

DIFFERENT = 3
"""Exit status: an audit found differences, or a doctor warns."""


class Failure(click.ClickException):
    """An error told in one line."""

    def show(self, file: IO[Any] | None = None) -> None:
        line = "; ".join(self.message.splitlines())
        click.echo(f"celeriac: {line}", file=file, err=file is None)


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (CeleriacError, sqlite3.Error) as error:
            raise Failure(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(celeriac.__version__, prog_name="celeriac")
@click.pass_context
def main(context: click.Context) -> None:
    """Keep Qdrant equal to where your data lives.

    Exit status: 0 fine, 1 error, 2 wrong usage, 3 an audit found differences, a job did not succeed
    or a doctor warns.
    """
    context.obj = open_runtime


main.add_command(backup)
main.add_command(restore)
main.add_command(capacity)
main.add_command(index)
main.add_command(keys)
main.add_command(schedules)
for _command in COMMANDS:
    main.add_command(_command)


@main.command()
@of_type
@as_json
def plan(tenant: str, entity_type: str, as_json: bool) -> None:
    """Tell what a reindex would do, without writing anything.

    Ends with status 3 where the reindex would fail.
    """
    from celeriac.plan import plan as run_plan

    with _counting("listing the source") as listed:
        found = found_of(
            tenant,
            entity_type,
            lambda runtime: run_plan(runtime, tenant, entity_type, checkpoint=listed),
            lambda remote: remote.plan(tenant, entity_type, listed),
        )
    terminal.show_json(found) if as_json else console.show_plan(found)
    if found.refusal is not None:
        sys.exit(DIFFERENT)


@main.command()
@of_type
@click.option("--repair", is_flag=True, help="Mend what differs, and only that.")
@strict
@as_json
def audit(*, tenant: str, entity_type: str, repair: bool, strict: bool, as_json: bool) -> None:
    """Compare the source with the index, entity by entity and chunk by chunk.

    Ends with status 3 where they differ when it is done.
    """
    from celeriac.audit import audit as run_audit

    with _counting("listing the source") as listed:
        found = found_of(
            tenant,
            entity_type,
            lambda runtime: run_audit(
                runtime, tenant, entity_type, repair=repair, checkpoint=listed
            ),
            lambda remote: remote.audit(tenant, entity_type, listed, repair=repair),
        )
    if as_json:
        terminal.show_json({**asdict(found), "equal": found.equal})
    else:
        console.show_audit(found)
    if not found.equal or (strict and found.failed):
        sys.exit(DIFFERENT)


@main.command()
@of_type
@click.argument("entity_id", metavar="ID")
@as_json
def explain(tenant: str, entity_type: str, entity_id: str, as_json: bool) -> None:
    """Show one entity as it stands in the index, and its last error.

    Ends with status 1 where neither the index nor any job knows of it.
    """
    from celeriac.explain import explain as run_explain

    found = found_of(
        tenant,
        entity_type,
        lambda runtime: run_explain(runtime, tenant, entity_type, entity_id),
        lambda remote: remote.explain(tenant, entity_type, entity_id),
    )
    if found.unknown and not as_json:
        raise NotFound(_unknown(found))
    terminal.show_json(found) if as_json else console.show_explanation(found)
    if found.unknown:
        sys.exit(1)


def _unknown(found: Explanation) -> str:
    near = " or ".join(repr(one) for one in found.similar)
    hint = f"did you mean {near}?" if near else "no id that is indexed is like it"
    where = f"{found.tenant}/{found.entity_type}"
    return f"Nothing is known of an entity {found.entity_id!r} of {where}; {hint}"


@main.command()
@of_type
@click.argument("text")
@click.option("--top-k", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Or KEY=[A, B], KEY>=VALUE and so on; may be repeated.",
)
@as_json
def search(
    *, tenant: str, entity_type: str, text: str, top_k: int, filters: tuple[str, ...], as_json: bool
) -> None:
    """Find the chunks nearest to TEXT; loads the model."""
    from celeriac.search import search as run_search

    try:
        wanted = parse_filters(filters)
    except ConfigurationError as error:
        raise click.BadParameter(str(error), param_hint="--filter") from error
    question = (tenant, entity_type, text)
    hits = found_of(
        tenant,
        entity_type,
        lambda runtime: run_search(runtime, *question, top_k=top_k, filters=wanted),
        lambda remote: remote.search(*question, top_k=top_k, filters=wanted),
    )
    terminal.show_json({"hits": hits}) if as_json else console.show_hits(hits)


@main.command()
@click.option("--tenant", help="Only this tenant's.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@as_json
def jobs(tenant: str | None, limit: int, as_json: bool) -> None:
    """List the newest jobs."""
    with open_runtime(store=False) as runtime:
        found = runtime.catalog.jobs.recent(tenant=tenant, limit=limit)
        titles = runtime.catalog.overviews.titles(None if tenant is None else [tenant])
    terminal.show_json(found) if as_json else console.show_jobs(found, titles)


@main.command()
@click.argument("tenant", required=False)
@as_json
def indexes(tenant: str | None, as_json: bool) -> None:
    """List the indexes, all or a TENANT's: how they stand, how fresh and how large they are."""
    from celeriac.overview import overview, resource

    with open_runtime(store=False) as runtime:
        found = overview(runtime, None if tenant is None else [tenant])
        if tenant is not None and not found:
            require_tenant(runtime, tenant)
    shown = [resource(one, time.time()) for one in found]
    terminal.show_json(shown) if as_json else console.show_indexes(shown)


@main.command()
@of_type
@as_json
def generations(tenant: str, entity_type: str, as_json: bool) -> None:
    """List the generations of an index: which is live, which can be gone back to."""
    from celeriac.generations import index_of

    with runtime_of(tenant, entity_type, store=False) as runtime:
        index = index_of(runtime, runtime.entity_type(tenant, entity_type))
        found = runtime.catalog.generations.of_index(index.id)
    if as_json:
        terminal.show_json([{**asdict(one), "partition": one.partition.key} for one in found])
    else:
        console.show_generations(found)


@main.command()
@click.option("--models", is_flag=True, help="Load the declared models and embed a text with each.")
@as_json
def doctor(models: bool, as_json: bool) -> None:
    """Examine this installation: servers, their settings, clocks, models, this machine.

    Ends with status 1 where something is wrong, with 3 where there is only something to think of.
    """
    from celeriac.doctor import Level, examine
    from celeriac.settings import Settings

    with _counting("examining"):
        found = list(examine(Settings.load(), load_models=models))
    worst = max(one.level for one in found)
    if as_json:
        shown = [{**asdict(one), "level": one.level.label} for one in found]
        terminal.show_json({"level": worst.label, "findings": shown})
    else:
        console.show_findings(found)
    sys.exit({Level.OK: 0, Level.WARNING: DIFFERENT, Level.ERROR: 1}[worst])


@contextmanager
def _counting(what: str) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far it is, where that is a terminal."""
    with terminal.output(errors=True).status(what) as status:
        yield lambda listed: status.update(f"{what}: {listed:,} entities")


if __name__ == "__main__":
    main()
