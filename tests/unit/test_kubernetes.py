"""The manifests agree with each other and with the code that they start; none was run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from commands import assert_celery_knows

from api import create_app
from celeriac.cli import main
from celeriac.measured import METRICS
from celeriac.runtime import Runtime
from celeriac.settings import VARIABLES, Settings
from workers import process
from workers.application import configuration

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "deploy" / "kubernetes"
PAGE = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
FILES = sorted(FOLDER.glob("*.yaml"))
Manifest = dict[str, Any]
MANIFESTS: list[Manifest] = [
    one
    for file in FILES
    if file.name != "kustomization.yaml"
    for one in yaml.safe_load_all(file.read_text("utf-8"))
]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SPENT_CLOSING = 15
"""Seconds that a process may need beyond what it gives its work."""
SECRET_OF_SOURCES = {"PRODUCTS_TOKEN"}


def of_kind(kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in MANIFESTS if one["kind"] == kind}


DEPLOYMENTS = of_kind("Deployment")
PODS: dict[str, Manifest] = {
    name: one["spec"]["template"] for name, one in {**DEPLOYMENTS, **of_kind("Job")}.items()
}
CONTAINERS: dict[str, Manifest] = {name: one["spec"]["containers"][0] for name, one in PODS.items()}


def variables() -> dict[str, str]:
    """The environment of a container, as the config map and the secret give it."""
    environment = of_kind("ConfigMap")["celeriac-environment"]["data"]
    return {**environment, **of_kind("Secret")["celeriac"]["stringData"]}


@pytest.fixture
def celery(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Celery's settings."""
    runtime = Runtime(Settings.load(variables() | {"CELERIAC_CONFIG": ""}))
    monkeypatch.setattr(process, "_runtime", runtime)
    return configuration()


def test_all_parts_are_there() -> None:
    assert set(DEPLOYMENTS) == {
        "celeriac-api",
        "celeriac-worker",
        "celeriac-worker-gpu",
        "celeriac-beat",
        "celeriac-flower",
    }
    assert set(of_kind("Job")) == {"celeriac-migrate"}
    assert set(of_kind("PodDisruptionBudget")) >= {"celeriac-api", "celeriac-worker"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_says_that_it_was_not_run(file: Path) -> None:
    comment = file.read_text("utf-8").partition("\napiVersion")[0].lower()

    assert "not run on a" in comment
    assert "docs/kubernetes.md" in comment


def test_the_kustomization_names_every_file() -> None:
    text = (FOLDER / "kustomization.yaml").read_text("utf-8")
    named = set(re.findall(r"- ([\w-]+\.yaml)", text))

    assert {*named, "secret.example.yaml"} == {
        *(file.name for file in FILES if file.name != "kustomization.yaml"),
        "secret.yaml",
    }
    applied = yaml.safe_load(text)["resources"]
    assert [name for name in applied if not (FOLDER / name).exists()] == []


def test_the_environment_is_one_that_settings_accept(tmp_path: Path) -> None:
    declared = of_kind("ConfigMap")["celeriac-config"]["data"]["celeriac.yaml"]
    file = tmp_path / "celeriac.yaml"
    file.write_text(declared, "utf-8")
    for one in CONTAINERS.values():
        own = {name["name"]: name["value"] for name in one.get("env", [])}
        environ = {**variables(), **own}
        mounted = Path(environ["CELERIAC_CONFIG"])

        settings = Settings.load({**environ, "CELERIAC_CONFIG": str(file)})

        assert set(environ) - SECRET_OF_SOURCES <= {variable.name for variable in VARIABLES}
        assert settings.unknown_variables == ()
        assert settings.configuration.tenants
        paths = [mount["mountPath"] for mount in one["volumeMounts"]]
        assert str(mounted.parent) in paths
        assert mounted.name in of_kind("ConfigMap")["celeriac-config"]["data"]


@pytest.mark.parametrize("name", PODS)
def test_the_environment_is_not_filled_with_services(name: str) -> None:
    """Kubernetes would set CELERIAC_API_PORT for the service celeriac-api, and the like."""
    assert PODS[name]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_it_refers_to_is_there(name: str) -> None:
    spec = PODS[name]["spec"]
    for reference in CONTAINERS[name]["envFrom"]:
        ((kind, target),) = reference.items()
        known = of_kind("ConfigMap") if kind == "configMapRef" else of_kind("Secret")
        assert target["name"] in known
    volumes = {one["name"] for one in spec["volumes"]}
    assert {mount["name"] for mount in CONTAINERS[name]["volumeMounts"]} == volumes
    maps = {one["configMap"]["name"] for one in spec["volumes"] if "configMap" in one}
    assert maps <= set(of_kind("ConfigMap"))


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_image_is_one_that_is_built(name: str) -> None:
    built = {one["image"] for one in COMPOSE["services"].values() if "build" in one}

    assert CONTAINERS[name]["image"].removesuffix("-gpu") in built


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_command_exists(name: str) -> None:
    command = CONTAINERS[name].get("command")
    if command is None:
        assert name == "celeriac-api"  # its image's
    elif command[0] == "celery":
        assert_celery_knows(command[1:])
    else:
        assert command[0] == "celeriac"
        ours = main.commands[command[1]]
        ours.make_parser(click.Context(ours)).parse_args(command[2:])


def test_probes_ask_for_what_is_answered() -> None:
    routes = {str(rule) for rule in create_app(Runtime(Settings.load({}))).url_map.iter_rules()}
    api = CONTAINERS["celeriac-api"]

    assert api["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert api["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {"/healthz", "/readyz"} <= routes
    assert CONTAINERS["celeriac-flower"]["livenessProbe"]["httpGet"]["path"] == "/healthcheck"


def test_ports_are_those_that_are_listened_on() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    (bound,) = re.findall(r"0\.0\.0\.0:(\d+)", dockerfile)
    (port,) = CONTAINERS["celeriac-api"]["ports"]
    (flower,) = CONTAINERS["celeriac-flower"]["ports"]
    (service,) = of_kind("Service")["celeriac-api"]["spec"]["ports"]

    assert port["containerPort"] == service["port"] == int(bound)
    assert service["targetPort"] == port["name"]
    assert f"--port={flower['containerPort']}" in CONTAINERS["celeriac-flower"]["command"]


def test_selectors_choose_the_pods() -> None:
    for name, one in DEPLOYMENTS.items():
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert one["spec"]["selector"]["matchLabels"] == labels == {"app": name}
    for name, one in of_kind("PodDisruptionBudget").items():
        assert one["spec"]["selector"]["matchLabels"] == {"app": name}
        assert name in DEPLOYMENTS
    assert of_kind("Service")["celeriac-api"]["spec"]["selector"] == {"app": "celeriac-api"}


def test_processes_have_the_time_that_they_take_to_end(celery: dict[str, Any]) -> None:
    soft = celery["worker_soft_shutdown_timeout"]
    for name in ("celeriac-worker", "celeriac-worker-gpu"):
        given = PODS[name]["spec"]["terminationGracePeriodSeconds"]
        assert given >= soft + SPENT_CLOSING
        assert f"{given}s" == COMPOSE["services"]["worker"]["stop_grace_period"]
    (graceful,) = re.findall(
        r"^graceful_timeout = (\d+)", (ROOT / "gunicorn.conf.py").read_text("utf-8"), re.MULTILINE
    )
    (pause,) = CONTAINERS["celeriac-api"]["lifecycle"]["preStop"]["exec"]["command"][1:]
    given = PODS["celeriac-api"]["spec"]["terminationGracePeriodSeconds"]
    assert given >= int(graceful) + int(pause)


@pytest.mark.parametrize("name", PODS)
def test_nothing_runs_as_root(name: str) -> None:
    context = PODS[name]["spec"]["securityContext"]

    assert context["runAsNonRoot"] is True
    (uid,) = set(re.findall(r"^USER (\d+)", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE))
    assert context["runAsUser"] == int(uid)


def test_there_is_one_beat() -> None:
    spec = DEPLOYMENTS["celeriac-beat"]["spec"]

    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_workers_scale_by_what_is_measured(celery: dict[str, Any]) -> None:
    (scaled,) = of_kind("ScaledObject").values()
    (trigger,) = scaled["spec"]["triggers"]
    metrics = {one.name: one for one in METRICS}
    asked = set(re.findall(r"celeriac_\w+", trigger["metadata"]["query"]))

    assert asked
    assert asked <= set(metrics)
    assert scaled["spec"]["scaleTargetRef"]["name"] in DEPLOYMENTS
    assert scaled["spec"]["minReplicaCount"] >= 1
    assert trigger["metadata"]["threshold"] == str(celery["worker_concurrency"])


def test_the_page_names_files_that_are_there() -> None:
    for name in re.findall(r"`([\w.-]+\.yaml)`", PAGE):
        assert (FOLDER / name).exists() or name in {"secret.yaml", "celeriac.yaml", "compose.yaml"}
