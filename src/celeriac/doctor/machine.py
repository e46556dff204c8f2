"""This machine: how much room there is."""

from __future__ import annotations

import shutil
from pathlib import Path

from celeriac.doctor.findings import Findings, error, fine, warning

LITTLE, TOO_LITTLE = 2 * 1024**3, 256 * 1024**2
"""Bytes free below which it is a warning, and below which an error."""


def disk(folder: Path) -> Findings:
    """Whether there is room where standalone keeps its data."""
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(existing).free
    said = f"{free / 1024**3:,.1f} GiB are free at {existing}."
    remedy = "Make room, or set CELERIAC_HOME to another disk."
    if free < TOO_LITTLE:
        yield error("disk", said, remedy)
    elif free < LITTLE:
        yield warning("disk", said, remedy)
    else:
        yield fine("disk", said)
