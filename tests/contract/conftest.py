"""The running service that the tests of the API's contracts share."""

from __future__ import annotations

from collections.abc import Iterator

import live_service
import pytest


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live_service.World]:
    with live_service.world(tmp_path_factory.mktemp("live")) as made:
        yield made
