"""The dashboard and the alerts name what is measured, and Prometheus understands them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promtool
import pytest
import yaml

from celeriac.measured import METRICS, Kind

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "celeriac.rules.yaml"
RULES_TEST = DEPLOY / "prometheus" / "celeriac.rules.test.yaml"
DASHBOARD = DEPLOY / "grafana" / "celeriac.json"

NAME = re.compile(r"celeriac_[a-z_]+")
LABELS = re.compile(r"\{\{ ?\$?(?:labels\.)?([a-z_]+) ?\}\}")
GROUPED = re.compile(r"by \(([a-z_, ]+)\)")
HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Each expression, and the text that is shown with it."""
    for rule in rules():
        yield rule["expr"], json.dumps(rule["annotations"])
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]


def exported() -> dict[str, set[str]]:
    """Labels by name, as Prometheus has them."""
    found: dict[str, set[str]] = {}
    for metric in METRICS:
        if metric.kind == Kind.HISTOGRAM:
            for part in HISTOGRAM_PARTS:
                found[metric.name + part] = {*metric.labels, *(["le"] * (part == "_bucket"))}
        else:
            found[metric.name] = set(metric.labels)
    return found


@pytest.mark.parametrize(("expression", "text"), list(queries()))
def test_what_is_asked_for_is_there(expression: str, text: str) -> None:
    known = exported()
    names = NAME.findall(expression.replace('job="celeriac"', ""))
    assert set(names) <= set(known)
    labels = set().union(*(known[name] for name in names)) | {"value", "humanizeDuration"}
    asked = {one.strip() for found in GROUPED.findall(expression) for one in found.split(",")}
    shown = set(LABELS.findall(text))
    assert asked | (shown if names else set()) <= labels


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    text = " ".join(expression for expression, _ in queries())
    assert [one.name for one in METRICS if one.name not in text] == []


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"celeriac(_[a-z]+)+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == Kind.COUNTER)
        if metric.kind == Kind.HISTOGRAM:
            assert metric.name.endswith("_seconds")
            assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.help.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert "expr" in rule


def test_panels_stand_beside_each_other() -> None:
    places = [
        (panel["gridPos"]["x"] + across, panel["gridPos"]["y"] + down)
        for panel in panels()
        for across in range(panel["gridPos"]["w"])
        for down in range(panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_prometheus_understands_the_rules() -> None:
    assert "SUCCESS" in promtool.checked("check", "rules", str(RULES))


def test_alerts_fire_when_they_should_and_not_otherwise() -> None:
    promtool.checked("test", "rules", str(RULES_TEST))


def test_prometheus_understands_the_dashboards_queries(tmp_path: Path) -> None:
    records = [
        {"record": f"panel_{number}", "expr": expression}
        for number, (expression, _) in enumerate(queries())
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    promtool.checked("check", "rules", str(path))
