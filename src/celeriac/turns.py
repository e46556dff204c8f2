"""Whose turn it is: the page that a free thread runs next, and when a long one makes way.

A message says that there is a page to run; which one, the worker that takes it finds out by looking
at where every job stands. So a message of one job may serve another, whose own message then serves
the first: whatever waits has as many messages as before.

Higher priorities come first. Among jobs of one priority the tenant with the fewest pages in hand
does, in it the job with the fewest, and of these the one that has waited longest.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from celeriac.catalog.jobs import JobState
from celeriac.catalog.pages import Claim
from celeriac.catalog.standings import Standing
from celeriac.dispatch import LONGEST_WAIT
from celeriac.errors import TurnOver
from celeriac.model import Counters
from celeriac.runtime import Runtime

TURN = 5.0
"""Seconds for which a page goes on whoever waits; at least twice as long as it was prepared, which
has to be done again when it makes way."""
TELLING = 0.1
"""Seconds between two times that watchers are told of a page, at least."""
PASSED_OVER = 1.0
"""Seconds after which what waits is held to find no free thread in any process."""
TRIES = 10
"""Times that another worker may be faster with a page before this one looks no further."""


class PutOff(Exception):
    """The message comes again: there is no thread for its page now, or its job is throttled."""


Send = Callable[[str, int, float], None]
"""Sends a message about a page of a job after so many seconds."""


class Turn:
    """How long a page has had a thread: from its claim to the first step, and since then."""

    def __init__(self) -> None:
        self._claimed = time.monotonic()
        self._begun: float | None = None
        self._told = -math.inf

    def is_to_be_told(self) -> bool:
        """Whether watchers were told of the page too long ago to be told of this step, too."""
        now = time.monotonic()
        due = now - self._told >= TELLING
        self._told = now if due else self._told
        return due

    def is_over(self) -> bool:
        """Asked before each step: whether the page has had its share for now."""
        now = time.monotonic()
        self._begun = self._begun or now
        prepared = self._begun - self._claimed
        return now - self._begun >= max(TURN, 2 * prepared)


class Turns:
    """Hands out pages to the threads of this process."""

    def __init__(self, runtime: Runtime, send: Send) -> None:
        self._catalog = runtime.catalog
        self._slots = runtime.slots
        self._send = send

    @contextmanager
    def take(self, job_id: str, number: int, lease: float) -> Iterator[Claim | None]:
        """A page to run for a message about this one, and a thread for its tenant while the block
        runs; None where there is nothing to run now, and the message is used up.

        Raises:
            PutOff: its page waits for its job's throttle or for a thread, and comes again.
        """
        for _ in range(TRIES):
            chosen = self._choose(job_id, number)
            if chosen is None:
                break
            with self._slots.hold(chosen.tenant) as held:
                own = number if chosen.job_id == job_id else None
                claim = self._claim(chosen.job_id, own, lease) if held else None
                if claim is not None:
                    yield claim
                    return
        yield None

    def _choose(self, job_id: str, number: int) -> Standing | None:
        standings = self._catalog.standings.now()
        own = _of(standings, job_id)
        if own is not None and own.throttled_for > 0 and self._catalog.pages.waits(job_id, number):
            self._send(job_id, number, min(own.throttled_for, LONGEST_WAIT))
            raise PutOff("its job is throttled")
        full = self._slots.full()
        chosen = first_in_turn(standings, without=full)
        if chosen is None and first_in_turn(standings) is not None:
            self._slots.park((job_id, number), lambda: self._send(job_id, number, 0), full)
            raise PutOff("no thread is free for its tenant")
        return chosen

    def _claim(self, job_id: str, number: int | None, lease: float) -> Claim | None:
        """The page of that number, else the one of the job that has waited longest."""
        pages = self._catalog.pages
        claim = None if number is None else pages.claim(job_id, number, lease)
        if claim is None:
            number = pages.longest_waiting(job_id)
            claim = None if number is None else pages.claim(job_id, number, lease)
        return claim

    def require(self, job_id: str, turn: Turn, counted: Counters) -> None:
        """Before each step of a page.

        Raises:
            TurnOver: another job has waited for a thread that it is more entitled to.
        """
        # A page that indexed nothing yet would come no further the next time either.
        if not turn.is_over() or not counted.indexed:
            return
        standings = self._catalog.standings.now()
        own = _of(standings, job_id)
        if own is not None and makes_way(own, standings, full=self._slots.full()):
            raise TurnOver


def first_in_turn(
    standings: Sequence[Standing], *, without: Collection[str] = ()
) -> Standing | None:
    """The job of which a page is to be run next; `without` names tenants that have no room."""
    waiting = [one for one in standings if one.open and one.tenant not in without]
    return next(iter(in_turn(waiting, standings)), None)


def in_turn(waiting: Iterable[Standing], standings: Sequence[Standing]) -> list[Standing]:
    """Those that wait, among all, in the order in which they get a thread."""
    held = _held(standings)
    return sorted(waiting, key=lambda one: (one.priority, held[one.tenant], one.held, -one.waited))


def wants_thread(one: Standing) -> bool:
    """Whether it waits for a thread: to run a page, or to be taken up."""
    starts = one.state == JobState.QUEUED and one.behind is None and not one.paused
    return one.open or starts


def makes_way(own: Standing, standings: Sequence[Standing], *, full: Collection[str]) -> bool:
    """Whether a page of the job has to be given back for others that wait.

    For a higher priority, and for a tenant that has nothing in hand, or would not have more than
    this one after it.
    """
    held = _held(standings)

    def is_entitled(other: Standing) -> bool:
        if other.priority != own.priority:
            return other.priority < own.priority
        theirs, ours = held[other.tenant], held[own.tenant]
        return other.tenant != own.tenant and (not theirs or theirs + 1 < ours)

    return any(
        is_entitled(other)
        for other in standings
        if _is_passed_over(other) and (other.tenant == own.tenant or other.tenant not in full)
    )


def _is_passed_over(one: Standing) -> bool:
    """Whether it waits for a thread to run a page, or to be taken up, for longer than it takes to
    find one that is free."""
    return wants_thread(one) and one.waited >= PASSED_OVER


def _held(standings: Sequence[Standing]) -> Counter[str]:
    """Pages in hand by tenant."""
    held: Counter[str] = Counter()
    for one in standings:
        held[one.tenant] += one.held
    return held


def _of(standings: Sequence[Standing], job_id: str) -> Standing | None:
    return next((one for one in standings if one.job_id == job_id), None)
