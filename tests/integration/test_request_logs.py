"""What the API logs of a request that it could not serve."""

from __future__ import annotations

import logging

import pytest
from application import Open, Site

from celeriac.logs import FORMAT, DetailFormatter
from workers import searching

SEARCH = "/ai-rag-indexer/acme/article/search"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged, as it stands in the log."""
    found: list[str] = []

    def emit(record: logging.LogRecord) -> None:
        found.append(DetailFormatter(FORMAT).format(record))

    monkeypatch.setattr(caplog.handler, "emit", emit)
    return found


def test_a_search_that_no_worker_answers_is_one_line_that_says_which(
    site: Site, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "WAIT", 1.0)
    answer = site.ask("POST", SEARCH, site.key(), {"text": "a secret question"})
    assert answer.status_code == 504
    (line,) = lines
    assert "\n" not in line
    assert " WARNING " in line
    for detail in ("status=504", "tenant=acme", "entity_type=article", "seconds=", "within 1 s"):
        assert detail in line
    assert "secret" not in line


def test_what_is_in_a_path_stays_on_its_line(open_site: Open, lines: list[str]) -> None:
    site = open_site(redis="redis://127.0.0.1:1/0")
    answer = site.ask("GET", f"/checks/x%0AERROR%20forged{'x' * 500}", site.key())
    assert answer.status_code == 503
    (line,) = (one for one in lines if "check_id" in one)
    assert "\n" not in line
    assert "status=503" in line
    assert "x" * 200 not in line
