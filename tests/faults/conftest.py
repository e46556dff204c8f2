"""The site that the fault tests share, the seed, and the summary at the end.

CELERIAC_TEST_SEED=7 pytest tests/faults/...     replay: sources, faults and moments by chance
CELERIAC_TEST_SEEDS=50 pytest tests/faults       that many seeds of the tests that take one each
CELERIAC_TEST_REPORT=page.md pytest tests/faults write the summary's table into a page
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sites
from api_source import TIMEOUT
from articles import Articles, article_declaration
from deployment import injection, write_configuration
from disks import small_disk
from figures import Figures, Record, fault_of
from injection.injected.failpoints import Failpoints
from rest_server import Response, RestServer, rest_server
from seeds import FIRST, replay, seeds
from trial import LEASE, RECOVERY, Arena, Trial

PLAIN = 80 + len(seeds(1))
"""Entity types read from a file; a test takes one."""

_figures = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "matrix(fault): the fault of the matrix that a test injects")
    config.stash[_figures] = Figures()


def pytest_report_header() -> str:
    return f"faults: seed {FIRST}; {replay(FIRST)} replays it"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    record = item.stash.get(_record, None)
    if record is not None and (report.when == "call" or report.failed):
        record.outcome = report.outcome
        report.sections.append(("seed", str(record)))
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    figures = config.stash[_figures]
    if not figures.records:
        return
    terminalreporter.section("faults")
    for line in figures.table():
        terminalreporter.write_line(line)
    if page := os.environ.get("CELERIAC_TEST_REPORT"):
        figures.write_into(Path(page))


_record = pytest.StashKey[Record]()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Where a test writes down what it did and found."""
    callspec = getattr(request.node, "callspec", None)
    seed = callspec.params.get("seed", FIRST) if callspec else FIRST
    record = Record(request.node.name, fault_of(request.node), seed)
    request.node.stash[_record] = record
    request.config.stash[_figures].records.append(record)
    return record


@pytest.fixture(scope="session")
def rest() -> Iterator[RestServer]:
    """The server of the sources that are read over HTTP: a test says what it answers."""
    with rest_server(lambda _: Response(status=404)) as server:
        yield server


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory, rest: RestServer) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("site")
    kinds = declarations(rest.url)
    types = {tenant: {"article": one} for kind in kinds.values() for tenant, one in kind.items()}
    configuration = write_configuration(folder, types)
    for tenant in types:
        (folder / tenant).mkdir()
    failpoints = Failpoints(folder / "failpoints")
    failpoints.folder.mkdir()
    with ExitStack() as stack:
        # PostgreSQL's user cannot enter pytest's folders.
        outside = Path(stack.enter_context(TemporaryDirectory(prefix="celeriac-disk-")))
        outside.chmod(0o755)
        disks = {
            "redis": stack.enter_context(small_disk(folder / "redis", 96)),
            "qdrant": stack.enter_context(small_disk(folder / "qdrant", 512)),
            "postgres": stack.enter_context(small_disk(outside / "postgres", 384)),
        }
        environment = injection(
            FAILPOINTS=str(failpoints.folder), LEASE=str(LEASE), RECOVERY=str(RECOVERY)
        )
        site = stack.enter_context(
            sites.site(
                folder, configuration, postgres_below=disks["postgres"].folder, **environment
            )
        )
        declared = {
            name: iter([Articles(folder / tenant, configuration, tenant) for tenant in kind])
            for name, kind in kinds.items()
        }
        arena = Arena(site, failpoints, disks, declared)
        yield arena
        arena.heal()


def declarations(rest_url: str) -> dict[str, dict[str, dict[str, object]]]:
    """The entity types by kind and tenant."""
    return {
        "plain": {
            f"plain{number}": article_declaration(f"plain{number}/documents.jsonl")
            for number in range(PLAIN)
        },
        "numbered": {
            f"numbered{number}": article_declaration(
                source={
                    "kind": "rest",
                    "url": f"{rest_url}/numbered{number}",
                    "id": "id",
                    "page_size": 10,
                    "timeout": TIMEOUT,
                }
            )
            for number in range(20)
        },
        "torch": {
            f"torch{number}": article_declaration(
                f"torch{number}/documents.jsonl",
                page_size=4,
                index={"model": "all-minilm-l6-v2", "chunk_size": 100},
            )
            for number in range(2)
        },
    }


@pytest.fixture
def kind() -> str:
    """The kind of entity type that a test module is about."""
    return "plain"


@pytest.fixture
def trial(arena: Arena, record: Record, kind: str) -> Iterator[Trial]:
    arena.heal()
    articles = next(arena.declared[kind])
    trial = Trial(arena, articles, random.Random(f"{record.seed} {record.test}"), record)
    yield trial
    trial.close()
