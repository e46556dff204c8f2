"""Worker and beat in one process: what standalone mode runs beside the API."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

from celery.beat import EmbeddedService
from celery.exceptions import SecurityWarning
from celery.signals import worker_ready, worker_shutting_down

from workers.application import app


def run_worker(on_ready: Callable[[], None]) -> None:
    """Run worker and beat in this process until it is told to stop.

    `on_ready` is called once the worker takes tasks. Must be called from the main thread.
    """
    # The warning's advice, a flag of Celery's command line, is of no use here.
    warnings.simplefilter("ignore", SecurityWarning)
    beat = EmbeddedService(app, thread=True)

    def ready(**_: object) -> None:
        beat.start()
        threading.Thread(target=on_ready, name="ready", daemon=True).start()

    def stop_beat(**_: object) -> None:
        beat.stop()

    worker_ready.connect(ready, weak=False)
    worker_shutting_down.connect(stop_beat, weak=False)
    app.Worker(pool="threads", loglevel="WARNING", quiet=True, optimization="fair").start()
