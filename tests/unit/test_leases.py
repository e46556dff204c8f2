"""Heartbeats renew what is held, and nothing that was lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from celeriac.errors import CatalogUnavailable, CeleriacError, JobStopped, LeaseLost
from celeriac.leases import Heartbeat

PATIENCE = 10.0
"""Seconds until something that should happen at once is held not to."""


@pytest.fixture
def heartbeat() -> Iterator[Heartbeat]:
    heartbeat = Heartbeat(interval=0.01)
    yield heartbeat
    heartbeat.close()


class Lease:
    """Counts how often it is renewed; each time fails with `error`, where there is one."""

    def __init__(self, error: CeleriacError | None = None) -> None:
        self.renewals = 0
        self.often = threading.Event()
        self._error = error

    def renew(self) -> None:
        self.renewals += 1
        if self.renewals == 5:
            self.often.set()
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize("error", [None, CatalogUnavailable()])
def test_a_held_lease_is_renewed_again_and_again(
    heartbeat: Heartbeat, error: CeleriacError | None
) -> None:
    lease = Lease(error)
    with heartbeat.hold(lease.renew):
        assert lease.often.wait(PATIENCE)


@pytest.mark.parametrize("error", [LeaseLost(), JobStopped()])
def test_a_lost_lease_is_renewed_no_more(heartbeat: Heartbeat, error: CeleriacError) -> None:
    lost, held = Lease(error), Lease()
    with heartbeat.hold(lost.renew), heartbeat.hold(held.renew):
        assert held.often.wait(PATIENCE)
    assert lost.renewals == 1
