"""make bench-against: celeriac, LangChain, LlamaIndex on one collection, held against the source.

    PYTHONPATH=src:tests python -m benchmarks.against --python .venv-bench/bin/python [--full]

Quick by default: a few hundred documents. --full takes all 3,204 and every variant. Where only such
scenarios are chosen as are not timed, the model is its first layer alone: what a collection holds
does not depend on it.
docs/comparison.md says what each scenario is, how each system is set up and why. How fast they are
is measured by `benchmarks.against.speed`, make bench.

Each scenario that begins is announced, and each is given --scenario-minutes. One that is not over
by then is broken off and reported as not played; so is what --minutes leaves no time for.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks.against import corpus, models, report, staging
from benchmarks.against.process import NotPlayed
from benchmarks.against.report import Row
from benchmarks.against.scenarios import FAULTS, TIMED, Scenario, Variant, World
from benchmarks.against.subjects import Subject, llamaindex_on_redis, systems

QUICK_DOCUMENTS, QUICK_ROUNDS, FULL_ROUNDS = 150, 2, 3
INCREMENTAL = (
    *("vanished", "shrunk", "emptied", "killed-then-changed", "killed-later-writing"),
    *("listing-half", "listing-omits", "listing-slides", "two-first", "two-later"),
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


class Playing:
    """Plays scenarios in bounded time and keeps what came out."""

    def __init__(self, world: World, arguments: argparse.Namespace) -> None:
        self.rows: list[Row] = []
        self.not_played: list[str] = []
        self._world = world
        self._output: Path | None = arguments.output
        self._patience = arguments.scenario_minutes * 60
        self._end = time.monotonic() + arguments.minutes * 60

    def play(self, name: str, scenario: Scenario, variant: Variant, number: int = 0) -> None:
        seconds = min(self._patience, self._end - time.monotonic())
        said = f"{name:22} {variant.label:22}"
        if seconds <= 0:
            self._give_up(said, "no time is left")
            return
        _say(f"{said} begins, for {seconds:.0f} s at most")
        variant.subject.allow(seconds)
        try:
            row = Row(name, variant.label, number, scenario(variant, self._world))
        except NotPlayed as why:
            self._give_up(said, str(why))
        else:
            self._keep(row)

    def played(self, name: str) -> set[str]:
        """The variants that came through that scenario."""
        return {row.variant for row in self.rows if row.scenario == name}

    def _keep(self, row: Row) -> None:
        self.rows.append(row)
        _say(report.line(row))
        if self._output:
            with self._output.open("a", encoding="utf-8") as output:
                output.write(json.dumps(asdict(row)) + "\n")

    def _give_up(self, said: str, why: str) -> None:
        self.not_played.append(f"{said} {why.splitlines()[0]}")
        _say(f"{said} not played: {why}")


def main() -> int:
    arguments = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends servers and drivers on the way
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="celeriac-against-")))
        variants, world = stage(folder, arguments, stack)
        playing = Playing(world, arguments)
        timed(variants, playing, arguments)
        faults(variants, playing, arguments)
    print(report.tables(playing.rows))
    for line in playing.not_played:
        print(f"not played: {line}")
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="of the others' environment")
    parser.add_argument("--full", action="store_true", help="all documents, every scenario")
    parser.add_argument("--documents", type=int, help="so many documents; 0 for all")
    parser.add_argument("--rounds", type=int, help="of each timed scenario")
    parser.add_argument(
        "--scenario", action="append", help="only those whose names begin so; may be repeated"
    )
    parser.add_argument("--system", action="append", help="only this one; may be repeated")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="begin nothing after these")
    parser.add_argument(
        "--scenario-minutes", type=float, default=15, help="that one system has for one scenario"
    )
    parser.add_argument("--output", type=Path, help="JSON lines to add each result to")
    arguments = parser.parse_args()
    if not selected({**TIMED, **FAULTS}, arguments):
        parser.error(f"--scenario: there are {', '.join([*TIMED, *FAULTS])}")
    if arguments.rounds is None:
        arguments.rounds = FULL_ROUNDS if arguments.full else QUICK_ROUNDS
    return arguments


def stage(
    folder: Path, arguments: argparse.Namespace, stack: ExitStack
) -> tuple[list[Variant], World]:
    """Servers, models, subjects and documents; the stack takes them down."""
    variants = list(cast(folder, arguments, stack))
    number = arguments.documents
    if number is None:
        number = 0 if arguments.full else QUICK_DOCUMENTS
    documents = corpus.sample(staging.documents(), number)
    world = World(
        documents, models.same_size(folder / "same-size"), models.other_size(folder / "other-size")
    )
    return variants, world


def cast(folder: Path, arguments: argparse.Namespace, stack: ExitStack) -> Iterator[Variant]:
    """The variants that take part."""
    quick = None if selected(TIMED, arguments) else models.quick(folder / "quick")
    bench = staging.bench(folder, stack, arguments.scenario_minutes * 60, quick)
    python = arguments.python.absolute()
    all_systems = [*systems(python), llamaindex_on_redis(python, staging.redis(folder, stack))]
    for system in all_systems:
        chosen = not arguments.system or system.name in arguments.system
        if not chosen or (system.redis and not (arguments.full or arguments.system)):
            continue
        subject = Subject(bench, system)
        stack.callback(subject.close)
        yield Variant(system.name, subject, only=DURABLE if system.redis else ())
        if system.name == "langchain":
            incremental = {"cleanup": "incremental"}
            yield Variant("langchain-incremental", subject, incremental, INCREMENTAL)


def timed(variants: Sequence[Variant], playing: Playing, arguments: argparse.Namespace) -> None:
    """All variants in turn, round after round. Everything else begins with what `full` leaves."""
    chosen = selected(TIMED, arguments)
    for name in TIMED:
        if name in chosen:
            for number in range(arguments.rounds):
                take_turns(name, variants, playing, number)
        elif name == "full":
            take_turns(name, variants, playing, 0)
        if name == "full":
            save([one.subject for one in variants if one.label in playing.played(name)])


def save(subjects: Sequence[Subject]) -> None:
    for subject in subjects:
        subject.save()


def take_turns(name: str, variants: Sequence[Variant], playing: Playing, number: int) -> None:
    """One round, another system first each time."""
    taking_part = [variant for variant in variants if plays(variant, name, number)]
    turn = number % len(taking_part)
    for variant in [*taking_part[turn:], *taking_part[:turn]]:
        playing.play(name, TIMED[name], variant, number)


def faults(variants: Sequence[Variant], playing: Playing, arguments: argparse.Namespace) -> None:
    """One scenario after the other, each by all that take part in it."""
    for name, scenario in selected(FAULTS, arguments).items():
        for variant in variants:
            if plays(variant, name):
                playing.play(name, scenario, variant)


def selected(
    scenarios: Mapping[str, Scenario], arguments: argparse.Namespace
) -> Mapping[str, Scenario]:
    if arguments.scenario:
        chosen = tuple(arguments.scenario)
        return {name: one for name, one in scenarios.items() if name.startswith(chosen)}
    left_out = () if arguments.full else SLOW
    return {name: one for name, one in scenarios.items() if name not in left_out}


def plays(variant: Variant, scenario: str, number: int = 0) -> bool:
    """Whether it takes part; one that is not timed needs its first index all the same."""
    if scenario == "full":
        return variant.label == variant.subject.name and not (number and variant.only)
    if scenario == "model-forced":
        return variant.label == "langchain"
    return not variant.only or scenario in variant.only


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
