"""Everything in one process: `python -m api.standalone` (make up).

API, worker and beat share one runtime; Redis runs beside it as a private child process, the
catalog is SQLite and Qdrant runs in its local mode, unless the environment names servers.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from api.application import create_app
from api.lanes import served
from celeriac import logs
from celeriac.errors import CeleriacError
from celeriac.home import embedded_redis, home_lock
from celeriac.runtime import Runtime
from celeriac.settings import Settings, log_format
from workers import standalone
from workers.process import close, use_runtime

THREADS = 216
"""For requests and those who watch jobs; the server makes one for each connection."""


class QuietHandler(WSGIRequestHandler):
    """Serves without a line a request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def main() -> int:
    """Run until Ctrl-C or SIGTERM; the exit status."""
    logs.configure(format=log_format())
    try:
        with ExitStack() as stack:
            serve(Settings.load(), stack)
    except CeleriacError as error:
        print(f"celeriac: {error}", file=sys.stderr)
        return 1
    return 0


def serve(settings: Settings, stack: ExitStack) -> None:
    """Start the parts in order, run, and stop them in reverse."""
    stack.enter_context(home_lock(settings.home))
    settings = _filled_in(settings, stack)
    runtime = Runtime(settings)
    use_runtime(runtime)
    stack.callback(close)
    app = create_app(runtime)
    served(app, THREADS)
    server = make_server(
        settings.host,
        settings.port,
        app,
        threaded=True,
        request_handler=QuietHandler,
    )
    stack.callback(server.server_close)
    # Docker and make stop with SIGTERM, a terminal with SIGINT: both end the worker gracefully.
    signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    standalone.run_worker(on_ready=lambda: _serve_api(server, settings))


def _serve_api(server: BaseWSGIServer, settings: Settings) -> None:
    print(_banner(settings), flush=True)
    server.serve_forever()


def _filled_in(settings: Settings, stack: ExitStack) -> Settings:
    """The settings with what is embedded in place of what the environment does not name."""
    redis_url = settings.redis_url or stack.enter_context(embedded_redis(settings.home / "redis"))
    return replace(
        settings,
        redis_url=redis_url,
        database_url=settings.database_url or f"sqlite:///{settings.home / 'catalog.sqlite'}",
        api_key=settings.api_key or f"celeriac_{secrets.token_urlsafe(32)}",
    )


def _banner(settings: Settings) -> str:
    where = f"http://{settings.host}:{settings.port}"
    declared = [
        f"{tenant.name}/{name}"
        for tenant in settings.configuration.tenants.values()
        for name in tenant.entity_types
    ]
    lines = [
        f"celeriac is ready at {where}; its data is in {settings.home}",
        f"x-api-key: {settings.api_key}",
    ]
    if declared:
        first = declared[0]
        lines.append(f"declared: {', '.join(declared)}")
        lines.append(
            f"curl -i -X POST -H 'x-api-key: {settings.api_key}' "
            f"{where}/ai-rag-indexer/{first}/reindex"
        )
    else:
        lines.append("nothing is declared yet: set CELERIAC_CONFIG to a configuration file")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
