"""Who has a data folder open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from celeriac.errors import ConfigurationError
from celeriac.home import home_lock


def test_whoever_comes_second_is_told_who_has_it(tmp_path: Path) -> None:
    with (
        home_lock(tmp_path, "celeriac plan"),
        pytest.raises(ConfigurationError, match=f"process {os.getpid()}, celeriac plan"),
        home_lock(tmp_path, "celeriac audit"),
    ):
        pass


def test_it_is_free_again_and_says_who_has_it_next(tmp_path: Path) -> None:
    with home_lock(tmp_path, "a longer name than the next one's"):
        pass
    with home_lock(tmp_path, "celeriac plan"):
        assert (tmp_path / "lock").read_text("utf-8") == f"process {os.getpid()}, celeriac plan"
    assert (tmp_path / "lock").read_text("utf-8") == ""
