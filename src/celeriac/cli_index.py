"""The command `celeriac index`: a folder or a file, indexed and searched without any server."""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from celeriac import console, terminal
from celeriac.cli_options import as_json, strict, this_command
from celeriac.documents import media_type_of
from celeriac.embedding.models import DEFAULT_MODEL
from celeriac.errors import ConfigurationError
from celeriac.model import MIN_CHUNK_SIZE

if TYPE_CHECKING:
    from celeriac.catalog.jobs import Job
    from celeriac.runtime import Runtime
    from celeriac.settings import Settings

LOCAL = "local"
"""The tenant of what is in a folder; on a server, which others may use, it has a random end."""
FILE = "indexed.yaml"
"""In the data folder: what was indexed, as a configuration file."""
NOT_SUCCEEDED = 3


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="Under which name it is searched; the folder's or file's by default.")
@click.option(
    "--into",
    metavar="URL|FOLDER",
    help="A Qdrant server, or a folder for everything; CELERIAC_QDRANT_URL, or else CELERIAC_HOME.",
)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="The embedding model.")
@click.option("--id", "id_field", help="Of records (.jsonl, .csv, .parquet): the field of the id.")
@click.option("--text-field", "text_fields", multiple=True, help="Of records; may be repeated.")
@click.option("--chunk-size", type=click.IntRange(MIN_CHUNK_SIZE), default=256, show_default=True)
@click.option(
    "--confirm-removal", is_flag=True, help="Remove however much of it is gone from PATH."
)
@strict
@as_json
def index(
    *,
    path: Path,
    name: str | None,
    into: str | None,
    model: str,
    id_field: str | None,
    text_fields: tuple[str, ...],
    chunk_size: int,
    confirm_removal: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Index PATH, a folder or a file, in this process; again, and only what changed is embedded.

    Ends with status 3 where that did not succeed.
    """
    from celeriac.inline import Inline

    name = name or _name_of(path)
    declared = {
        "source": _source(path, id_field),
        "text_fields": list(text_fields) or _text_fields(path),
        "index": {"model": model, "chunk_size": chunk_size},
    }
    with _opened(into, name, declared) as (runtime, tenant), console.job_bar() as heard:
        limit = 1.0 if confirm_removal else None
        job = Inline(runtime).reindex(tenant, name, removal_limit=limit, heard=heard)
        errors = runtime.catalog.job_errors.first(job.id)
        hint = _search_hint(runtime.settings, tenant, name)
    if as_json:
        terminal.show_json({"job": job, "errors": errors, "search": hint})
    else:
        console.show_indexed(job, errors)
    _end(job, hint, strict=strict, as_json=as_json)


def _end(job: Job, hint: str, *, strict: bool, as_json: bool) -> None:
    from celeriac.catalog.jobs import JobState

    if job.state == JobState.SUCCEEDED and not as_json:
        click.echo(f"Search it with:\n  {hint}")
    if job.state != JobState.SUCCEEDED or (strict and job.counters.failed):
        sys.exit(NOT_SUCCEEDED)


def _name_of(path: Path) -> str:
    """A name that an entity type may have."""
    name = re.sub(r"[^a-z0-9]+", "-", path.resolve().stem.lower()).strip("-")
    return name if name[:1].isalpha() else f"files-{name}".rstrip("-")


def _source(path: Path, id_field: str | None) -> dict[str, Any]:
    id_option = {"id": id_field} if id_field else {}
    # In the file, a $ before a { would begin a variable.
    return {"kind": "files", "path": str(path.resolve()).replace("${", "$${"), **id_option}


def _text_fields(path: Path) -> list[str]:
    if path.is_dir() or media_type_of(path.name):
        return ["title", "text"]
    raise click.UsageError(
        f"{path.name} holds records: say which fields are text, --text-field title, and which one "
        "is the id, --id sku."
    )


@contextmanager
def _opened(into: str | None, name: str, declared: dict[str, Any]) -> Iterator[tuple[Runtime, str]]:
    """A runtime on the data folder, in which this is declared too, and under which tenant."""
    from celeriac.configuration import load_configuration
    from celeriac.home import embedded_redis, home_lock
    from celeriac.runtime import Runtime

    settings = _settings(into)
    with ExitStack() as stack:
        stack.enter_context(home_lock(settings.home, this_command()))
        tenant = _declare(settings, name, declared)
        configuration = load_configuration(settings.home / FILE, {})
        redis_url = stack.enter_context(embedded_redis(settings.home / "redis"))
        # Not the deployment's: its workers know nothing of what is declared here.
        runtime = Runtime(
            replace(
                settings,
                configuration=configuration,
                redis_url=redis_url,
                database_url=f"sqlite:///{settings.home}/catalog.sqlite",
            )
        )
        stack.callback(runtime.close)
        yield runtime, tenant


def _settings(into: str | None) -> Settings:
    from celeriac.settings import Settings

    settings = Settings.load()
    if into is None:
        return settings
    if into.startswith(("http://", "https://")):
        return replace(settings, qdrant_url=into)
    return replace(settings, home=Path(into).expanduser().absolute(), qdrant_url=None)


def _declare(settings: Settings, name: str, declared: dict[str, Any]) -> str:
    """Declare it in the folder's configuration file; its tenant.

    Raises:
        ConfigurationError: it would not be valid; then the file stays as it was.
    """
    from celeriac.configuration import load_configuration

    file = settings.home / FILE
    before = file.read_text("utf-8") if file.exists() else None
    data = yaml.safe_load(before or "") or {"tenants": {}}
    tenant = _tenant(data["tenants"], shared=settings.qdrant_url is not None)
    data["tenants"].setdefault(tenant, {"entity_types": {}})["entity_types"][name] = declared
    file.write_text(yaml.safe_dump(data, allow_unicode=True), "utf-8")
    try:
        load_configuration(file, {})
    except ConfigurationError:
        _put_back(file, before)
        raise
    return tenant


def _tenant(tenants: Mapping[str, Any], *, shared: bool) -> str:
    if not shared:
        return LOCAL
    known = (tenant for tenant in tenants if tenant != LOCAL)
    return next(known, f"{LOCAL}{secrets.token_hex(4)}")


def _put_back(file: Path, text: str | None) -> None:
    if text is None:
        file.unlink()
    else:
        file.write_text(text, "utf-8")


def started_as() -> str:
    """How this command was started, so that another can be: its name where that is on PATH."""
    started = Path(sys.argv[0])
    if started.name == "celeriac":
        found = shutil.which("celeriac")
        on_path = found is not None and Path(found).resolve() == started.resolve()
        return "celeriac" if on_path else shlex.quote(str(started))
    return f"{shlex.quote(sys.executable)} -m celeriac.cli"


def _search_hint(settings: Settings, tenant: str, name: str) -> str:
    variables = {
        "CELERIAC_HOME": str(settings.home),
        "CELERIAC_CONFIG": str(settings.home / FILE),
        "CELERIAC_QDRANT_URL": settings.qdrant_url or "",
        "CELERIAC_DATABASE_URL": "",
    }
    needed = {key: one for key, one in variables.items() if one or settings.environ.get(key)}
    given = " ".join(f"{key}={shlex.quote(value)}" for key, value in needed.items())
    return f"{given} {started_as()} search {tenant} {name} 'what you look for'"
