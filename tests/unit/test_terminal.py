"""How far something is, where stderr is no terminal."""

from __future__ import annotations

import pytest

from celeriac import terminal


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with terminal.bar() as show:
        show("running", 40.4, "80 entities")
        show("running", None, "81 entities")
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_it_is_said_on_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(capsys) == []
    monkeypatch.setattr(terminal, "LINE_INTERVAL", 0.0)
    assert shown(capsys) == [
        "after 0 s, running, 40 %, 80 entities",
        "after 0 s, running, 81 entities",
    ]
