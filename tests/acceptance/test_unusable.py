"""Processes whose settings are not valid, as their supervisors see them: a line, and the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from deployment import ROOT

COMMANDS = {
    "gunicorn": ["gunicorn", "api:create_app()", "--bind", "127.0.0.1:0", "--workers", "2"],
    "flask": ["flask", "--app", "api", "routes"],
    "worker": ["celery", "-A", "workers", "worker"],
    "beat": ["celery", "-A", "workers", "beat"],
}


def run(name: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if "CELERIAC" not in key}
    return subprocess.run(
        [sys.executable, "-m", *COMMANDS[name], *options],
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_configuration_file_is_told_in_a_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "celeriac.yaml"
    file.write_text("tenants:\n  acme:\n    entity_type: {}\n")
    ended = run(
        name,
        CELERIAC_CONFIG=str(file),
        CELERIAC_REDIS_URL="redis://127.0.0.1:1/0",
        CELERIAC_DATABASE_URL=f"sqlite:///{tmp_path / 'catalog.sqlite'}",
    )
    assert ended.returncode == 4, ended.stderr
    assert "Traceback" not in ended.stderr
    (line, *_) = [one for one in ended.stderr.splitlines() if one.startswith("celeriac: ")]
    assert f"{file}:3" in line
    assert "entity_type" in line
    assert "entity_types" in line


@pytest.mark.parametrize("name", COMMANDS)
def test_a_server_that_is_not_named_is_told_in_a_line(name: str) -> None:
    ended = run(name)
    assert ended.returncode == 4, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "celeriac: CELERIAC_REDIS_URL is not set" in ended.stderr


def test_a_worker_whose_pool_is_not_threads_says_so_in_a_line(tmp_path: Path) -> None:
    ended = run(
        "worker",
        *("--pool", "processes", "--concurrency", "2"),
        CELERIAC_REDIS_URL="redis://127.0.0.1:1/0",
        CELERIAC_DATABASE_URL=f"sqlite:///{tmp_path / 'catalog.sqlite'}",
    )
    assert ended.returncode == 4, ended.stderr
    assert "Traceback" not in ended.stderr
    (line, *_) = [one for one in ended.stderr.splitlines() if one.startswith("celeriac: ")]
    assert "'prefork'" in line
    assert "Leave --pool out" in line


def test_without_any_credential_the_log_says_how_to_make_one(tmp_path: Path) -> None:
    ended = run(
        "flask",
        CELERIAC_REDIS_URL="redis://127.0.0.1:1/0",
        CELERIAC_DATABASE_URL=f"sqlite:///{tmp_path / 'catalog.sqlite'}",
    )
    assert ended.returncode == 0, ended.stderr
    assert "celeriac keys create --tenant" in ended.stderr
