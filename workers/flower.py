"""Flower, started with `celery -A workers flower`: never without a password."""

from __future__ import annotations

import click

from celeriac.errors import ConfigurationError
from workers.process import settings

USER = "celeriac"


def is_flower() -> bool:
    """Whether this process was started to be Flower."""
    context = click.get_current_context(silent=True)
    return context is not None and context.info_name == "flower"


def require_password() -> None:
    """Have Flower ask for a password: the one it was given, or the key of the API.

    Raises:
        SystemExit: there is none.
    """
    from tornado.options import options

    if options.basic_auth or options.auth:
        return
    key = settings().api_key
    if not key:
        problem = ConfigurationError(
            "Flower shows what is indexed and can stop workers: give it a password. Set "
            "FLOWER_BASIC_AUTH to USER:PASSWORD, or CELERIAC_API_KEY, which is then the password "
            f"of the user {USER}."
        )
        raise SystemExit(f"celeriac: {problem}")
    options.basic_auth = [f"{USER}:{key}"]
