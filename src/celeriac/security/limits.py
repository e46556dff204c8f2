"""How often a credential may ask, and an address fail: counted in Redis, for all replicas."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from celeriac.errors import RateLimited

logger = logging.getLogger(__name__)

RATE_LIMIT_TIMEOUT = 0.5
"""Seconds that Redis has to answer; a request is not held up for being counted."""
PAUSE = 5.0
"""Seconds for which Redis is not asked after it did not answer."""
MINUTE = 60_000_000
"""In microseconds."""
IPV6_NETWORK = 64
"""Bits that one customer's addresses have in common."""

_PREFIX = "celeriac:limit:"

# GCRA: one number a key, the time at which the key will have made up for what it asked for. All
# times are microseconds by Redis's clock. Answers how long to wait, 0 for "go ahead".
_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, burst, spend = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + interval
if due - burst > now then return due - burst - now end
if spend then
  redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000))
end
return 0
"""


class RateLimits:
    """Limits a minute. Where Redis is away nothing is limited: a request that needs it fails by
    itself, and one that does not is not to fail for being counted."""

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._script = redis.register_script(_SCRIPT)
        self._away_until = -math.inf

    def spend(self, name: str, per_minute: int | None) -> None:
        """Count one; raises RateLimited where it is one too many."""
        self._ask(name, per_minute, spend=True)

    def check(self, name: str, per_minute: int | None) -> None:
        """Raise RateLimited where one more would be too many; count nothing."""
        self._ask(name, per_minute, spend=False)

    def _ask(self, name: str, per_minute: int | None, *, spend: bool) -> None:
        if per_minute is None or self._clock() < self._away_until:
            return
        arguments = (max(1, MINUTE // per_minute), MINUTE, int(spend))
        try:
            wait = int(self._script(keys=[_PREFIX + name], args=arguments))
        except RedisError as error:
            self._away_until = self._clock() + PAUSE
            logger.warning(
                "requests are not limited", extra={"action": "limit", "error": str(error)}
            )
            return
        if wait:
            seconds = math.ceil(wait / 1_000_000)
            raise RateLimited(f"Too many requests; try again in {seconds} s.", retry_after=seconds)

    def close(self) -> None:
        self._redis.close()


def network(address: str | None) -> str | None:
    """What an address's failures are counted under; None where it is not known.

    IPv6 addresses are counted by their network: one customer has 2**64 of them.
    """
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK), strict=False))
