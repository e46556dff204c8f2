"""What the command line writes with: tables, bars, JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 160
"""Columns where the output is no terminal."""

LINE_INTERVAL = 15.0
"""Seconds between two lines on how far something is, where stderr is no terminal."""

Row = tuple[str, object]
Show = Callable[[str, float | None, str], None]


def output(*, errors: bool = False) -> Console:
    """A console on stdout, or on stderr."""
    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(stderr=errors, width=width, highlight=False, markup=False, emoji=False)


def show_json(value: object) -> None:
    """Print a dataclass, or what is made of them, as JSON."""
    click.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(type(value).__name__)


@contextmanager
def bar() -> Iterator[Show]:
    """A progress bar on stderr where that is a terminal, else a line now and then: what is yielded
    shows a state, a percentage and what is said beside the bar."""
    shown = output(errors=True)
    if not shown.is_terminal:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=shown, transient=True) as bars:
        task = bars.add_task("queued", total=None, said="")

        def show(state: str, percentage: float | None, said: str) -> None:
            bars.update(
                task,
                description=state,
                total=100 if percentage else None,
                completed=percentage,
                said=said,
            )

        yield show


def _lines() -> Show:
    """Says how far it is on a line of its own each `LINE_INTERVAL`."""
    begun = said_at = time.monotonic()

    def show(state: str, percentage: float | None, said: str) -> None:
        nonlocal said_at
        now = time.monotonic()
        if now - said_at >= LINE_INTERVAL:
            said_at = now
            done = f"{percentage:.0f} %" if percentage else ""
            parts = (f"after {now - begun:.0f} s", state, done, said)
            click.echo(", ".join(filter(None, parts)), err=True)

    return show


def show_rows(rows: Iterable[Row]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, text_of(value))
    output().print(table)


def table_of(*headings: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def text_of(value: object) -> Text:
    return Text(str(value))


def say(line: str) -> None:
    output().print(line, soft_wrap=True)


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 1 else "a second"


def size_of(count: float) -> str:
    """Bytes, for people."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:  # noqa: PLR2004 - the step from one unit to the next
            return f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= PIPED_WIDTH else f"{text[:PIPED_WIDTH]}..."
