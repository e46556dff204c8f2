"""Celery's configuration. Read from the settings when Celery needs it, not at import."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import (
    celeryd_after_setup,
    import_modules,
    setup_logging,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from celeriac import logs
from celeriac.dispatch import VISIBILITY_TIMEOUT
from celeriac.runtime import required
from celeriac.settings import log_format
from workers import flower, process, schedules


def configuration() -> dict[str, Any]:
    """Celery's settings; docs/adr/0003-celery-settings.md says why each one is what it is."""
    settings = process.deployed().settings
    return {
        "broker_url": broker_url(settings.redis_url),
        "task_acks_late": True,
        "task_retry_on_worker_lost": True,
        "task_reject_on_worker_lost": False,
        "task_ignore_result": True,
        "task_track_started": True,
        "task_default_queue": "celeriac",
        "task_default_priority": 6,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.2},
        "worker_prefetch_multiplier": 1,
        "worker_pool": "threads",
        "worker_redirect_stdouts": False,
        "worker_concurrency": 4,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": 60,
        "worker_enable_soft_shutdown_on_idle": True,
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_TIMEOUT,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "health_check_interval": 10,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "queue_order_strategy": "priority",
        },
        "broker_connection_timeout": 3,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 10,
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "beat_max_loop_interval": 5,
        "beat_scheduler": "workers.beat:Beat",
        "beat_schedule": schedules.beat_schedule(),
    }


def broker_url(redis_url: str | None) -> str:
    """Celery's spelling of the Redis URL."""
    return required("CELERIAC_REDIS_URL", redis_url).replace("unix://", "redis+socket://", 1)


app = Celery("celeriac", include=["workers.tasks"], set_as_current=False)
app.add_defaults(configuration)


@setup_logging.connect
def _log(loglevel: int | str, logfile: str | None = None, **_: Any) -> None:
    logs.configure(loglevel, logfile, format=log_format())


@celeryd_after_setup.connect
def _set_up(instance: Any, **_: Any) -> None:
    process.require_threads(instance.pool_cls)
    process.share_threads(instance.concurrency)
    process.collect_seldom()


@import_modules.connect
def _guard_flower(**_: Any) -> None:
    if flower.is_flower():
        flower.require_password()


@worker_ready.connect
def _ready(**_: Any) -> None:
    process.serve_searches()
    process.serve_checks()
    process.give_signs_of_life()
    process.load_models()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    process.runtime().stopping.set()


@worker_shutdown.connect
def _close(**_: Any) -> None:
    process.close()
