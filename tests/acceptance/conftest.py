"""A deployment over the articles that a module declares as `documents`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sites
from articles import Articles
from collection import JsonObject
from sites import Site


@pytest.fixture
def articles(tmp_path: Path, documents: list[JsonObject]) -> Articles:
    articles = Articles.declare(tmp_path)
    articles.write(documents)
    return articles


@pytest.fixture
def workers() -> int:
    """How many worker processes the site has."""
    return 2


@pytest.fixture
def site(tmp_path: Path, articles: Articles, workers: int) -> Iterator[Site]:
    with sites.site(tmp_path, articles.configuration, workers=workers) as site:
        yield site
