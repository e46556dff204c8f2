"""The commands `celeriac backup` and `celeriac restore`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from celeriac import console, terminal
from celeriac.cli_options import as_json, this_command

if TYPE_CHECKING:
    from celeriac.backup import Vectors
    from celeriac.catalog import Catalog
    from celeriac.settings import Settings

folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.command()
@folder_argument
@as_json
def backup(folder: Path, as_json: bool) -> None:
    """Write the catalog and the vectors to FOLDER; servers may go on meanwhile."""
    from celeriac.backup import back_up

    with _opened() as (catalog, vectors):
        made = back_up(catalog, vectors, folder)
    terminal.show_json(made) if as_json else console.show_backup(made, "written")


@click.command()
@folder_argument
@click.option("--overwrite", is_flag=True, help="Lose what is there now.")
@as_json
def restore(folder: Path, overwrite: bool, as_json: bool) -> None:
    """Bring a backup back while nothing else runs, and queue a reindex of every index."""
    from celeriac.backup import restore as bring_back

    with _opened() as (catalog, vectors):
        catalog.migrate()
        found = bring_back(catalog, vectors, folder, overwrite=overwrite)
    terminal.show_json(found) if as_json else console.show_backup(found, "restored")


@contextmanager
def _opened() -> Iterator[tuple[Catalog, Vectors]]:
    """What the environment names; where it names no servers, standalone's data."""
    from celeriac.catalog import Catalog
    from celeriac.home import home_lock
    from celeriac.settings import Settings

    settings = Settings.load()
    with ExitStack() as stack:
        if settings.qdrant_url is None:
            stack.enter_context(home_lock(settings.home, this_command()))
        url = settings.database_url or f"sqlite:///{settings.home / 'catalog.sqlite'}"
        yield stack.enter_context(closing(Catalog(url))), _vectors(settings)


def _vectors(settings: Settings) -> Vectors:
    from celeriac.backup import LocalVectors, ServerVectors

    if settings.qdrant_url is None:
        return LocalVectors(settings.home / "qdrant")
    return ServerVectors(settings.qdrant_url, settings.qdrant_api_key)
