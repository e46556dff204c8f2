"""What commands of `celeriac` share: options, and the way to the API."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from celeriac.errors import ConfigurationError

if TYPE_CHECKING:
    from celeriac.remote import Remote
    from celeriac.runtime import Runtime
    from celeriac.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

OpenRuntime = Callable[..., AbstractContextManager["Runtime"]]
"""Opens what the environment names; every command has it as its `click` object."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


strict = click.option(
    "--strict", is_flag=True, help="Status 3 also if entities could not be indexed in the end."
)


def of_type(command: Command) -> Command:
    """Arguments that name an entity type."""
    return click.argument("tenant")(click.argument("entity_type", metavar="TYPE")(command))


def through_api(command: Command) -> Command:
    """Options that name an API; the defaults are standalone's."""
    url = click.option("--url", help="The API; CELERIAC_HOST and CELERIAC_PORT by default.")
    key = click.option("--key", help="Its key; better set CELERIAC_API_KEY.")
    return url(key(command))


def this_command() -> str:
    """The command that runs, such as `celeriac plan`, without its arguments: others see it."""
    return click.get_current_context().command_path


def open_remote(url: str | None, key: str | None) -> Remote:
    """The API that the options name; of the standalone that runs here a key need not be named.

    Raises:
        ConfigurationError: there is no key.
    """
    from celeriac.home import served, url_of
    from celeriac.settings import Settings

    settings = Settings.load()
    url = url or url_of(settings.host, settings.port)
    ours = served(settings.home)
    made = ours.key if ours is not None and ours.url == url else None
    return _remote(url, key or made or settings.api_key)


def open_serving(settings: Settings) -> Remote | None:
    """The API of the process that has the data folder open; None where it has none.

    Raises:
        ConfigurationError: there is no key.
    """
    from celeriac.home import served

    found = served(settings.home)
    return None if found is None else _remote(found.url, found.key or settings.api_key)


def _remote(url: str, key: str | None) -> Remote:
    from celeriac.remote import Remote

    if not key:
        raise ConfigurationError(
            f"There is no key for the API at {url}: set CELERIAC_API_KEY, or give --key; "
            "standalone prints its key when it starts."
        )
    return Remote(url, key)
