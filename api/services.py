"""What the handlers work with."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from flask import current_app

from api.lanes import Streams
from api.probes import Probes
from celeriac.errors import StoreUnavailable
from celeriac.runtime import Runtime
from celeriac.security.authentication import Authenticator
from celeriac.watching import Watch
from workers.application import app as celery
from workers.dispatch import CeleryDispatcher

STORE_CHECK_INTERVAL = 1.0
"""Seconds for which an answer of the store is believed."""


@dataclass
class StoreCheck:
    """Whether the store answers, asked once a second at most however many requests come."""

    runtime: Runtime
    _checked: float = 0.0
    _failure: StoreUnavailable | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def require(self) -> None:
        """Raise StoreUnavailable when the store does not answer."""
        with self._lock:
            if time.monotonic() - self._checked > STORE_CHECK_INTERVAL:
                self._failure = self._ask()
                self._checked = time.monotonic()
            failure = self._failure
        if failure is not None:
            raise failure

    def _ask(self) -> StoreUnavailable | None:
        try:
            self.runtime.store.ping()
        except StoreUnavailable as error:
            return error
        return None


@dataclass(frozen=True)
class Services:
    """The runtime, the way to the workers, the store's state, and who asks."""

    runtime: Runtime
    dispatcher: CeleryDispatcher
    store_check: StoreCheck
    authenticator: Authenticator
    watch: Watch
    streams: Streams
    probes: Probes

    @classmethod
    def of(cls, runtime: Runtime) -> Services:
        security = runtime.settings.configuration.security
        authenticator = Authenticator(
            bootstrap_key=runtime.settings.api_key,
            issuers=security.issuers,
            keys=lambda: runtime.catalog.api_keys,
            limits=lambda: runtime.limits,
            failures_per_minute=security.failures_per_minute,
        )
        return cls(
            runtime,
            CeleryDispatcher(celery, runtime.job_names.of),
            StoreCheck(runtime),
            authenticator,
            Watch(runtime),
            Streams(),
            Probes(),
        )


def services() -> Services:
    """The current application's services."""
    found: Services = current_app.extensions["celeriac"]
    return found
