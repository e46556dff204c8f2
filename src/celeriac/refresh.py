"""Refresh policies: when a knowledge base is indexed by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celeriac.configuration.schedule import UTC, Schedule

DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


def schedule_of(policy: Mapping[str, Any]) -> Schedule | None:
    """The schedule that a policy stands for; None for MANUAL."""
    kind = policy["policy_type"]
    if kind == "MANUAL":
        return None
    hour = "*" if kind == "HOURLY" else policy["hour"]
    weekday = policy["day_of_week"][:3].lower() if kind == "WEEKLY" else "*"
    return Schedule(f"{policy['minute']} {hour} * * {weekday}", policy.get("timezone") or UTC)
