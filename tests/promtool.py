"""Prometheus's own checker: on PATH, or out of Debian's package."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from servers import CACHE, unavailable


def promtool() -> Path:
    """The program; see `servers.unavailable` where there is none and none can be fetched."""
    if found := shutil.which("promtool"):
        return Path(found)
    CACHE.mkdir(exist_ok=True)
    binary = CACHE / "promtool"
    with (CACHE / "promtool.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            _fetch(binary)
    return binary


def checked(*arguments: str, given: str | None = None) -> str:
    """What promtool says where it finds nothing wrong."""
    done = subprocess.run(
        [str(promtool()), *arguments], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _fetch(binary: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        unavailable("no promtool on PATH, and no apt-get to fetch Debian's prometheus with")
    if os.geteuid() == 0:
        subprocess.run(["apt-get", "-qq", "update"], stdout=subprocess.DEVNULL, check=False)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        # apt verifies the package by the signed lists of the distribution.
        fetched = subprocess.run(
            ["apt-get", "download", "prometheus"],
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        packages = list(Path(scratch).glob("prometheus_*.deb"))
        if fetched.returncode or not packages:
            unavailable(f"no promtool on PATH, and apt-get could not fetch it: {fetched.stderr}")
        unpacked = Path(scratch) / "unpacked"
        subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(unpacked)], check=True)
        (unpacked / "usr" / "bin" / "promtool").replace(binary)
