"""The commands `celeriac keys`: API keys, made and ended in the catalog."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from celeriac import console, terminal
from celeriac.cli_options import OpenRuntime, as_json
from celeriac.security.principal import EVERY_TENANT, Scope

if TYPE_CHECKING:
    from celeriac.catalog.api_keys import ApiKey
    from celeriac.security.secrets import Secret

MAX_NAME = 256

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Duration(click.ParamType[float]):
    """A whole number and a unit, such as 90d; converted to seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9]{1,6})([smhdw])", str(value))
        if match is None:
            self.fail(
                f"{value!r} is not a duration such as 24h or 90d (s, m, h, d, w).", param, ctx
            )
        return float(match[1]) * _UNITS[match[2]]


class TenantName(click.ParamType[str]):
    """A tenant's name, or * for every tenant."""

    name = "tenant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from marshmallow import ValidationError

        from celeriac.configuration.names import TENANT_NAME

        text = str(value)
        try:
            return text if text == EVERY_TENANT else str(TENANT_NAME(text))
        except ValidationError as error:
            self.fail(f"{text!r}: {error.messages[0]}; or '*' for every tenant.", param, ctx)


key_id = click.argument("key_id", metavar="ID")


@click.group()
def keys() -> None:
    """API keys: make, list, rotate and revoke them."""


@keys.command()
@click.option(
    "--tenant",
    "tenants",
    type=TenantName(),
    multiple=True,
    required=True,
    help="A tenant that it reaches, '*' for every one; may be repeated.",
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([str(scope) for scope in Scope]),
    multiple=True,
    required=True,
    help="What it may do; may be repeated.",
)
@click.option("--expires", "lifetime", type=Duration(), help="Its life, such as 90d; else no end.")
@click.option("--name", default="", help="Whose it is, for the list.")
@as_json
@click.pass_obj
def create(
    open_runtime: OpenRuntime,
    *,
    tenants: tuple[str, ...],
    scopes: tuple[str, ...],
    lifetime: float | None,
    name: str,
    as_json: bool,
) -> None:
    """Make a key and print it: it is not kept."""
    if len(name) > MAX_NAME:
        raise click.BadParameter(f"has more than {MAX_NAME} characters.", param_hint="--name")
    with open_runtime(store=False) as runtime:
        key, secret = runtime.catalog.api_keys.create(
            tenants=tenants, scopes=scopes, name=name, lifetime=lifetime
        )
    _show_new(key, secret, as_json=as_json)


@keys.command("list")
@as_json
@click.pass_obj
def list_keys(open_runtime: OpenRuntime, *, as_json: bool) -> None:
    """List the keys, the newest first."""
    with open_runtime(store=False) as runtime:
        found = runtime.catalog.api_keys.all()
    if as_json:
        terminal.show_json({"keys": [{**asdict(one.key), "state": one.state} for one in found]})
    else:
        console.show_keys(found)


@keys.command()
@key_id
@click.option(
    "--overlap",
    type=Duration(),
    default="24h",
    show_default=True,
    help="How long the secret before goes on; 0s ends it now.",
)
@click.option("--expires", "lifetime", type=Duration(), help="A new life from now on.")
@as_json
@click.pass_obj
def rotate(
    open_runtime: OpenRuntime,
    *,
    key_id: str,
    overlap: float,
    lifetime: float | None,
    as_json: bool,
) -> None:
    """Give a key another secret and print it."""
    with open_runtime(store=False) as runtime:
        key, secret = runtime.catalog.api_keys.rotate(key_id, overlap=overlap, lifetime=lifetime)
    _show_new(key, secret, as_json=as_json)


@keys.command()
@key_id
@as_json
@click.pass_obj
def revoke(open_runtime: OpenRuntime, *, key_id: str, as_json: bool) -> None:
    """End a key and the tokens given for it."""
    with open_runtime(store=False) as runtime:
        key = runtime.catalog.api_keys.revoke(key_id)
    if as_json:
        terminal.show_json(key)
    else:
        click.echo(f"The key {key.id} is revoked.")


def _show_new(key: ApiKey, secret: Secret, *, as_json: bool) -> None:
    if not as_json:
        console.show_new_key(key, secret)
        return
    parts = {"key": secret.reveal(), "client_id": secret.id, "client_secret": secret.secret}
    terminal.show_json({**asdict(key), **parts})
