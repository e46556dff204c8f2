"""The API in a thread of the tests, and the command that speaks to it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from api import create_app
from celeriac.cli import main
from celeriac.runtime import Runtime


@contextlib.contextmanager
def api_server(runtime: Runtime) -> Iterator[str]:
    """The URL of an API on this runtime."""
    server = make_server("127.0.0.1", 0, create_app(runtime), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class InProcess:
    """Runs the command in this process with an environment of its own."""

    environment: Mapping[str, str]

    def __call__(self, *arguments: str, status: int = 0) -> Result:
        answer = CliRunner().invoke(main, list(arguments), env=dict(self.environment))
        assert answer.exit_code == status, answer.output
        return answer

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", status=status).stdout)

    def error(self, *arguments: str, status: int = 1) -> str:
        """The one line on stderr of a command that fails."""
        answer = self(*arguments, status=status)
        assert answer.stdout == ""
        return answer.stderr
