"""The command `celeriac` as a process, on a running standalone and on servers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import deployment
import pytest
import servers
from click.testing import CliRunner
from deployment import Json, Service

from celeriac.catalog import Catalog
from celeriac.cli import main
from celeriac.model import Partition
from celeriac.store.base import VectorStore
from celeriac.store.opening import open_server

ARTICLE: Json = {
    "source": {"kind": "files", "path": "documents.jsonl", "id": "id", "page_size": 10},
    "text_fields": ["title", "body"],
    "filter_fields": [{"key": "year", "type": "integer"}],
    "index": {"model": "stub", "chunk_size": 100, "chunk_overlap": 0},
}


def document(number: int, words: int = 150) -> Json:
    body = " ".join(f"word{number}x{position}" for position in range(words))
    return {"id": f"d{number}", "title": f"Title {number}", "body": body, "year": 1960 + number % 5}


def write_documents(folder: Path, documents: list[Json], name: str = "documents.jsonl") -> None:
    lines = "".join(json.dumps(one) + "\n" for one in documents)
    (folder / name).write_text(lines, encoding="utf-8")


class Cli:
    """Runs the command with an environment of its own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(deployment.ROOT / "src"),
            **environment,
        }

    def __call__(self, *arguments: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        answer = subprocess.run(
            [sys.executable, "-m", "celeriac.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert status in (None, answer.returncode), answer.stdout + answer.stderr
        return answer

    def json(self, *arguments: str, status: int = 0) -> Any:
        answer = self(*arguments, "--json", status=status)
        assert answer.stderr == ""
        return json.loads(answer.stdout)

    def error(self, *arguments: str) -> str:
        """The one line on stderr of a command that fails."""
        answer = self(*arguments, status=1)
        assert answer.stdout == ""
        assert answer.stderr.count("\n") == 1
        assert answer.stderr.startswith("celeriac: ")
        return answer.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def service(folder: Path, qdrant_server: servers.QdrantServer) -> Iterator[Service]:
    """Standalone with its own catalog and Redis, on a Qdrant server that others may use too."""
    write_documents(folder, [document(number) for number in range(40)])
    write_documents(folder, [document(number) for number in range(4_000)], "slow.jsonl")
    one_a_page = {**ARTICLE["source"], "path": "slow.jsonl", "page_size": 1}
    slow = {**ARTICLE, "source": one_a_page}
    types = {"article": ARTICLE, "slow": slow}
    configuration = deployment.write_configuration(folder, {"shop": types})
    with deployment.standalone(
        folder, configuration, CELERIAC_QDRANT_URL=qdrant_server.url
    ) as service:
        yield service


@pytest.fixture(scope="module")
def cli(folder: Path, service: Service, qdrant_server: servers.QdrantServer) -> Cli:
    return Cli(
        {
            "CELERIAC_HOME": str(folder / "home"),
            "CELERIAC_CONFIG": str(folder / "celeriac.yaml"),
            "CELERIAC_QDRANT_URL": qdrant_server.url,
            "CELERIAC_API_KEY": deployment.API_KEY,
            "CELERIAC_PORT": service.url.rpartition(":")[2],
        }
    )


@pytest.fixture
def documents(folder: Path, cli: Cli) -> list[Json]:
    """Forty documents that are indexed as they are."""
    documents = [document(number) for number in range(40)]
    write_documents(folder, documents)
    cli("reindex", "shop", "article", "--watch")
    return documents


@pytest.fixture
def live(folder: Path, documents: list[Json], service: Service) -> Iterator[Partition]:
    catalog = Catalog(f"sqlite:///{folder / 'home' / 'catalog.sqlite'}")
    index = catalog.indexes.find("shop", "article")
    assert index is not None
    found = catalog.indexes.live(index.id)
    assert found is not None
    yield found.partition
    catalog.close()


@pytest.fixture
def store(qdrant_server: servers.QdrantServer) -> Iterator[VectorStore]:
    store = open_server(qdrant_server.url)
    yield store
    store.close()


def test_a_reindex_is_watched_to_its_end(cli: Cli, documents: list[Json]) -> None:
    job = cli.json("reindex", "shop", "article", "--watch")
    assert (job["state"], job["counters"]["listed"], job["errors"]) == ("succeeded", 40, [])
    shown = cli("reindex", "shop", "ARTICLE", "--watch").stdout
    assert "succeeded" in shown
    assert "unchanged" in shown


def test_a_watched_job_that_fails_ends_with_status_3(
    cli: Cli, folder: Path, documents: list[Json]
) -> None:
    write_documents(folder, documents[:3])
    job = cli.json("reindex", "shop", "article", "--watch", status=3)
    assert job["state"] == "failed"
    assert "37 of the 40" in job["message"]
    confirmed = cli.json("confirm-removal", job["id"], "--watch")
    assert (confirmed["counters"]["removed"], confirmed["counters"]["unchanged"]) == (37, 3)


def test_a_plan_tells_what_the_reindex_then_does(
    cli: Cli, folder: Path, documents: list[Json]
) -> None:
    write_documents(folder, [*documents[1:], document(99), {"id": "bad", "title": " "}])
    plan = cli.json("plan", "shop", "article")
    counted = {name: plan[name] for name in ("added", "changed", "removed", "unchanged", "failed")}
    assert counted == {"added": 1, "changed": 0, "removed": 1, "unchanged": 39, "failed": 1}
    shown = cli("plan", "shop", "article").stdout
    assert "EmptyText" in shown
    assert f"{plan['chunks_to_embed']} chunks" in shown
    counters = cli.json("reindex", "shop", "article", "--watch")["counters"]
    assert counters["embedded"] == plan["chunks_to_embed"]
    assert (counters["indexed"], counters["removed"]) == (1, 1)


def test_a_plan_names_what_changed_in_the_declaration(
    cli: Cli, folder: Path, documents: list[Json]
) -> None:
    index = {**ARTICLE["index"], "chunk_size": 128}
    changed = folder / "changed"
    changed.mkdir(exist_ok=True)
    write_documents(changed, documents)
    path = deployment.write_configuration(
        changed, {"shop": {"article": {**ARTICLE, "index": index}}}
    )
    other = Cli({**cli.environment, "CELERIAC_CONFIG": str(path)})
    assert "splitting.chunk_size: 100 -> 128" in other("plan", "shop", "article").stdout
    assert "celeriac plan shop article" in other.error("audit", "shop", "article")


def test_an_audit_finds_and_repairs_differences(
    cli: Cli, live: Partition, store: VectorStore
) -> None:
    assert cli.json("audit", "shop", "article")["equal"]
    store.delete_chunks(live, [("d7", 1)])
    store.void(live, {"d9": 2})
    found = cli.json("audit", "shop", "article", status=3)
    assert found["found"]["half_written"]["entity_ids"] == ["d7", "d9"]
    assert not found["equal"]
    shown = cli("audit", "shop", "article", status=3).stdout
    assert "void marker: 1" in shown
    assert "differs" in shown

    repaired = cli("audit", "shop", "article", "--repair").stdout
    assert "2 entities indexed again" in repaired
    assert cli.json("audit", "shop", "article")["equal"]
    assert len(store.chunks(live, [("d7", 1)])) == 1


def test_an_entity_is_explained(cli: Cli, documents: list[Json]) -> None:
    found = cli.json("explain", "shop", "article", "d3")
    assert (found["state"], found["metadata"]["year"]) == ("indexed", 1963)
    assert found["chunks"][0]["start"].startswith("Title 3")
    shown = cli("explain", "shop", "article", "d3").stdout
    assert "Title 3" in shown
    unknown = cli.json("explain", "shop", "article", "d333", status=1)
    assert unknown["state"] == "absent"
    assert "d33" in unknown["similar"]
    assert "did you mean" in cli.error("explain", "shop", "article", "d333")


def test_a_search_finds_the_text_itself(cli: Cli, documents: list[Json], live: Partition) -> None:
    text = cli.json("explain", "shop", "article", "d3")["chunks"][0]["start"]
    hits = cli.json("search", "shop", "article", text, "--top-k", "40")["hits"]
    assert len(hits) == 40
    filtered = ("--filter", "year=1963", "--top-k", "200")
    hits = cli.json("search", "shop", "article", text, *filtered)["hits"]
    assert {hit["metadata"]["year"] for hit in hits} == {1963}
    assert "d3" in cli("search", "shop", "article", text, *filtered).stdout
    within = ("--filter", "year>1961", "--filter", "year<=1963", "--top-k", "200")
    hits = cli.json("search", "shop", "article", text, *within)["hits"]
    assert {hit["metadata"]["year"] for hit in hits} == {1962, 1963}
    assert "no filter field" in cli.error("search", "shop", "article", "x", "--filter", "x=1")


def test_jobs_are_listed_newest_first(cli: Cli, documents: list[Json]) -> None:
    job = cli.json("reindex", "shop", "article", "--watch")
    listed = cli.json("jobs", "--tenant", "shop", "--limit", "2")
    assert listed[0]["id"] == job["id"]
    assert len(listed) == 2
    assert job["id"] in cli("jobs").stdout
    assert cli.json("jobs", "--tenant", "nobody") == []


def test_a_doctor_finds_the_servers_of_a_standalone_that_runs(
    cli: Cli, documents: list[Json]
) -> None:
    found = json.loads(cli("doctor", "--json", status=None).stdout)
    levels = {(one["check"], one["level"]) for one in found["findings"] if one["check"] != "disk"}
    assert {level for _, level in levels} == {"ok"}, found
    checks = {check for check, _ in levels}
    assert checks >= {"redis persistence", "redis eviction", "catalog schema", "collections"}


def test_a_job_is_cancelled(cli: Cli) -> None:
    running = cli.json("reindex", "shop", "slow")
    assert running["state"] in ("queued", "running")
    assert cli.json("cancel", running["id"])["state"] == "cancelled"


def test_what_failed_in_a_job_is_retried(cli: Cli, folder: Path, documents: list[Json]) -> None:
    bad = [{**document(n), "title": "\0"} for n in range(3)]
    write_documents(folder, [*bad, {"id": "d3", "title": " "}, *documents[4:]])
    job = cli.json("reindex", "shop", "article", "--watch")
    assert job["counters"]["failed"] == 4
    shown = cli("reindex", "shop", "article", "--strict", status=3).stdout
    assert "36 of 40 indexed; 4 cannot be, see the errors." in shown
    write_documents(folder, [*bad[:1], *documents[1:]])

    refused = cli.error("retry", job["id"], "--class", "MissingId")
    assert "by class: EmptyText: 1, NotText: 3" in refused
    assert "may succeed as it stands" in cli.error("retry", job["id"], "--retryable-only")
    retried = cli.json("retry", job["id"], "--class", "NotText", "--watch")
    assert (retried["mode"], retried["retries"]) == ("retry", [job["id"]])
    counters = retried["counters"]
    assert (counters["listed"], counters["unchanged"], counters["failed"]) == (3, 2, 1)
    failed = cli.json("retry", retried["id"], "--watch", status=3)
    assert "None of the 1 listed entities could be indexed" in failed["message"]
    shown = cli("retry", job["id"], "--class", "EmptyText", "--watch").stdout
    assert job["id"] in shown
    assert "1 now equal the source" in shown
    assert "retry" in cli("jobs", "--limit", "1").stdout
    assert "There is no job" in cli.error("retry", "00000000-0000-0000-0000-000000000000")


def test_a_job_that_ended_cannot_be_cancelled_any_more(cli: Cli, documents: list[Json]) -> None:
    job = cli.json("reindex", "shop", "article", "--watch")
    assert "has succeeded already" in cli.error("cancel", job["id"])
    assert "There is no job" in cli.error("cancel", "00000000-0000-0000-0000-000000000000")


def test_errors_are_one_line_and_say_what_to_do(cli: Cli, folder: Path) -> None:
    assert "no entity type 'artcle'" in cli.error("plan", "shop", "artcle")
    for command in ("plan", "generations"):
        assert "did you mean 'shop'?" in cli.error(command, "shpo", "article")
    assert "no entity type" in cli.error("reindex", "shop", "artcle")
    assert "check --url" in cli.error("reindex", "shop", "article", "--url", "http://127.0.0.1:9")
    assert "give --key" in cli.error("reindex", "shop", "article", "--key", "wrong")
    keyless = Cli({**cli.environment, "CELERIAC_API_KEY": ""})
    assert "CELERIAC_API_KEY" in keyless.error("cancel", "x")
    bare = Cli({"CELERIAC_HOME": str(folder / "nowhere")})
    assert "CELERIAC_DATABASE_URL" in bare.error("jobs")
    assert "CELERIAC_QDRANT_URL" in bare.error("plan", "shop", "article")
    wrong = Cli({"CELERIAC_PORT": "x", "CELERIAC_HOST": "a/b"}).error("jobs")
    assert "CELERIAC_PORT" in wrong
    assert "CELERIAC_HOST" in wrong


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "shop"],
        ["nothing"],
        ["audit", "shop", "article", "--mend"],
        ["search", "shop", "article", "x", "--top-k", "0"],
        ["search", "shop", "article", "x", "--filter", "year"],
    ],
)
def test_wrong_usage_has_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_standalones_own_data_is_read_whether_it_runs_or_not(tmp_path: Path) -> None:
    documents = [document(number) for number in range(15)]
    write_documents(tmp_path, documents)
    configuration = deployment.write_configuration(tmp_path, {"shop": {"article": ARTICLE}})
    cli = Cli({"CELERIAC_HOME": str(tmp_path / "home"), "CELERIAC_CONFIG": str(configuration)})
    for command in (["jobs"], ["plan", "shop", "article"]):
        assert "a standalone celeriac has no data in" in cli.error(*command)
    with deployment.standalone(tmp_path, configuration) as service:
        through = ("--url", service.url, "--key", deployment.API_KEY)
        assert cli.json("reindex", "shop", "article", "--watch", *through)["state"] == "succeeded"
        assert len(cli.json("jobs")) == 1
        assert "CELERIAC_API_KEY" in cli.error("plan", "shop", "article")
        keyed = Cli({**cli.environment, "CELERIAC_API_KEY": deployment.API_KEY})
        running = found_by(keyed)
        assert "no entity type 'nosuch'" in keyed.error("audit", "shop", "nosuch")
    assert found_by(cli) == running
    assert cli.json("audit", "shop", "article", "--repair")["equal"]
    assert len(cli.json("jobs")) == 2


def found_by(cli: Cli) -> list[Json]:
    """What commands tell of an index of fifteen documents that equals its source."""
    plan = cli.json("plan", "shop", "article")
    assert plan["unchanged"] == 15
    assert "leave" in cli("plan", "shop", "article").stdout
    audit = cli.json("audit", "shop", "article")
    assert audit["equal"]
    assert "equals the source" in cli("audit", "shop", "article").stdout
    explanation = cli.json("explain", "shop", "article", "d3")
    assert (explanation["state"], explanation["metadata"]["year"]) == ("indexed", 1963)
    unknown = cli.json("explain", "shop", "article", "d/333?x=1", status=1)
    hits = cli.json("search", "shop", "article", "Title 3", "--filter", "year=1963")["hits"]
    assert {hit["metadata"]["year"] for hit in hits} == {1963}
    return [plan, audit, explanation, unknown, *({**hit, "score": 0} for hit in hits)]


def test_a_standalone_that_made_its_key_lets_its_user_in_and_nobody_else(tmp_path: Path) -> None:
    write_documents(tmp_path, [document(number) for number in range(5)])
    configuration = deployment.write_configuration(tmp_path, {"shop": {"article": ARTICLE}})
    home = tmp_path / "home"
    with deployment.standalone(tmp_path, configuration, CELERIAC_API_KEY="") as service:
        cli = Cli(
            {
                "CELERIAC_HOME": str(home),
                "CELERIAC_CONFIG": str(configuration),
                "CELERIAC_PORT": service.url.rpartition(":")[2],
            }
        )
        assert cli.json("reindex", "shop", "article", "--watch")["state"] == "succeeded"
        assert cli.json("audit", "shop", "article", "--repair")["equal"]
        assert (home / "api.json").stat().st_mode & 0o777 == 0o600
        elsewhere = ("--url", service.url.replace("127.0.0.1", "localhost"))
        assert "There is no key" in cli.error("reindex", "shop", "article", *elsewhere)
        service.processes["standalone"].kill()
        assert "There is no key" in cli.error("reindex", "shop", "article")
        assert cli.json("plan", "shop", "article")["unchanged"] == 5
    assert not (home / "api.json").exists()
