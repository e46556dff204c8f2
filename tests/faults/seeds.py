"""What the environment says of chance.

CELERIAC_TEST_SEED    where seeds begin, 0 without it
CELERIAC_TEST_SEEDS   how many of them the tests take that take several; outages are longer then
"""

from __future__ import annotations

import os

FIRST = int(os.environ.get("CELERIAC_TEST_SEED", "0"))
LONG = "CELERIAC_TEST_SEEDS" in os.environ


def seeds(count: int) -> range:
    """So many seeds, unless the environment asks for another number."""
    return range(FIRST, FIRST + int(os.environ.get("CELERIAC_TEST_SEEDS", count)))


def replay(seed: int) -> str:
    """How to run a test with this seed again."""
    return f"CELERIAC_TEST_SEED={seed}" + (" CELERIAC_TEST_SEEDS=1" if LONG else "")
