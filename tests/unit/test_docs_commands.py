"""Commands and messages that pages show exist in the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from celeriac.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = re.compile(r"(?s:```.*?```)|`[^`\n]+`|^ {4}.*$", re.MULTILINE)
COMMAND = re.compile(
    r"(?:^\s*(?:\$ )?|-- |do |bin/|worker )celeriac ([a-z][a-z-]+)((?: [^\n#`|]*)?)", re.MULTILINE
)
QUOTED = re.compile(r'"([^"\n]{6,})"')
QDRANTS = "doesn't exist!"
"""Words that are Qdrant's."""


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """The subcommands of `celeriac` that code on a page names, and what follows them."""
    for code in CODE.findall(page.read_text("utf-8")):
        yield from COMMAND.findall(code.strip("`"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_commands_exist_with_the_options_it_shows(page: Path) -> None:
    for name, rest in commands(page):
        assert name in main.commands, f"celeriac {name}"
        command = main.commands[name]
        if isinstance(command, click.Group):
            continue
        known = {option for one in command.params for option in one.opts}
        shown = set(re.findall(r"(?<![\w-])--[a-z-]+", rest))
        assert shown <= {*known, "--help"}, f"celeriac {name}{rest}"


def test_pages_show_commands() -> None:
    assert len([one for page in PAGES for one in commands(page)]) > 50


def test_messages_are_those_of_the_code() -> None:
    """Texts in quotes on the page of symptoms, in text and tables, are the code's own words."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    prose = CODE.sub("", page)
    quoted = [text for text in QUOTED.findall(prose) if text != QDRANTS]
    said = written()

    assert len(quoted) > 25
    assert [text for text in quoted if text not in said] == []


def written() -> str:
    """All sources, with strings that stand in several pieces put together."""
    files = [one for name in ("src", "api", "workers") for one in (ROOT / name).rglob("*.py")]
    text = "\n".join(one.read_text("utf-8") for one in files)
    text = re.sub(r'"\s*\n\s*f?"', "", text)
    return text.replace("{whose}", "Redis")  # the page shows one of several servers
