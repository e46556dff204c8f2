"""Reads server-sent events as a browser's EventSource does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Received:
    """One event; a comment has neither name nor data."""

    kind: str | None
    id: str | None
    data: Any = None
    retry: int | None = None


@contextmanager
def watching(
    client: httpx.Client, path: str, last_event_id: str | None = None
) -> Iterator[Iterator[Received]]:
    """The events of a stream as they come."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    with client.stream("GET", path, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield received(answer.iter_lines())


def received(lines: Iterator[str]) -> Iterator[Received]:
    """The events in a stream's lines."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        data, retry = fields.get("data"), fields.get("retry")
        yield Received(
            kind=fields.get("event"),
            id=fields.get("id"),
            data=None if data is None else json.loads(data),
            retry=None if retry is None else int(retry),
        )
        fields = {}
