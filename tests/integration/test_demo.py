"""make demo: how long it waits, and how it ends when it is told to."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from deployment import ROOT

from demo import run

STAGES = {"embed": {"items": 0, "seconds": 0.0, "per_second": None}}


def job(state: str, embedded: int) -> dict[str, Any]:
    return {
        "state": state,
        "counters": {"listed": 500, "embedded": 0},
        "stages": {"embed": {**STAGES["embed"], "items": embedded}},
        "rates": {"tokens_per_second": 1.0},
        "progress_percentage": 0.0,
        "waiting": None,
        "message": "Page 0 waits for its source.",
    }


@contextmanager
def api(answers: Iterator[Mapping[str, Any]]) -> Iterator[httpx.Client]:
    """A service that takes a reindex and tells of its job what comes next."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(204)
            self.send_header("Location", "/jobs/x")
            self.end_headers()

        def do_GET(self) -> None:
            body = json.dumps(next(answers)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
            yield client
        server.shutdown()


def test_a_job_that_moves_is_waited_for_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STANDSTILL", 0.6)
    moving = (job("running", looked) for looked in range(5))
    with api(itertools.chain(moving, itertools.repeat(job("succeeded", 5)))) as client:
        assert run.reindex(client)["state"] == "succeeded"


def test_one_that_does_not_move_is_given_up_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "STANDSTILL", 0.6)
    with api(itertools.repeat(job("running", 7))) as client, pytest.raises(SystemExit) as ended:
        run.reindex(client)
    assert "Page 0 waits for its source" in str(ended.value)
    assert "goes on where this one ended" in str(ended.value)


HEARING_SIGINT = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script as it is run at a terminal: in the background of a shell SIGINT is ignored."""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_ends_with_one_line(tmp_path: Path, sent: signal.Signals) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-u", "-c", HEARING_SIGINT, str(ROOT / "demo" / "run.py")],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "CELERIAC_HOME": str(tmp_path),
            "CELERIAC_TOKEN_BUDGET": "1024",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert demo.stdout is not None
    with demo.stdout as output:
        assert any("/reindex -> 204" in line for line in output)
        demo.send_signal(sent)
        said = output.read().splitlines()
    assert demo.wait(120) == 128 + sent
    assert "Traceback" not in "\n".join(said)
    assert said[-1] == "The demo was stopped; make demo goes on where this one ended."
    assert not (tmp_path / "demo" / "redis" / "endpoint.json").exists()
