"""What is imported with what: the API and the tasks start without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = ("torch", "transformers", "sentence_transformers", "pyarrow", "pypdf", "docx", "fsspec")
SERVERS = ("qdrant_client", "sqlalchemy", "redis", "numpy", "httpx")


@pytest.mark.parametrize("module", ["api", "workers.tasks", "api.standalone", "celeriac.jobs"])
def test_it_imports_without_what_only_some_work_needs(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_command_says_what_it_is_without_what_it_works_with(option: str) -> None:
    script = (
        "import sys; from celeriac.cli import main; "
        f"main([{option!r}], standalone_mode=False); "
        f"print([name for name in {(*HEAVY, *SERVERS)!r} if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.splitlines()[-1] == "[]"
