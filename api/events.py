"""GET /jobs/{id}/events: a job's progress as server-sent events.

    event: job         the whole job resource: at the beginning, and when more than counters changed
    event: progress    state, progress_percentage and counters
    event: end         the whole resource of a job that has ended; the last event

Ids are those of the job's stream in Redis. A client that comes again with `Last-Event-ID` gets what
it missed, or the job as it is now where that is not there any more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from flask import Response
from marshmallow import Schema, fields
from redis.exceptions import RedisError

from api.authorization import owned, requires
from api.blueprint import Blueprint
from api.jobs import percentage, watched_resource
from api.lanes import Streams
from api.services import services
from celeriac.catalog.jobs import FINAL
from celeriac.errors import CeleriacError, NotFound
from celeriac.events import BEGIN, STEPS, Event, position
from celeriac.model import Counters
from celeriac.runtime import Runtime
from celeriac.security.principal import Scope
from celeriac.watching import Watch, Watched

blueprint = Blueprint("events", __name__, url_prefix="/jobs", description="Watching a job.")

HEARTBEAT = 15.0
"""Seconds without an event after which a comment is sent, and the job is looked at again."""
LONGEST = 300.0
"""Seconds that a stream lasts; its client comes again, and its credential is asked for anew."""
SOON, LATER = 1_000, 5_000
"""Milliseconds after which a client comes again: usually, and where there is no room for it."""
END = 999_999_999
"""The sequence number of an end's id: after whatever happened in the same millisecond."""
NOTHING_MORE = 204
"""Tells an EventSource not to come again."""


class EventHeaders(Schema):
    """Where a watcher broke off."""

    last_event_id = fields.String(data_key="Last-Event-ID", load_default="")


@blueprint.get("/<job_id>/events")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.arguments(EventHeaders, location="headers")
@blueprint.response(200, content_type="text/event-stream", description="Server-sent events.")
@blueprint.alt_response(204, description="The job has ended, and the client knows.")
def watch_job(headers: dict[str, str], job_id: str) -> Response:
    """Watch a job until it ends."""
    watch, runtime = services().watch, services().runtime
    watcher = Watcher(runtime, watch, services().streams, owned("job", job_id, watch.job))
    known = _known(headers["last_event_id"])
    if known is not None and watcher.knows_end(known):
        return Response(status=NOTHING_MORE)
    return _response(watcher, known, services().streams)


def _response(watcher: Watcher, known: str | None, streams: Streams) -> Response:
    room = streams.enter()
    body = watcher.stream(known) if room else watcher.at_once(known)
    response = Response(
        body,
        mimetype="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
    if room:
        response.call_on_close(streams.leave)
    return response


def _known(event_id: str) -> str | None:
    """The event after which a client wants to go on; None where it names none."""
    try:
        position(event_id)
    except ValueError:
        return None
    return event_id


class Watcher:
    """What one client is sent of one job."""

    def __init__(self, runtime: Runtime, watch: Watch, streams: Streams, found: Watched) -> None:
        self._runtime = runtime
        self._watch = watch
        self._streams = streams
        self._job_id = found.job.id
        self._sent = found
        self._after = BEGIN
        """The event that was sent last."""

    @property
    def _ended(self) -> bool:
        return self._sent.job.state in FINAL

    def knows_end(self, known: str) -> bool:
        """Whether the job has ended and a client that knows this event was told."""
        return self._ended and known == self._end_id()

    def at_once(self, known: str | None) -> Iterator[str]:
        """What there is now; the client comes again for the rest."""
        yield _retry(LATER)
        yield from self._opening(known)

    def stream(self, known: str | None) -> Iterator[str]:
        """What there is now, and what comes, until the job ends or the client has to come again."""
        until = time.monotonic() + LONGEST
        yield _retry(SOON)
        with self._runtime.feed.subscribe(self._job_id, self._last_id()) as subscription:
            yield from self._opening(known)
            while not self._ended and self._streams.going_on() and time.monotonic() < until:
                events = subscription.take(HEARTBEAT)
                new = [one for one in events if position(one.id) > position(self._after)]
                yield from self._told(_latest(new)) if new else self._looked_at()

    def _opening(self, known: str | None) -> Iterator[str]:
        """What a client missed; the job as it is now where that cannot be told."""
        self._after = self._last_id()
        missed = self._missed(known)
        if missed is None:
            yield from self._whole(self._after)
        else:
            self._after = known or BEGIN
            yield from self._told(missed)

    def _missed(self, known: str | None) -> list[Event] | None:
        if known is None:
            return None
        try:
            with self._streams.looking:
                return self._runtime.events.since(self._job_id, known)
        except RedisError:
            return None

    def _told(self, events: Sequence[Event]) -> Iterator[str]:
        """Events, and after them the whole job where more than its counters changed."""
        for event in events:
            self._after = event.id
            if event.kind in STEPS:
                yield _progress(event)
        if self._ended or any(event.kind not in STEPS for event in events):
            self._look()
            yield from self._whole(self._after)

    def _looked_at(self) -> Iterator[str]:
        """For a client that has heard nothing for a while: what changed, or a sign of life."""
        before = self._sent
        self._look()
        if (before.job.state, before.waiting) == (self._sent.job.state, self._sent.waiting):
            yield ":\n\n"
        else:
            yield from self._whole(None)

    def _look(self) -> None:
        try:
            with self._streams.looking:
                self._sent = self._watch.job(self._job_id) or self._sent
        except CeleriacError:
            return  # the catalog is away; it is looked at again

    def _whole(self, event_id: str | None) -> Iterator[str]:
        kind, event_id = ("end", self._end_id()) if self._ended else ("job", event_id)
        yield _frame(kind, watched_resource(self._sent), event_id)

    def _last_id(self) -> str:
        try:
            with self._streams.looking:
                return self._runtime.events.last_id(self._job_id)
        except RedisError:
            return BEGIN

    def _end_id(self) -> str:
        """Of the last event, whether or not the stream is still there."""
        return f"{round((self._sent.job.finished_at or 0.0) * 1000)}-{END}"


def _latest(events: Sequence[Event]) -> list[Event]:
    """Of events that came together, the last of those that only counted: it has the sums."""
    steps = [one for one in events if one.kind in STEPS]
    return [one for one in events if one.kind not in STEPS or one is steps[-1]]


@lru_cache(maxsize=1024)
def _progress(event: Event) -> str:
    counters = json.loads(event.fields["counters"])
    counted = Counters(**counters)
    expected = event.fields["expected"]
    share = percentage(counted, int(expected) if expected else None)
    data = {"state": event.fields["state"], "progress_percentage": share, "counters": counters}
    return _frame("progress", data, event.id)


def _frame(kind: str, data: dict[str, Any], event_id: str | None) -> str:
    named = f"id: {event_id}\n" if event_id not in (None, BEGIN) else ""
    return f"{named}event: {kind}\ndata: {json.dumps(data)}\n\n"


def _retry(milliseconds: int) -> str:
    return f"retry: {milliseconds}\n\n"
