"""Filters of a search as people write them: `code=A1`, `price>=50`, `year=[2024, 2025]`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from celeriac.errors import ConfigurationError

_CONDITION = re.compile(r"\s*([^<>=]+?)\s*(>=|<=|=|>|<)\s*(.*?)\s*", re.DOTALL)
_BOUND = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}


def parse_filters(texts: Iterable[str]) -> dict[str, Any]:
    """What a search request has under `filter`; bounds on one key are put together.

    Raises:
        ConfigurationError: one is not KEY=VALUE, or KEY and VALUE with a comparison.
    """
    filters: dict[str, Any] = {}
    for text in texts:
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise ConfigurationError(
                f"{text!r} is no filter: write KEY=VALUE, KEY=[VALUE, VALUE], or KEY>=VALUE, "
                "likewise with >, <= and <."
            )
        key, operator, value = found.groups()
        if operator == "=":
            filters[key] = _value(value)
        else:
            bounds = filters.get(key)
            filters[key] = {
                **(bounds if isinstance(bounds, dict) else {}),
                _BOUND[operator]: _value(value),
            }
    return filters


def _value(text: str) -> Any:
    """What JSON makes of it, where that is a value or a list; else the text."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return text
    return parsed if isinstance(parsed, str | int | float | bool | list) else text
