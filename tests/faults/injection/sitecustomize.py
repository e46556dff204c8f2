"""Loaded by Python itself in every process of the fault tests' deployment.

CELERIAC_TEST_FAILPOINTS   the folder in which tests ask for faults, see injected.failpoints
CELERIAC_TEST_LEASE        seconds of leases and of silence
CELERIAC_TEST_RECOVERY     seconds between two recoveries
CELERIAC_TEST_CLOCK        seconds that this process's clock is ahead
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def inject() -> None:
    if ahead := os.environ.get("CELERIAC_TEST_CLOCK"):
        from injected import clocks

        clocks.set_ahead(float(ahead))
    from injected import intervals, messages, models, stages
    from injected.failpoints import ENVIRONMENT, Failpoints

    failpoints = Failpoints(Path(os.environ[ENVIRONMENT]))
    if recovery := os.environ.get("CELERIAC_TEST_RECOVERY"):
        intervals.shorten_recovery(float(recovery))
    messages.deliver_twice(failpoints)
    if "worker" in sys.orig_argv:
        if lease := os.environ.get("CELERIAC_TEST_LEASE"):
            intervals.shorten_leases(float(lease))
        models.run_out_of_memory(failpoints)
        models.break_on_poison()
        stages.in_worker(failpoints)
    elif "gunicorn" in sys.orig_argv:
        stages.in_api(failpoints)


if "CELERIAC_TEST_FAILPOINTS" in os.environ:
    inject()
