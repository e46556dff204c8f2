"""`${NAME}` and `${NAME:-default}` in the scalars of a configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_REFERENCE = re.compile(
    r"(?P<escaped>\$\$\{)|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?"
)


@dataclass(frozen=True, slots=True)
class Expansion:
    """A scalar with its references replaced."""

    text: str
    variables: tuple[str, ...]
    """Names of the variables that were asked for, in the order of the text."""
    missing: tuple[str, ...]
    """Those of them that are unset or empty and have no default."""
    malformed: bool
    """Some `${` is not followed by a variable's name and `}`."""


def expand(text: str, environ: Mapping[str, str]) -> Expansion:
    """Replace each `${NAME}` by the variable's value and `$${` by a literal `${`.

    As in a shell, `:-` gives the default of a variable that is unset or empty. A value is taken as
    it is: it is not expanded again.
    """
    variables: list[str] = []
    missing: list[str] = []
    malformed = False

    def replace(match: re.Match[str]) -> str:
        nonlocal malformed
        name, default = match["name"], match["default"]
        if match["escaped"]:
            return "${"
        if name is None:
            malformed = True
            return match[0]
        variables.append(name)
        if not environ.get(name) and default is None:
            missing.append(name)
        return environ.get(name) or default or ""

    expanded = _REFERENCE.sub(replace, text)
    return Expansion(expanded, tuple(variables), tuple(missing), malformed)
