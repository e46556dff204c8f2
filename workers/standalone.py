"""Worker and beat in one process: what standalone mode runs beside the API."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable

from celery.beat import EmbeddedService
from celery.exceptions import SecurityWarning
from celery.signals import worker_ready, worker_shutting_down

from workers.application import app

STOPPING = (
    "celeriac: stopping. This is safe: what a job has in hand it gives back at its next step, and "
    "the next start goes on there."
)


def run_worker(on_ready: Callable[[], None]) -> None:
    """Run worker and beat in this process until it is told to stop.

    `on_ready` is called once the worker takes tasks. Must be called from the main thread.
    Docker and make stop with SIGTERM, a terminal with SIGINT: both end the worker gracefully.
    """
    signal.signal(signal.SIGINT, _stop)
    # The warning's advice, a flag of Celery's command line, is of no use here.
    warnings.simplefilter("ignore", SecurityWarning)
    beat = EmbeddedService(app, thread=True, scheduler_cls=app.conf.beat_scheduler)

    def ready(**_: object) -> None:
        signal.signal(signal.SIGINT, _stop)  # in place of Celery's, which speaks of lost tasks
        beat.start()
        threading.Thread(target=on_ready, name="ready", daemon=True).start()

    def stop_beat(**_: object) -> None:
        beat.stop()

    worker_ready.connect(ready, weak=False)
    worker_shutting_down.connect(stop_beat, weak=False)
    app.Worker(pool="threads", loglevel="WARNING", quiet=True, optimization="fair").start()


def _stop(*_: object) -> None:
    """A terminal's Ctrl-C ends the worker as SIGTERM does."""
    print(STOPPING, file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
