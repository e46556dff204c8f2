"""Everything in one process: `python -m api.standalone` (make up).

API, worker and beat share one runtime; Redis runs beside it as a private child process, the
catalog is SQLite and Qdrant runs in its local mode, unless the environment names servers.
"""

from __future__ import annotations

import errno
import secrets
import socket
import sys
from contextlib import ExitStack
from dataclasses import replace

from werkzeug.serving import (
    WSGIRequestHandler,
    make_server,
    select_address_family,
)

from api.application import create_app
from api.lanes import served
from celeriac import logs
from celeriac.errors import CeleriacError, ConfigurationError
from celeriac.home import Endpoint, announced, embedded_redis, home_lock, url_of
from celeriac.runtime import Runtime
from celeriac.settings import Settings, log_format
from workers import standalone
from workers.process import close, use_runtime

THREADS = 216
"""For requests and those who watch jobs; the server makes one for each connection."""
BACKLOG = 128
"""Connections that wait to be taken."""


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
    stack.enter_context(home_lock(settings.home, "a standalone celeriac (make up)"))
    announce = stack.enter_context(announced(settings.home))
    listening = stack.enter_context(_listening(settings))
    own_key, own_catalog = settings.api_key is not None, settings.database_url is None
    settings = _filled_in(settings, stack)
    runtime = Runtime(settings)
    use_runtime(runtime)
    stack.callback(close)
    if own_catalog:  # nobody else can have it open, so who held a page was killed
        runtime.catalog.end_leases()
    app = create_app(runtime)
    served(app, THREADS)
    server = make_server(
        settings.host,
        settings.port,
        app,
        threaded=True,
        request_handler=QuietHandler,
        fd=listening.fileno(),
    )
    stack.callback(server.server_close)
    made = None if own_key else settings.api_key
    endpoint = Endpoint(url_of(settings.host, settings.port), made)

    def ready() -> None:
        announce(endpoint)
        print(_banner(settings, own_key), flush=True)
        server.serve_forever()

    standalone.run_worker(on_ready=ready)


def _listening(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say.

    Raises:
        ConfigurationError: it cannot.
    """
    host, port = settings.host, settings.port
    family = select_address_family(host, port)
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"Port {port} of {host} is taken by another program: set CELERIAC_PORT to one that "
                "is free, or end that program."
            ) from error
        raise ConfigurationError(
            f"The API cannot listen at {host}, port {port} ({error}); check CELERIAC_HOST and "
            "CELERIAC_PORT."
        ) from error


def _filled_in(settings: Settings, stack: ExitStack) -> Settings:
    """The settings with what is embedded in place of what the environment does not name."""
    redis_url = settings.redis_url or stack.enter_context(embedded_redis(settings.home / "redis"))
    return replace(
        settings,
        redis_url=redis_url,
        database_url=settings.database_url or f"sqlite:///{settings.home / 'catalog.sqlite'}",
        api_key=settings.api_key or f"celeriac_{secrets.token_urlsafe(32)}",
    )


def _banner(settings: Settings, own_key: bool) -> str:
    """What is said at the start; a key that the user chose is not told to who looks on."""
    where = f"http://{settings.host}:{settings.port}"
    declared = [
        f"{tenant.name}/{name}"
        for tenant in settings.configuration.tenants.values()
        for name in tenant.entity_types
    ]
    key = "$CELERIAC_API_KEY" if own_key else str(settings.api_key)
    lines = [
        f"celeriac is ready at {where}; its data is in {settings.home}",
        f"console: {where}/   every request, to read and to try: {where}/docs",
        f"x-api-key: {'the one in CELERIAC_API_KEY' if own_key else key}",
    ]
    if declared:
        lines.append(f"declared: {', '.join(declared)}")
        header = f'"x-api-key: {key}"'
        lines.append(f"curl -i -X POST -H {header} {where}/ai-rag-indexer/{declared[0]}/reindex")
    else:
        lines.append("nothing is declared yet: set CELERIAC_CONFIG to a configuration file")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
