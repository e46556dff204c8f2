"""A real installation examined: its servers, their settings, clocks, models, the machine.

Nothing is written, created or migrated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from celeriac.doctor import broker, clocks, database, gpu, machine, models, store
from celeriac.doctor.findings import Finding, Findings, Level, error, fine, warning
from celeriac.errors import CeleriacError
from celeriac.settings import Settings

__all__ = ["Finding", "Level", "examine"]

Clock = Callable[[], float]


def examine(
    settings: Settings, *, load_models: bool = False, clock: Clock = time.time
) -> Iterator[Finding]:
    """Every finding, check by check; a check that cannot be made is an error of its own.

    `load_models` loads what is declared and embeds a text with it; `clock` is this machine's.
    """
    yield from _configuration(settings)
    yield from _guarded("redis", lambda: broker.findings(settings, clock))
    yield from _guarded("catalog", lambda: database.findings(settings))
    yield from _guarded("clocks", lambda: clocks.findings(settings, clock))
    yield from _guarded("qdrant", lambda: store.findings(settings))
    yield from _guarded("models", lambda: models.findings(settings, load=load_models))
    yield from _guarded("gpu", lambda: gpu.findings(settings))
    yield from _guarded("disk", lambda: machine.disk(settings.home))


def _guarded(check: str, look: Callable[[], Findings]) -> Findings:
    try:
        yield from look()
    except CeleriacError as problem:
        yield error(check, str(problem))


def _configuration(settings: Settings) -> Findings:
    for variable in settings.unknown_variables:
        yield warning("configuration", str(variable), "Correct its name, or unset it.")
    declared = sum(len(one.entity_types) for one in settings.configuration.tenants.values())
    if settings.configuration.path is None:
        yield warning(
            "configuration",
            "CELERIAC_CONFIG is not set: no entity type is declared.",
            "Declare some in a file and name it in CELERIAC_CONFIG.",
        )
    else:
        yield fine("configuration", f"{settings.configuration.path}: {declared} entity types")
