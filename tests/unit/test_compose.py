"""compose.yaml and the Dockerfile say what can be run, and agree with the code they start."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import assert_celery_knows
from gunicorn.config import Config as GunicornConfig
from jsonschema import Draft202012Validator
from sqlalchemy.engine import make_url

from celeriac.settings import VARIABLES, Settings

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMA = ROOT / "tests" / "data" / "compose" / "compose-spec.json"
WRITTEN = (ROOT / "compose.yaml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(WRITTEN)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SERVERS = {name: service for name, service in SERVICES.items() if "build" not in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
STAGES = {
    found[2]: (found[1], found[3].splitlines())
    for found in re.finditer(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.M | re.S)
}
"""What each stage begins with, and its lines."""

REFERENCE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")
GIVEN = {"POSTGRES_PASSWORD": "password", "CELERIAC_API_KEY": "key"}
"""What whoever starts it has to set."""
DATA_FOLDERS = {
    "redis": "/data",
    "postgres": "/var/lib/postgresql/data",
    "qdrant": "/qdrant/storage",
}
NOBODY_ASKS = {"beat"}
"""Services that answer no request, so that nothing can tell whether they are well."""


def interpolated(text: str) -> str:
    """As compose does it: a variable that is not given has a default."""
    return REFERENCE.sub(lambda found: GIVEN.get(found[1]) or found[3], text)


def stage(target: str) -> list[str]:
    """The Dockerfile's lines of one stage, after those of the stages it begins with."""
    if target not in STAGES:
        return []
    parent, lines = STAGES[target]
    return [*stage(parent), *lines]


def command_of(service: Mapping[str, Any]) -> list[str]:
    """What a container runs: the service's command, or its image's."""
    if "command" in service:
        return list(service["command"])
    image = stage(service["build"]["target"])
    commands = [line.removeprefix("CMD ") for line in image if line.startswith("CMD ")]
    command: list[str] = json.loads(commands[-1])
    return command


def mounts(name: str) -> list[tuple[str, str]]:
    """Source and place of a service's volumes."""
    found = [
        re.fullmatch(r"(\$\{[^}]*\}|[^:]+):([^:]+)(?::ro)?", volume)
        for volume in SERVICES[name]["volumes"]
    ]
    assert all(found)
    return [(one[1], one[2]) for one in found if one]


def test_it_keeps_to_the_compose_specification() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))

    problems = [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(COMPOSE)
    ]

    assert problems == []


def test_all_parts_are_there() -> None:
    assert set(SERVICES) == {"redis", "postgres", "qdrant", "api", "worker", "beat", "flower"}


@pytest.mark.parametrize("name", OURS)
def test_the_environment_is_one_that_settings_accept(name: str) -> None:
    environ = {key: interpolated(value) for key, value in SERVICES[name]["environment"].items()}
    folder, mounted = (interpolated(part) for part in mounts(name)[0])
    environ["CELERIAC_CONFIG"] = environ["CELERIAC_CONFIG"].replace(mounted, str(ROOT / folder))

    settings = Settings.load(environ)

    assert set(environ) <= {variable.name for variable in VARIABLES}
    assert settings.unknown_variables == ()
    assert settings.configuration.tenants


@pytest.mark.parametrize("name", OURS)
def test_every_url_leads_to_a_service(name: str) -> None:
    environ = SERVICES[name]["environment"]
    hosts = {
        re.sub(r"^\w[\w+]*://(?:[^@/]*@)?([\w.-]+).*", r"\1", interpolated(value))
        for key, value in environ.items()
        if key.endswith("_URL")
    }

    assert hosts == set(SERVERS) == set(SERVICES[name]["depends_on"])


def test_the_catalog_is_the_database_that_the_server_makes() -> None:
    made = {key: interpolated(value) for key, value in SERVICES["postgres"]["environment"].items()}
    url = make_url(interpolated(SERVICES["worker"]["environment"]["CELERIAC_DATABASE_URL"]))

    assert made == {
        "POSTGRES_USER": url.username,
        "POSTGRES_PASSWORD": url.password,
        "POSTGRES_DB": url.database,
    }


@pytest.mark.parametrize("name", OURS)
def test_the_command_exists(name: str) -> None:
    program, *arguments = command_of(SERVICES[name])

    if program == "gunicorn":
        parsed = GunicornConfig().parser().parse_args(arguments)
        module, factory = re.fullmatch(r"(\w+):(\w+)\(\)", parsed.args[0]).groups()
        assert callable(getattr(importlib.import_module(module), factory))
    else:
        assert program == "celery"
        assert_celery_knows(arguments)


def test_flower_has_its_options_and_the_key_that_is_its_password() -> None:
    from flower.options import default_options  # noqa: F401 - defines them
    from tornado.options import options

    given = [part for part in command_of(SERVICES["flower"]) if part.startswith("--")]
    names = {part.removeprefix("--").partition("=")[0].replace("-", "_") for part in given}

    assert names <= {name.replace("-", "_") for name in options._options}
    assert "read_only" in names
    assert SERVICES["flower"]["environment"]["CELERIAC_API_KEY"]


def test_redis_keeps_what_it_is_given() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))

    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--maxmemory-policy": "noeviction",
    }


@pytest.mark.parametrize("name", SERVICES)
def test_it_is_restarted_and_looked_after(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    assert ("healthcheck" in service) != (name in NOBODY_ASKS)
    for condition in service.get("depends_on", {}).values():
        assert condition == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_keeps_its_data_and_is_not_open_to_the_network(name: str) -> None:
    volume, folder = mounts(name)[0]

    assert folder == DATA_FOLDERS[name]
    assert volume in COMPOSE["volumes"]
    assert "ports" not in SERVICES[name]


@pytest.mark.parametrize("name", OURS)
def test_ports_are_open_on_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVERS)
def test_images_are_pinned(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")

    assert re.match(r"v?\d+", tag)


def test_whatever_has_to_be_set_is_explained() -> None:
    comment, _, _ = WRITTEN.partition("x-celeriac:")
    referred = {found[1] for found in REFERENCE.finditer(WRITTEN) if found[1] != "NAME"}

    assert referred == {*GIVEN, "CONFIG_FOLDER"}
    assert all(name in comment for name in referred)


@pytest.mark.parametrize("name", OURS)
def test_the_image_does_not_run_as_root(name: str) -> None:
    users = [line for line in stage(SERVICES[name]["build"]["target"]) if line.startswith("USER ")]

    assert users
    assert all(int(line.split()[1]) >= 1000 for line in users)


def test_the_images_begin_with_a_pinned_python() -> None:
    assert {parent for parent, _ in STAGES.values()} - set(STAGES) == {"python:3.11-slim"}


def test_the_images_hold_what_there_is() -> None:
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    sources = [one for sources in copied for one in sources if not sources[0].startswith("--from=")]

    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_images_install_extras_that_are_declared() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    extras = re.findall(r"'\.\[([\w,]+)\]'", DOCKERFILE)

    assert extras
    assert set(",".join(extras).split(",")) <= set(setup["options.extras_require"])
