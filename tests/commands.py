"""Whether the commands that files start can be run."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

import click
from celery.bin.celery import celery as celery_command


def assert_celery_knows(arguments: list[str]) -> None:
    """The application can be found, and the command has these options."""
    assert arguments[0] == "-A"
    assert importlib.import_module(arguments[1]).app
    plugins = {plugin.name: plugin for plugin in entry_points(group="celery.commands")}
    name = arguments[2]
    command = plugins[name].load() if name in plugins else celery_command.commands[name]
    if name != "flower":  # which reads its options itself
        command.make_parser(click.Context(command)).parse_args(arguments[3:])
