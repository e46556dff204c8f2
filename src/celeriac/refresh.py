"""Refresh policies: when a knowledge base is indexed by itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


def last_due(policy: Mapping[str, Any], now: float) -> float | None:
    """The latest moment, not after `now`, at which the policy asks for a refresh; None for MANUAL.

    Both are Unix seconds. A local time that a change of the clocks skips is due when they change;
    one that comes twice is due the first time.
    """
    kind = policy["policy_type"]
    if kind == "MANUAL":
        return None
    zone = ZoneInfo(policy.get("timezone") or "UTC")
    local = dt.datetime.fromtimestamp(now, zone)
    due = local.replace(minute=policy["minute"], second=0, microsecond=0, fold=0)
    if kind == "HOURLY":
        # In UTC steps: a local hour may come twice or not at all.
        moment = local.replace(minute=policy["minute"], second=0, microsecond=0).timestamp()
        return moment if moment <= now else moment - 3600
    due = due.replace(hour=policy["hour"])
    if kind == "WEEKLY":
        due -= dt.timedelta(days=(local.weekday() - DAYS.index(policy["day_of_week"])) % 7)
    while due.timestamp() > now:
        due -= dt.timedelta(days=7 if kind == "WEEKLY" else 1)
    return due.timestamp()
