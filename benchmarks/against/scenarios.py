"""What is done to each system, and what its collection is held against afterwards.

A timed scenario is run by all systems in turn, round after round. The others are run once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.against import corpus, listings, oracle
from benchmarks.against.corpus import Documents
from benchmarks.against.drivers.wire import text_of
from benchmarks.against.listings import Listing, listed
from benchmarks.against.oracle import Findings
from benchmarks.against.process import Driver, Run
from benchmarks.against.subjects import Broken, Model, Subject

Options = Mapping[str, object]
FIRST_BATCH = 5
"""Chunks; more than the one that LangChain's store embeds to check its configuration."""


@dataclass(frozen=True)
class Variant:
    """A subject, and options that the scenarios give it beside its own."""

    label: str
    subject: Subject
    options: Options = field(default_factory=dict)
    only: tuple[str, ...] = ()
    """The scenarios it takes part in; all where empty."""


@dataclass(frozen=True)
class Result:
    """How one variant came out of one scenario."""

    run: Run
    findings: Findings
    told_success: bool
    """Whether every run that was to succeed said that it did."""
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """What the scenarios are played with."""

    documents: Documents
    same_size: Model
    """Another model, of the same dimension."""
    other_size: Model


Scenario = Callable[[Variant, World], Result]


# Timed


def full(variant: Variant, world: World) -> Result:
    subject = variant.subject
    subject.reset()
    subject.write(world.documents)
    with subject.opened(fresh=True, **variant.options) as driver:
        run = subject.note(driver.index())
        startup, about = driver.startup, driver.about
    texts = {document["id"]: text_of(document) for document in world.documents}
    uncovered = len(oracle.uncovered(texts, subject.expected(world.documents)))
    return _result(variant, run, world.documents, startup=startup, about=about, uncovered=uncovered)


def unchanged(variant: Variant, world: World) -> Result:
    return _next_run(variant, world.documents, fresh=True)


def changed(variant: Variant, world: World) -> Result:
    return _next_run(variant, corpus.changed(world.documents, 0.01))


def vanished(variant: Variant, world: World) -> Result:
    return _next_run(variant, corpus.without(world.documents, 0.1))


def shrunk(variant: Variant, world: World) -> Result:
    return _next_run(variant, corpus.shrunk(world.documents, 0.1))


# Not timed


def emptied(variant: Variant, world: World) -> Result:
    return _next_run(variant, corpus.emptied(world.documents, 5))


def killed_first_embedding(variant: Variant, world: World) -> Result:
    """kill -9 in a first run once half of the chunks went through the model, and run again."""
    return _killed_first(variant, world.documents, {"embedded": _chunks(variant, world) // 2})


def killed_first_writing(variant: Variant, world: World) -> Result:
    """kill -9 in a first run once a third of the points is in Qdrant, and run again."""
    return _killed_first(variant, world.documents, {"written": _chunks(variant, world) // 3})


def killed_then_changed(variant: Variant, world: World) -> Result:
    """The same, but the source has moved on by the time it is run again."""
    documents = corpus.moved_on(world.documents)
    pause = {"written": _chunks(variant, world) // 3}
    return _killed_first(variant, world.documents, pause, then=documents)


def killed_later_embedding(variant: Variant, world: World) -> Result:
    """kill -9 in a later run at the first batch through the model, and run again."""
    return _killed_later(variant, world, {"embedded": FIRST_BATCH})


def killed_later_writing(variant: Variant, world: World) -> Result:
    """kill -9 in a later run at its first write, and run again."""
    return _killed_later(variant, world, {"written": 1})


def fails_in_the_middle(variant: Variant, world: World) -> Result:
    documents = corpus.moved_on(world.documents)
    listing = listings.failing_once(documents)
    return _listed(variant, listing, documents)


def ends_early(variant: Variant, world: World) -> Result:
    listing = listings.ending_early(world.documents)
    return _listed(variant, listing, world.documents)


def omits(variant: Variant, world: World) -> Result:
    listing = listings.complete(corpus.without(world.documents, 0.1))
    return _listed(variant, listing, world.documents)


def slides(variant: Variant, world: World) -> Result:
    listing = listings.sliding(world.documents, 5)
    return _listed(variant, listing, world.documents[5:])


def two_first_runs(variant: Variant, world: World) -> Result:
    """Two first runs at once: the second begins when the first has embedded a third."""
    variant.subject.reset()
    return _overlapping(variant, world.documents, world.documents, _chunks(variant, world) // 3)


def two_later_runs(variant: Variant, world: World) -> Result:
    """A slow run is in its first batch when the source moves on and a second run begins."""
    variant.subject.restore()
    older, newer = corpus.changed(world.documents, 0.5), corpus.moved_on(world.documents)
    return _overlapping(variant, older, newer, FIRST_BATCH)


def another_model(variant: Variant, world: World) -> Result:
    return _with_model(variant, world, world.same_size)


def forced_model(variant: Variant, world: World) -> Result:
    """As LangChain's reference recommends for updated embeddings."""
    return _with_model(variant, world, world.same_size, force_update=True)


def another_dimension(variant: Variant, world: World) -> Result:
    return _with_model(variant, world, world.other_size)


def lost_points(variant: Variant, world: World) -> Result:
    """Every twentieth point is gone from Qdrant, as after a restored snapshot."""
    subject = variant.subject
    subject.restore()
    subject.write(world.documents)
    lost = subject.lose_points(0.05)
    run = subject.index(**variant.options)
    return _result(variant, run, world.documents, lost=lost)


# Steps


def _chunks(variant: Variant, world: World) -> int:
    return sum(map(len, variant.subject.expected(world.documents).values()))


def _next_run(variant: Variant, documents: Documents, *, fresh: bool = False) -> Result:
    """A run after everything was indexed and the source became these documents."""
    subject = variant.subject
    subject.restore()
    subject.write(documents)
    with subject.opened(fresh=fresh, **variant.options) as driver:
        run = subject.note(driver.index())
        startup = driver.startup
    return _result(variant, run, documents, startup=startup)


def _killed_first(
    variant: Variant,
    documents: Documents,
    pause: Mapping[str, int],
    then: Documents | None = None,
) -> Result:
    subject = variant.subject
    subject.reset()
    subject.write(documents)
    broken = subject.interrupt(pause, **variant.options)
    subject.write(then or documents)
    return _run_again(variant, broken, then or documents)


def _killed_later(variant: Variant, world: World, pause: Mapping[str, int]) -> Result:
    """What is served between the kill and the next run is counted, too."""
    subject, documents = variant.subject, corpus.moved_on(world.documents)
    subject.restore()
    subject.write(documents)
    broken = subject.interrupt(pause, **variant.options)
    gone = _gone_meanwhile(subject, world.documents, documents)
    return _run_again(variant, broken, documents, gone_meanwhile=gone)


def _run_again(variant: Variant, broken: Broken, documents: Documents, **extra: object) -> Result:
    """A run in a new process after one was killed; what it embeds a second time is counted."""
    with variant.subject.opened(fresh=True, **variant.options) as driver:
        run = variant.subject.note(driver.index())
        twice = len(broken.texts & driver.texts)
    return _result(
        variant, run, documents, embedded_before=broken.embedded, embedded_twice=twice, **extra
    )


def _listed(variant: Variant, listing: Listing, documents: Documents) -> Result:
    """One run whose source lists like that while it holds these documents."""
    subject = variant.subject
    subject.restore()
    with listed(listing) as source:
        run = subject.index(source=source, **variant.options)
    return _result(variant, run, documents)


def _overlapping(variant: Variant, older: Documents, newer: Documents, embedded: int) -> Result:
    subject = variant.subject
    subject.write(older)
    with subject.opened(fresh=True, **variant.options) as driver:
        first = driver.start({"embedded": embedded})
        driver.pauses(first)
        subject.write(newer)
        second = _beside(variant, driver)
        driver.go_on()
        runs = [driver.finish(first), second()]
    for run in runs:
        subject.note(run)
    return _result(
        variant,
        runs[1],
        newer,
        told=all(run.ok for run in runs),
        embedded_before=runs[0].embedded,
        first_message=runs[0].message,
    )


def _beside(variant: Variant, driver: Driver) -> Callable[[], Run]:
    """A second run while the first one pauses: a service queues it, a script runs to its end."""
    if variant.subject.system.reopens:
        run = variant.subject.index(**variant.options)
        return lambda: run
    number = driver.start()
    driver.await_event("queued", run=number)
    return lambda: driver.finish(number)


def _with_model(variant: Variant, world: World, model: Model, **options: object) -> Result:
    subject = variant.subject
    subject.restore()
    subject.write(world.documents)
    before = subject.held()
    with subject.opened(fresh=True, model=model, **variant.options, **options) as driver:
        number = driver.start({"written": _chunks(variant, world) // 2})
        paused = driver.pauses(number)
        meanwhile = oracle.of_old_model(subject.held(), before) if paused else None
        driver.go_on()
        run = subject.note(driver.finish(number))
    old = oracle.of_old_model(subject.held(), before)
    counted = {"old": old, "old_meanwhile": meanwhile, "of": len(before)}
    return _result(variant, run, world.documents, again=False, **counted)


def _gone_meanwhile(subject: Subject, before: Documents, now: Documents) -> int:
    """Entities that are in the source before and now and of which nothing at all is served."""
    held = {one.entity_id for one in subject.held()}
    stay = {one["id"] for one in before} & {one["id"] for one in now}
    return len(stay - held)


def _result(
    variant: Variant,
    run: Run,
    documents: Documents,
    told: bool | None = None,
    *,
    again: bool = True,
    **extra: object,
) -> Result:
    """How it came out and, where that is not equal, what one more run makes of it, of the whole
    source and with nothing in its way (`again`)."""
    subject = variant.subject
    findings = subject.compare(documents)
    if again and not findings.equal:
        subject.write(documents)
        subject.index(**variant.options)
        extra = {**extra, "one_more": subject.compare(documents)}
    return Result(run, findings, run.ok if told is None else told, extra)


TIMED: Mapping[str, Scenario] = {
    "full": full,
    "unchanged": unchanged,
    "changed": changed,
    "vanished": vanished,
    "shrunk": shrunk,
}
FAULTS: Mapping[str, Scenario] = {
    "emptied": emptied,
    "killed-first-embedding": killed_first_embedding,
    "killed-first-writing": killed_first_writing,
    "killed-then-changed": killed_then_changed,
    "killed-later-embedding": killed_later_embedding,
    "killed-later-writing": killed_later_writing,
    "listing-fails": fails_in_the_middle,
    "listing-half": ends_early,
    "listing-omits": omits,
    "listing-slides": slides,
    "two-first": two_first_runs,
    "two-later": two_later_runs,
    "model-same-size": another_model,
    "model-forced": forced_model,
    "model-other-size": another_dimension,
    "lost-points": lost_points,
}
