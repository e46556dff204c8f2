"""How commands reach an index: in this process, or through the standalone celeriac that has its
data open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from celeriac.cli_options import open_serving, this_command
from celeriac.errors import ConfigurationError, HomeInUse, NotFound

if TYPE_CHECKING:
    from celeriac.remote import Remote
    from celeriac.runtime import Runtime
    from celeriac.settings import Settings

Found = TypeVar("Found")


def found_of(
    tenant: str,
    entity_type: str,
    here: Callable[[Runtime], Found],
    there: Callable[[Remote], Found],
) -> Found:
    """What is found of an index: `here`, or `there`, by the standalone that has its data open.

    Raises:
        HomeInUse: another process has it open, which serves no API.
    """
    try:
        with runtime_of(tenant, entity_type) as runtime:
            return here(runtime)
    except HomeInUse:
        serving = _serving()
        if serving is None:
            raise
    with serving as remote:
        return there(remote)


def _serving() -> Remote | None:
    from celeriac.settings import Settings

    return open_serving(Settings.load())


@contextmanager
def open_runtime(*, store: bool = True, catalog: bool = True) -> Iterator[Runtime]:
    """What the environment names; where it names no servers, standalone's data.

    Without `store` there may be none; without `catalog` either may be missing.
    """
    from celeriac.runtime import Runtime
    from celeriac.settings import Settings

    settings = Settings.load()
    file = settings.home / "catalog.sqlite"
    if settings.database_url is None and file.exists():
        settings = replace(settings, database_url=f"sqlite:///{file}")
    with ExitStack() as stack:
        if catalog and not store and settings.database_url is None:
            raise _no_data("CELERIAC_DATABASE_URL", settings)
        if store and settings.qdrant_url is None:
            stack.enter_context(_standalone_data(settings))
        runtime = Runtime(settings)
        stack.callback(runtime.close)
        yield runtime


@contextmanager
def runtime_of(tenant: str, entity_type: str, *, store: bool = True) -> Iterator[Runtime]:
    """Likewise, to work on an index of a tenant.

    Raises:
        NotFound: the tenant of an entity type is not declared; names the nearest.
    """
    from celeriac.catalog.knowledge_bases import KEY_PREFIX

    with open_runtime(store=store) as runtime:
        if not entity_type.startswith(KEY_PREFIX):
            require_tenant(runtime, tenant)
        yield runtime


def require_tenant(runtime: Runtime, tenant: str) -> None:
    """Whoever has the configuration file may know what tenants there are; the API tells nobody.

    Raises:
        NotFound: the tenant is not declared; names the nearest.
    """
    from celeriac.configuration.problems import suggestion

    configuration = runtime.settings.configuration
    if configuration.path is not None and tenant not in configuration.tenants:
        hint = suggestion(tenant, configuration.tenants)
        raise NotFound(f"There is no tenant {tenant!r} in {configuration.path}; {hint}")


@contextmanager
def _standalone_data(settings: Settings) -> Iterator[None]:
    """Hold standalone's data folder, as standalone does while it runs.

    Raises:
        ConfigurationError: another process holds it, or there is no such folder.
    """
    if not (settings.home / "qdrant").exists():
        raise _no_data("CELERIAC_QDRANT_URL", settings)
    from celeriac.home import home_lock

    with home_lock(settings.home, this_command()):
        yield


def _no_data(variable: str, settings: Settings) -> ConfigurationError:
    return ConfigurationError(
        f"{variable} is not set, and a standalone celeriac has no data in {settings.home}; "
        "set it, or set CELERIAC_HOME to standalone's folder."
    )
