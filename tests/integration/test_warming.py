"""Which models a worker loads before anybody searches."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import deployment
import pytest
import servers
from articles import Articles
from harness import World, article

from celeriac.embedding.models import BUILTIN, EmbeddingModel, Engine
from celeriac.runtime import Runtime
from celeriac.warming import load_searched, searched_models

REMOTE = EmbeddingModel(
    name="stub",
    engine=Engine.GEMINI,
    dimension=768,
    max_length=2048,
    location="https://embeddings.test/v1beta",
    remote_name="m",
    api_key_variable="NO_SUCH_KEY",
)


def test_only_models_of_live_indexes_are_loaded(world: World) -> None:
    world.refresh()
    assert searched_models(world.runtime) == []
    world.source.entities = [article(1)]
    world.reindex()
    assert searched_models(world.runtime) == ["stub"]
    world.restart()
    world.refresh()
    load_searched(world.runtime)
    assert world.runtime.embedder("stub") is world.runtime.embedder("stub")


@pytest.mark.parametrize("changed", [REMOTE, replace(BUILTIN["stub"], dimension=7)])
def test_neither_remote_ones_nor_such_as_the_index_was_not_built_with(
    world: World, changed: EmbeddingModel
) -> None:
    world.source.entities = [article(1)]
    world.reindex()
    world.models["stub"] = changed
    world.refresh()
    assert searched_models(world.runtime) == []


def test_without_a_catalog_it_is_told_and_the_worker_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.refresh()
    away = replace(world.runtime.settings, database_url="postgresql+psycopg://127.0.0.1:1/x")
    runtime = Runtime(away)
    with caplog.at_level(logging.WARNING, "celeriac.warming"):
        load_searched(runtime)
    runtime.close()
    assert "no model is loaded ahead" in caplog.text


def test_a_worker_that_starts_loads_the_model_without_a_search(
    tmp_path: Path, redis_url: str, qdrant_server: servers.QdrantServer
) -> None:
    index = {"model": "all-minilm-l6-v2", "chunk_size": 100, "chunk_overlap": 10}
    articles = Articles.declare(tmp_path, index=index)
    articles.write([{"id": "a", "title": "Celeriac", "abstract": "A root."}])
    with deployment.deployment(
        tmp_path,
        articles.configuration,
        redis_url=redis_url,
        database_url=f"sqlite:///{tmp_path / 'catalog.sqlite'}",
        qdrant_url=qdrant_server.url,
        workers=1,
    ) as service:
        assert service.reindex("acme", "article")["state"] == "succeeded"
        worker = service.processes["worker-0"]
        assert worker.stop() == 0
        worker.start()
        worker.await_logged("model loaded ahead", 120)
        assert service.search("acme", "article", "root")[0]["entity_id"] == "a"
