"""Log lines carry the details that are logged with them."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from celeriac.logs import DetailFormatter

ROOT = Path(__file__).resolve().parent.parent.parent


def shown(**extra: object) -> str:
    record = logging.makeLogRecord({"msg": "job %s", "args": ("failed",), **extra})
    return DetailFormatter("%(message)s").format(record)


def test_the_details_of_our_own_records_are_shown() -> None:
    line = shown(action="fail", job="6f0c", reason="Page 0: there is no such file.")

    assert line == "job failed, action=fail job=6f0c reason=Page 0: there is no such file."


def test_those_of_other_libraries_are_not() -> None:
    assert shown(data={"args": "long"}) == "job failed"


def test_a_traceback_follows_the_line() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        lines = shown(action="start", exc_info=sys.exc_info()).splitlines()

    assert lines[0] == "job failed, action=start"
    assert lines[-1] == "ValueError: wrong"


def test_a_process_that_logs_already_is_left_alone(tmp_path: Path) -> None:
    script = (
        "import logging; from celeriac import logs;"
        "logs.configure('INFO', 'first.log'); logs.configure('DEBUG', 'second.log');"
        "logging.getLogger('celeriac').info('hello', extra={'action': 'greet'})"
    )

    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src")},
        check=True,
    )

    assert (tmp_path / "first.log").read_text().endswith("INFO celeriac: hello, action=greet\n")
