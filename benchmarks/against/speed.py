"""make bench: how fast celeriac, sentence-transformers alone, LangChain and LlamaIndex are.

    PYTHONPATH=src:tests python -m benchmarks.against.speed --python .venv-bench/bin/python

The same documents, model, chunk size and Qdrant server; the systems take turns, A B A B, another
one first each round:

1. Rounds: each indexes --documents documents in a new process, and then again, unchanged. Before
   each round the machine's ceiling is measured: products of the model's own shapes.
2. After the first round, once: each indexes all documents, --copies times over or --joined to
   longer ones, and then takes turns at finding them unchanged, and all but one of them.
3. A profile: one more run of both kinds by celeriac, split into its stages.

Starting, loading the model and the tokenizers is never counted. sentence-transformers alone encodes
the same chunks and stores nothing. Each collection is held against the source after each run.

--write puts the tables into README.md and docs/performance.md and the figures into
benchmarks/results/; --from FILE shows or writes those of an earlier run. What does not fit into
--minutes is left out, and named.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel

from benchmarks._measuring import Products, hardware, keep, taking_turns
from benchmarks.against import corpus, figures, report, staging
from benchmarks.against.corpus import Documents
from benchmarks.against.figures import AGAIN, AGAIN_ALL, EDITED_ALL, FULL, FULL_ALL, Found
from benchmarks.against.process import Driver, NotPlayed, Run
from benchmarks.against.scenarios import Variant
from benchmarks.against.subjects import ROOT, Subject, sentence_transformers, systems
from celeriac.embedding.registry import BUILTIN, counter

QUICK = {"documents": 12, "all_documents": 40, "rounds": 1, "again": 1}
CEILING_TOKENS, CEILING_ROUNDS = 1024, 5
MOST_TOLD = 300
"""Characters of what a system says that cannot be measured."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Timed:
    """One run of one system."""

    what: str
    label: str
    round: int
    run: Run
    points: int
    wrong: str
    """What the collection lacked or had too much of, and what the system said went wrong."""


class Ceiling:
    """What this machine computes of the model at most."""

    def __init__(self, model: Path) -> None:
        module = AutoModel.from_config(AutoConfig.from_pretrained(model))
        self._products = Products.of(module)
        self._works = self._products.works(CEILING_TOKENS, CPU, torch.float32)
        self.rates: list[float] = []
        """FLOP a second, by the faster way that torch has, of each time it was measured."""

    def measure(self) -> None:
        fastest = min(taking_turns(self._works, CEILING_ROUNDS).values())
        self.rates.append(self._products.flop(CEILING_TOKENS) / fastest)

    def tokens_per_second(self, lengths: Sequence[int]) -> list[float]:
        """Model tokens of texts of these lengths, attention included."""
        tokens = sum(lengths)
        needed = self._products.flop(tokens, sum(n**2 for n in lengths) / tokens) / tokens
        return [rate / needed for rate in self.rates]


class Harness:
    """Has the systems take turns, for as long as there is time."""

    def __init__(
        self, variants: Sequence[Variant], some: Documents, everything: Documents, seconds: float
    ) -> None:
        self.timed: list[Timed] = []
        self.troubles: list[str] = []
        self.about: dict[str, Any] = {}
        self.profile: dict[str, Run] = {}
        self.variants = variants
        self.some, self.everything = some, everything
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def round(self, number: int) -> None:
        """Each indexes some documents, and again."""
        for variant in in_turn(self.variants, number):
            self._try(FULL, variant, partial(self._full_and_again, variant, number))

    def everything_again(self, rounds: int) -> None:
        """Each indexes everything; then they take turns at finding it unchanged, and at finding one
        document changed."""
        with ExitStack() as stack:
            drivers: dict[str, Driver] = {}
            for variant in filter(returns, self.variants):
                self._try(FULL_ALL, variant, partial(self._fill, variant, drivers, stack))
            for number in range(rounds):
                for variant in in_turn(self.variants, number):
                    self._return(variant, number, drivers)
        for variant in self.variants:
            if variant.label == figures.OURS:
                self._try("profile", variant, partial(self._profile, variant))

    def _return(self, variant: Variant, number: int, drivers: dict[str, Driver]) -> None:
        """Have a driver that indexed everything index it again; one that fails is left out."""
        if (driver := drivers.get(variant.label)) is None:
            return
        edited = corpus.retitled(self.everything, number)

        def once_more() -> None:
            self._run(EDITED_ALL, variant, number, driver, edited)
            self._run(AGAIN_ALL, variant, number, driver, edited)

        variant.subject.write(edited)
        if not self._try(AGAIN_ALL, variant, once_more):
            del drivers[variant.label]

    def _full_and_again(self, variant: Variant, number: int) -> None:
        with self._opened(variant, self.some) as driver:
            self._run(FULL, variant, number, driver, self.some)
            if returns(variant):
                self._run(AGAIN, variant, number, driver, self.some)

    def _fill(self, variant: Variant, drivers: dict[str, Driver], stack: ExitStack) -> None:
        """Have a driver index everything; it stays."""
        driver = stack.enter_context(self._opened(variant, self.everything))
        self._run(FULL_ALL, variant, 0, driver, self.everything)
        drivers[variant.label] = driver

    def _profile(self, variant: Variant) -> None:
        """One document of everything is changed, then some is indexed anew."""
        subject = variant.subject
        subject.write(corpus.retitled(self.everything, -1))
        with subject.opened(fresh=True, profile=True) as driver:
            self.profile[EDITED_ALL] = subject.note(driver.index())
        with self._opened(variant, self.some, profile=True) as driver:
            self.profile[FULL] = subject.note(driver.index())

    @contextmanager
    def _opened(
        self, variant: Variant, documents: Documents, **options: object
    ) -> Iterator[Driver]:
        """A new process of the system, without an index, its source these documents."""
        subject = variant.subject
        subject.reset()
        subject.write(documents)
        with subject.opened(fresh=True, **variant.options, **options) as driver:
            self.about[variant.label] = driver.about
            yield driver

    def _run(
        self, what: str, variant: Variant, number: int, driver: Driver, documents: Documents
    ) -> None:
        say(f"{what:22} {variant.label:22} begins, {self.left():.0f} s left")
        subject = variant.subject
        subject.allow(self.left())
        try:
            run = subject.note(driver.index())
        except NotPlayed:
            driver.kill()
            raise
        findings = subject.compare(documents)
        wrong = "" if run.ok else run.message or "failed"
        if not findings.equal:
            wrong = f"{wrong} {report.found(findings)}".strip()
        points = findings.points or run.embedded
        self.timed.append(Timed(what, variant.label, number, run, points, wrong))
        say(f"{what:22} {variant.label:22} {report.measured(run)} {wrong}")

    def _try(self, what: str, variant: Variant, work: Callable[[], None]) -> bool:
        """Whether it could be done; what comes next goes on where a system fails or time is up."""
        variant.subject.allow(self.left())
        try:
            if not self.left():
                raise NotPlayed("no time is left")
            work()
        except NotPlayed as why:
            told = " ".join(str(why).split())[:MOST_TOLD].rstrip(" .:")
            self.troubles.append(f"{what}: {variant.label}: {told}")
            say(f"{what:22} {variant.label:22} not measured: {why}")
            return False
        return True


def returns(variant: Variant) -> bool:
    """Whether it is asked to find everything unchanged; the dtype makes no difference there."""
    return variant.subject.system.stores and variant.label == variant.subject.name


def in_turn(variants: Sequence[Variant], number: int) -> list[Variant]:
    """Another one first each round."""
    turn = number % len(variants)
    return [*variants[turn:], *variants[:turn]]


def main() -> int:
    arguments = parsed()
    if arguments.source:
        found: Found = json.loads(arguments.source.read_text("utf-8"))
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends servers and drivers
        found = measured(arguments)
    print(figures.page(found))
    if arguments.write:
        figures.write(found, ROOT)
        print(f"\nwritten to {', '.join(figures.PAGES)}")
        if not arguments.source:
            print(f"and to {keep('endtoend', found).relative_to(ROOT)}")
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", type=Path, help="of the others' environment")
    parser.add_argument("--documents", type=int, default=400, help="indexed each round")
    parser.add_argument("--all-documents", type=int, default=0, help="indexed once; 0 for all")
    parser.add_argument("--joined", type=int, default=1, help="so many of them to one, longer one")
    parser.add_argument("--copies", type=int, default=1, help="of all documents")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--again", type=int, default=5, help="rounds of finding all unchanged")
    parser.add_argument("--minutes", type=float, default=20, help="end with what there is then")
    parser.add_argument("--system", action="append", help="only this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="few documents, one round")
    parser.add_argument("--write", action="store_true", help="into README.md, docs, results")
    parser.add_argument("--from", dest="source", type=Path, help="figures to show or write")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(QUICK)
    if not arguments.source and not arguments.python and arguments.system != [figures.OURS]:
        parser.error("name the others' interpreter: --python .venv-bench/bin/python")
    return arguments


def measured(arguments: argparse.Namespace) -> Found:
    """Run everything."""
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="celeriac-speed-")))
        variants = list(cast(folder, arguments, stack))
        harness = Harness(
            variants,
            corpus.sample(staging.documents(), arguments.documents),
            everything(arguments),
            arguments.minutes * 60,
        )
        ceiling = Ceiling(variants[0].subject.bench.model.folder)
        for number in range(arguments.rounds):
            ceiling.measure()
            harness.round(number)
            if not number:
                harness.everything_again(arguments.again)
        return collected(harness, ceiling, load, arguments)


def everything(arguments: argparse.Namespace) -> Documents:
    """What is indexed once and then found unchanged."""
    documents = corpus.sample(staging.documents(), arguments.all_documents)
    return corpus.copied(corpus.joined(documents, arguments.joined), arguments.copies)


def cast(folder: Path, arguments: argparse.Namespace, stack: ExitStack) -> Iterator[Variant]:
    """Who takes part, the fastest first."""
    python = arguments.python.absolute() if arguments.python else Path()
    bench = staging.bench(folder, stack, arguments.minutes * 60)
    ours, *others = systems(python)
    for system in (ours, sentence_transformers(python), *others):
        if arguments.system and system.name not in arguments.system:
            continue
        subject = Subject(bench, system)
        stack.callback(subject.close)
        yield Variant(system.name, subject)
        if system.name == figures.OURS:
            yield Variant(figures.OURS_INT8, subject, {"dtype": "int8"})


def collected(
    harness: Harness, ceiling: Ceiling, load: float, arguments: argparse.Namespace
) -> Found:
    """Everything that the tables are made of, as it is kept."""
    lengths = lengths_of(harness)
    rounds = {FULL: arguments.rounds, AGAIN: arguments.rounds, FULL_ALL: 1}
    rounds[AGAIN_ALL] = rounds[EDITED_ALL] = arguments.again
    return {
        **hardware(CPU),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "load": load,
        "load_at_end": os.getloadavg()[0],
        "about": harness.about,
        "entities": {FULL: len(harness.some), FULL_ALL: len(harness.everything)},
        "joined": arguments.joined,
        "chunks": len(lengths),
        "tokens": sum(lengths),
        "rounds": rounds,
        "runs": [
            {
                "what": one.what,
                "label": one.label,
                "round": one.round,
                "seconds": one.run.seconds,
                "cpu": one.run.cpu,
                "peak_mb": one.run.peak / 2**20,
                "points": one.points,
                "embedded": one.run.embedded,
                "wrong": one.wrong,
            }
            for one in harness.timed
        ],
        "ceiling_gflop_per_second": [rate / 1e9 for rate in ceiling.rates],
        "ceiling_tokens_per_second": ceiling.tokens_per_second(lengths),
        "profile": {
            what: {"seconds": run.seconds, "cpu": run.cpu, "stages": run.profile}
            for what, run in harness.profile.items()
        },
        "troubles": harness.troubles,
    }


def lengths_of(harness: Harness) -> list[int]:
    """Model tokens of each chunk of what is indexed each round, as celeriac cuts it."""
    ours = next(one.subject for one in harness.variants if one.label == figures.OURS)
    chunks = [text for texts in ours.expected(harness.some).values() for text in texts]
    return counter(BUILTIN[ours.bench.model.name], {}).count(chunks)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
