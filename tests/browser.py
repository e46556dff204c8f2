"""A real Chromium without a window, for tests of what people see.

It is the one on PATH; where CI runs as root on Debian and there is none, Debian's is installed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from servers import unavailable

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PACKAGES = ("chromium", "chromium-driver")


@contextlib.contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[webdriver.Chrome]:
    """A browser of its own, its profile in an empty folder."""
    browser, driver = _programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield opened
    finally:
        opened.quit()


def _programs() -> tuple[str, str]:
    """Chromium and its driver."""
    if shutil.which("chromium") is None and os.environ.get("CI") == "true":
        _install()
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        unavailable("There is no chromium with its chromedriver on PATH; install Debian's.")
    return browser, driver


def _install() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", "-qq", *arguments], check=True, stdout=subprocess.DEVNULL)
