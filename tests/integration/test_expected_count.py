"""What jobs of the successor contract say of a source that does not tell how much it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from application import Site
from harness import ListSource, World, article, local_world

from api import create_app

Json = dict[str, Any]


@pytest.fixture
def world(tmp_path: Path, redis_url: str) -> Iterator[World]:
    with local_world(tmp_path, redis_url=redis_url) as world:
        yield world


@pytest.mark.parametrize("pages", [1, 3])
def test_how_many_are_expected_is_known_once_they_are_listed(world: World, pages: int) -> None:
    world.source = ListSource([article(number) for number in range(10 * pages)])
    site = Site(create_app(world.runtime), world.runtime)
    job = world.request()
    key = site.key()
    seen: list[Json] = []

    def look() -> None:
        for path in (f"/{job.id}", ""):
            answer = site.ask("GET", f"/indexing/acme/reindex-jobs{path}", key).json
            assert answer is not None
            seen.append(answer[0] if not path else answer)

    load = world.runtime.usable

    def watched_load(model: str) -> Any:
        look()
        return load(model)

    world.runtime.usable = watched_load  # type: ignore[method-assign]
    look()
    world.run()
    look()
    counts = [one["expectedCount"] for one in seen]
    assert counts[:2] == [None, None]
    assert counts[-2:] == [10 * pages] * 2
    while_running = [one for one in seen[2:-2] if one["status"] == "PUBLISHED"]
    assert while_running
    assert {one["expectedCount"] for one in while_running} == {10 * pages}
