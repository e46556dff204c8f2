"""`celeriac doctor` on real servers, each with the fault that it has to find."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import servers
from api_server import InProcess
from faults.disks import small_disk
from qdrant_client import QdrantClient, models
from sqlalchemy import text

from celeriac.catalog import Catalog
from celeriac.catalog.jobs import JobState
from celeriac.doctor import Finding, Level, broker, examine
from celeriac.embedding.registry import BUILTIN
from celeriac.inline import Inline
from celeriac.model import FilterField, FilterType
from celeriac.runtime import Runtime
from celeriac.settings import Settings
from celeriac.store.opening import open_server

ARTICLE = {
    "source": {"kind": "files", "path": "*.jsonl", "id": "id"},
    "text_fields": ["title"],
    "filter_fields": [{"key": "year", "type": "integer"}],
    "index": {"model": "stub", "own_collection": True},
}


@dataclass
class Installation:
    """Servers that are well, until a test does something to them."""

    environ: dict[str, str]
    redis: servers.RedisServer
    tenant: str
    options: dict[str, Any] = field(default_factory=dict)

    def examine(self) -> list[Finding]:
        return list(examine(Settings.load(self.environ), **self.options))

    def found(self, check: str) -> Finding:
        """The worst finding of a check."""
        return max((one for one in self.examine() if one.check == check), key=lambda one: one.level)

    def assert_found(self, check: str, level: Level, message: str, remedy: str) -> None:
        found = self.found(check)
        assert (found.level, message in found.message) == (level, True), found
        assert remedy in found.remedy, found

    @property
    def collection(self) -> str:
        (name,) = {one.message.split()[0] for one in self.examine() if one.check == "collections"}
        return name.strip("'")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.RedisServer]:
    with servers.redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def installation(
    redis: servers.RedisServer,
    qdrant_server: servers.QdrantServer,
    postgres_url: str,
    tmp_path: Path,
    collection_name: str,
) -> Iterator[Installation]:
    tenant = f"t{collection_name[-12:]}"
    declared = {"tenants": {tenant: {"entity_types": {"article": ARTICLE}}}}
    (tmp_path / "celeriac.yaml").write_text(json.dumps(declared), "utf-8")
    catalog = Catalog(postgres_url)
    catalog.migrate()
    catalog.close()
    yield Installation(
        {
            "CELERIAC_HOME": str(tmp_path),
            "CELERIAC_CONFIG": str(tmp_path / "celeriac.yaml"),
            "CELERIAC_REDIS_URL": redis.url,
            "CELERIAC_DATABASE_URL": postgres_url,
            "CELERIAC_QDRANT_URL": qdrant_server.url,
        },
        redis,
        tenant,
    )
    with redis.client() as client:
        client.flushall()
        client.config_set("appendonly", "yes")
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)


def test_all_is_well(installation: Installation) -> None:
    found = installation.examine()
    assert {one.level for one in found if one.check != "disk"} == {Level.OK}, found
    checks = {one.check for one in found}
    assert checks >= {"redis", "catalog", "qdrant", "collections", "clocks", "models", "gpu"}


def test_redis_that_evicts(installation: Installation) -> None:
    with installation.redis.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    installation.assert_found("redis eviction", Level.ERROR, "allkeys-lru", "noeviction")


def test_redis_that_keeps_nothing(installation: Installation) -> None:
    with installation.redis.client() as client:
        client.config_set("appendonly", "no")
    installation.assert_found("redis persistence", Level.WARNING, "AOF is off", "appendonly yes")


def test_redis_that_is_nearly_full(installation: Installation) -> None:
    with installation.redis.client() as client:
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", int(used * 1.02))
    installation.assert_found("redis memory", Level.WARNING, "are used", "maxmemory")


def test_a_task_that_outlasts_the_visibility_timeout(installation: Installation) -> None:
    with installation.redis.client() as client:
        client.zadd(broker.UNACKNOWLEDGED, {"tag": time.time() - 400})
    installation.assert_found("visibility timeout", Level.WARNING, "400 s", "page_size")


def test_clocks_that_differ(installation: Installation) -> None:
    installation.options["clock"] = lambda: time.time() - 900
    installation.assert_found("clocks", Level.ERROR, "900.0 s ahead of ours", "time server")
    skewed = [one for one in installation.examine() if one.check == "clocks"]
    assert [one.level for one in skewed] == [Level.ERROR, Level.ERROR]
    installation.options["clock"] = lambda: time.time() + 20
    installation.assert_found("clocks", Level.WARNING, "behind ours", "time server")


@pytest.mark.parametrize(
    ("check", "variable", "url"),
    [
        ("redis", "CELERIAC_REDIS_URL", "redis://127.0.0.1:9/0"),
        ("catalog", "CELERIAC_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:9/x"),
        ("qdrant", "CELERIAC_QDRANT_URL", "http://127.0.0.1:9"),
    ],
)
def test_a_server_that_is_away(
    installation: Installation, check: str, variable: str, url: str
) -> None:
    installation.environ[variable] = url
    found = installation.found(check)
    assert found.level == Level.ERROR
    assert variable in found.message


def test_a_schema_of_another_version(installation: Installation) -> None:
    catalog = Catalog(installation.environ["CELERIAC_DATABASE_URL"])
    set_revision = text("UPDATE alembic_version SET version_num = :revision")
    with catalog.database.write() as connection:
        connection.execute(set_revision, {"revision": "0001"})
    installation.assert_found("catalog schema", Level.WARNING, "revision 0001", "backup")
    with catalog.database.write() as connection:
        connection.execute(set_revision, {"revision": "9999"})
    catalog.close()
    installation.assert_found("catalog schema", Level.ERROR, "newer", "restore")


def test_a_collection_of_another_dimension(installation: Installation) -> None:
    url = installation.environ["CELERIAC_QDRANT_URL"]
    client = QdrantClient(url=url, check_compatibility=False)
    params = models.VectorParams(size=10, distance=models.Distance.COSINE)
    client.create_collection(installation.collection, vectors_config=params)
    client.close()
    dimension = BUILTIN["stub"].dimension
    installation.assert_found(
        "collections",
        Level.ERROR,
        f"10 dimensions compared by Cosine, and this index needs {dimension}",
        "own_collection",
    )


def test_a_payload_index_that_is_missing_or_of_another_type(installation: Installation) -> None:
    name, url = installation.collection, installation.environ["CELERIAC_QDRANT_URL"]
    store = open_server(url)
    store.ensure_collection(name, BUILTIN["stub"].dimension, [])
    store.close()
    installation.assert_found("collections", Level.ERROR, "'metadata.year'", "Reindex")
    store = open_server(url)
    year = FilterField("year", FilterType.STRING)
    store.ensure_collection(name, BUILTIN["stub"].dimension, [year])
    store.close()
    installation.assert_found("collections", Level.ERROR, "as keyword", "declare the filter field")


def test_a_collection_that_is_gone_though_it_is_searched(installation: Installation) -> None:
    assert "is not there yet" in installation.found("collections").message
    folder, name = Path(installation.environ["CELERIAC_HOME"]), installation.collection
    (folder / "a.jsonl").write_text(json.dumps({"id": "a", "title": "Soup", "year": 1960}) + "\n")
    runtime = Runtime(Settings.load(installation.environ))
    assert Inline(runtime).reindex(installation.tenant, "article").state == JobState.SUCCEEDED
    assert "is as it has to be" in installation.found("collections").message

    url = installation.environ["CELERIAC_QDRANT_URL"]
    with closing(QdrantClient(url=url, check_compatibility=False)) as client:
        client.delete_collection(name)
    searched = f"{name} is gone, and with it what is searched of {installation.tenant}/article."
    installation.assert_found("collections", Level.ERROR, searched, "Reindex every index")

    job = Inline(runtime).reindex(installation.tenant, "article")
    runtime.close()
    assert (job.state, job.counters.indexed) == (JobState.SUCCEEDED, 1)
    assert installation.found("collections").level == Level.OK


def declare(installation: Installation, **index: Any) -> None:
    path = Path(installation.environ["CELERIAC_CONFIG"])
    declared = {"article": {**ARTICLE, "index": index}}
    tenants = {installation.tenant: {"entity_types": declared}}
    gone = {"engine": "torch", "location": "x/y", "revision": "0" * 40}
    models = {"gone": {**gone, "dimension": 384, "max_length": 9}}
    path.write_text(json.dumps({"tenants": tenants, "models": models}), "utf-8")


def test_a_model_that_is_not_here_and_a_gpu_that_is_not(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    declare(installation, model="gone")
    assert installation.found("models").level == Level.ERROR
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        installation.environ["CELERIAC_DEVICE"] = "cuda"
        remedy = "Check the driver" if torch.version.cuda else "torch's build for CUDA"
        installation.assert_found("gpu", Level.ERROR, "no such device", remedy)


def test_models_are_loaded_where_that_is_asked_for(installation: Installation) -> None:
    installation.options["load_models"] = True
    assert "computes vectors of 384 dimensions" in installation.found("models").message


def test_a_disk_that_is_full(installation: Installation, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 100) as disk:
        if not disk.mounted:
            pytest.skip("a small disk has to be mounted, and this user may not mount one")
        installation.environ["CELERIAC_HOME"] = str(disk.folder / "home")
        installation.assert_found("disk", Level.ERROR, "0.1 GiB are free", "CELERIAC_HOME")


def test_the_command_ends_with_the_worst_finding(installation: Installation) -> None:
    cli = InProcess({**installation.environ, "CELERIAC_REDIS_ULR": "x"})
    found = cli.json("doctor", status=3)
    assert found["level"] == "warning"
    (unknown,) = [one for one in found["findings"] if one["check"] == "configuration"][:1]
    assert "did you mean CELERIAC_REDIS_URL?" in unknown["message"]
    with installation.redis.client() as client:
        client.config_set("maxmemory-policy", "volatile-lru")
    shown = cli("doctor", status=1).stdout
    assert "Set maxmemory-policy noeviction." in shown
