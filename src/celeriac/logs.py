"""Log lines that say which job, page and reason they are about."""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class DetailFormatter(logging.Formatter):
    """Ends celeriac's lines with what was logged as `extra`: `job failed, job=6f0c reason=...`.

    celeriac's own records are known by their `action`; other libraries put all sorts of things
    into `extra`.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line = super().formatMessage(record)
        if not hasattr(record, "action"):
            return line
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        return f"{line}, " + " ".join(f"{name}={value}" for name, value in extra.items())


def configure(level: int | str = logging.WARNING, file: str | None = None) -> None:
    """Log to `file`, or to stderr. Changes nothing where the process logs already."""
    handler = logging.FileHandler(file, encoding="utf-8") if file else logging.StreamHandler()
    handler.setFormatter(DetailFormatter(FORMAT))
    logging.basicConfig(level=level, handlers=[handler])
