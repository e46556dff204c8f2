"""Log lines carry the details that are logged with them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

from celeriac import logs
from celeriac.logs import DetailFormatter, JsonFormatter

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


def as_json(**extra: object) -> dict[str, object]:
    record = logging.makeLogRecord(
        {"msg": "job %s", "args": ("failed",), "name": "celeriac.jobs", "levelname": "ERROR"}
        | extra
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found: dict[str, object] = json.loads(line)
    return found


def test_a_line_of_json_has_everything_by_name() -> None:
    line = as_json(action="fail", job="6f0c", page=3, reason=ValueError("naïve"), created=0.25)

    assert line == {
        "time": "1970-01-01T00:00:00.250+00:00",
        "level": "ERROR",
        "logger": "celeriac.jobs",
        "message": "job failed",
        "action": "fail",
        "job": "6f0c",
        "page": 3,
        "reason": "naïve",
    }


def test_a_traceback_stays_on_its_line_of_json() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        line = as_json(exc_info=sys.exc_info())

    assert str(line["traceback"]).endswith("ValueError: wrong")


def test_extra_details_do_not_take_the_place_of_the_line_itself() -> None:
    assert as_json(action="fail", level="mine", time="never")["level"] == "ERROR"


def test_lines_say_what_their_thread_is_at_whoever_logs_them() -> None:
    with logs.about(job="6f0c", page=3):
        logs.add(tenant="acme")
        of_others = as_json(data={"args": "long"})
        ours = shown(action="page", page=3)
    after = as_json()

    assert {"job", "page", "tenant"} <= set(of_others)
    assert "data" not in of_others
    assert ours == "job failed, action=page page=3 job=6f0c tenant=acme"
    assert "job" not in after


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
