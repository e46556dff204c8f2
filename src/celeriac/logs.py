"""Log lines that say which job, tenant, page and reason they are about, as text or as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FORMATS = ("text", "json")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_about: ContextVar[dict[str, Any] | None] = ContextVar("about", default=None)


@contextmanager
def about(**details: object) -> Iterator[None]:
    """Have every line that this thread logs in the block say what it is about."""
    token = _about.set({**(_about.get() or {}), **details})
    try:
        yield
    finally:
        _about.reset(token)


def add(**details: object) -> None:
    """Say more of what the innermost `about` is about, where there is one."""
    current = _about.get()
    if current is not None:
        current.update(details)


def _details(record: logging.LogRecord) -> dict[str, Any]:
    """What a line is about: what was logged as `extra`, and what its thread is at."""
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    # Other libraries put all sorts of things into `extra`; our records are known by their action.
    return {**(extra if "action" in extra else {}), **_rest(extra)}


def _rest(extra: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (_about.get() or {}).items() if name not in extra}


class DetailFormatter(logging.Formatter):
    """Ends celeriac's lines with what they are about: `job failed, job=6f0c reason=...`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line = super().formatMessage(record)
        if not hasattr(record, "action"):
            return line
        return f"{line}, " + " ".join(f"{name}={value}" for name, value in _details(record).items())


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time, level, logger, message, what it is about, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        details = {name: value for name, value in _details(record).items() if name not in line}
        if record.exc_info:
            details["traceback"] = self.formatException(record.exc_info)
        return json.dumps({**line, **details}, ensure_ascii=False, default=str)


def configure(
    level: int | str = logging.WARNING, file: str | None = None, *, format: str = "text"
) -> None:
    """Log to `file`, or to stderr, in one of FORMATS. Changes nothing where the process logs
    already."""
    handler = logging.FileHandler(file, encoding="utf-8") if file else logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if format == "json" else DetailFormatter(FORMAT))
    logging.basicConfig(level=level, handlers=[handler])
