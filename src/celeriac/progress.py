"""Live progress in Redis: a hash for now, a stream for watchers.

The hash holds the job as the catalog had it at its last commit and, for each page in hand, what
that page counted so far; once a page is committed its counters are in the catalog and leave the
hash. The stream has an event for each change, with the job's counters as they were then. The
catalog has the truth; this is for people who watch. So an outage of Redis costs a picture, never a
page: it is logged and the work goes on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from celeriac.catalog.jobs import FINAL, Seen
from celeriac.catalog.pages import Trouble
from celeriac.model import Counters, EntityFailure
from celeriac.picture import Picture, Waiting, picture_of
from celeriac.stages import Stage, Timing

logger = logging.getLogger(__name__)

KEEP = 7 * 24 * 3600
"""Seconds that a job's progress is kept after its last change."""
STREAM_LENGTH = 1000
"""Events kept a job."""

# All of a change at once. Of two views of the job the later one stays, whichever comes first; of a
# job that has ended nothing more is published. Times are by Redis's clock.
_PUBLISH = """
local hash, stream, change = KEYS[1], KEYS[2], cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = string.format('%d.%06d', clock[1], clock[2])
-- The job with what the pages in hand counted.
local function in_all()
  local job = redis.call('HGET', hash, 'job')
  if not job then return nil end
  job = cjson.decode(job)
  local fields = redis.call('HGETALL', hash)
  for position = 1, #fields, 2 do
    if string.sub(fields[position], 1, 5) == 'page:' then
      for name, value in pairs(cjson.decode(fields[position + 1])) do
        job.counters[name] = job.counters[name] + value
      end
    end
  end
  return job
end
if change.reset then
  for _, name in ipairs(redis.call('HKEYS', hash)) do
    if change.event == 'started' or string.find(name, '^page:') or string.find(name, '^listing:')
      or string.find(name, '^trouble:') or string.find(name, '^waiting')
      or string.find(name, '^loading:') or string.find(name, '^before:') then
      redis.call('HDEL', hash, name)
    end
  end
elseif redis.call('HEXISTS', hash, 'ended') == 1 then
  return
end
if change.seen_at then
  local seen_at = redis.call('HGET', hash, 'seen_at')
  if not seen_at or tonumber(seen_at) <= tonumber(change.seen_at) then
    for name, value in pairs(change.seen) do redis.call('HSET', hash, name, value) end
    redis.call('HSET', hash, 'seen_at', change.seen_at)
  end
end
-- The time of loads counts where nothing was embedded meanwhile, and of several at once but once.
if change.loads_over then
  local job, since, names = in_all(), nil, redis.call('HKEYS', hash)
  for _, name in ipairs(names) do
    local page = string.match(name, '^before:(.*)')
    local mark = page and redis.call('HGET', hash, 'loading:' .. page)
    local before = page and tonumber(redis.call('HGET', hash, name))
    if job and mark and before == job.counters.embedded then
      since = math.min(since or tonumber(mark), tonumber(mark))
    end
  end
  if since then
    local from = math.max(since, tonumber(redis.call('HGET', hash, 'loaded') or 0))
    redis.call('HINCRBYFLOAT', hash, 'load_seconds', math.max(tonumber(now) - from, 0))
    redis.call('HSET', hash, 'loaded', now)
  end
end
for _, name in ipairs(change.remove) do redis.call('HDEL', hash, name) end
for name, value in pairs(change.fields) do redis.call('HSET', hash, name, value) end
for name, value in pairs(change.items) do redis.call('HINCRBY', hash, name, value) end
for name, value in pairs(change.seconds) do redis.call('HINCRBYFLOAT', hash, name, value) end
for _, name in ipairs(change.marks) do redis.call('HSET', hash, name, now) end
redis.call('EXPIRE', hash, ARGV[2])
if not change.event then return end
local job = in_all()
if not job then return end
if change.loads then
  redis.call('HSET', hash, 'before:' .. change.loads, job.counters.embedded)
end
if redis.call('HEXISTS', hash, 'all_listed') == 1 then job.expected = job.counters.listed end
redis.call('XADD', stream, 'MAXLEN', '~', ARGV[3], '*', 'event', change.event, 'at', now,
  'state', job.state, 'expected', job.expected ~= cjson.null and job.expected or '',
  'counters', cjson.encode(job.counters))
redis.call('EXPIRE', stream, ARGV[2])
"""
_FOUND = ("waiting", "waiting_at")
"""Fields of what was found to hold the job up; they go once it moves."""
_BY_WORKER = ("updated",)


@dataclass(slots=True)
class _Change:
    """What the script is to do, as it reads it."""

    event: str | None
    """None where watchers need not know."""
    fields: dict[str, str] = field(default_factory=dict)
    remove: Sequence[str] = ()
    marks: Sequence[str] = ()
    """Fields that get the time."""
    items: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """What is added to fields."""
    loads: int | None = None
    """The page that begins to wait for its model."""
    loads_over: bool = False
    """Whether one waits for it no more."""
    seen: dict[str, str] = field(default_factory=dict)
    seen_at: str | None = None
    """Since when the fields `seen` are so; they are not set where later ones are there."""
    reset: bool = False

    def see(self, seen: Seen, errors: Sequence[EntityFailure] | None = None) -> _Change:
        """With the job as it was seen."""
        self.seen_at = repr(seen.at)
        self.seen["job"] = json.dumps(asdict(seen.job))
        if errors is not None:
            self.seen["errors"] = json.dumps([asdict(one) for one in errors])
        if seen.job.state in FINAL:
            self.fields["ended"] = "1"
        return self

    def took(self, stages: Mapping[Stage, Timing]) -> _Change:
        """With the time that stages took."""
        for stage, timing in stages.items():
            self.items[f"items:{stage}"] = timing.items
            self.seconds[f"seconds:{stage}"] = timing.seconds
        return self


_TOLD = tuple(one.name for one in fields(_Change))


class Progress:
    """Publishes and reads the progress of jobs."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = redis.register_script(_PUBLISH)

    def start(self, seen: Seen) -> None:
        """Begin a job's picture afresh."""
        change = _Change("started", reset=True, marks=_BY_WORKER)
        self._publish(seen.job.id, change.see(seen, errors=[]))

    def listing(self, job_id: str, number: int) -> None:
        """Publish that a page is awaited from the source."""
        marks = [_listing(number), *_BY_WORKER]
        # A process that was killed left the mark of a model that it loaded.
        remove = [*_loading(number), *_FOUND]
        self._publish(job_id, _Change(None, marks=marks, remove=remove))

    def page(
        self,
        job_id: str,
        number: int,
        counted: Counters,
        stages: Mapping[Stage, Timing],
        *,
        is_last: bool = False,
    ) -> None:
        """Publish what a page in hand counted so far, and the time it took since the last time;
        with the last one the whole source is listed."""
        compact = {name: value for name, value in asdict(counted).items() if value}
        fields = {_page(number): json.dumps(compact)} | ({"all_listed": "1"} if is_last else {})
        change = _Change(
            "page",
            fields=fields,
            remove=[_listing(number), *_FOUND],
            marks=_BY_WORKER,
        )
        self._publish(job_id, change.took(stages))

    @contextmanager
    def loading(self, job_id: str, number: int, model: str) -> Iterator[None]:
        """Publish that a page waits for the model to be loaded, as long as the block runs."""
        mark, before = _loading(number)
        marks = [mark, *_BY_WORKER]
        self._publish(job_id, _Change("changed", {"model": model}, _FOUND, marks, loads=number))
        try:
            yield
        finally:
            remove = [mark, before, *_FOUND]
            change = _Change("changed", remove=remove, marks=_BY_WORKER, loads_over=True)
            self._publish(job_id, change)

    def committed(
        self,
        seen: Seen,
        number: int,
        stages: Mapping[Stage, Timing],
        errors: Sequence[EntityFailure] | None = None,
    ) -> None:
        """Take a page out of the picture: the job's counters have it. `errors` are the job's first
        ones; None where they are as before."""
        remove = [_page(number), _listing(number), _trouble(number), _trouble(FINISH), *_FOUND]
        change = _Change("committed", remove=remove, marks=_BY_WORKER)
        self._publish(seen.job.id, change.see(seen, errors).took(stages))

    def given_back(self, job_id: str, number: int, trouble: Trouble | None = None) -> None:
        """Take a page out of hand that was not committed, for a trouble if there was one."""
        fields = {} if trouble is None else {_trouble(number): json.dumps(asdict(trouble))}
        remove = [_page(number), _listing(number), *_FOUND]
        self._publish(job_id, _Change("held_up", fields, remove, _BY_WORKER))

    def held_up(self, seen: Seen, step: str, trouble: Trouble) -> None:
        """Publish why a step that is no page, START or FINISH, is tried again."""
        fields = {_trouble(step): json.dumps(asdict(trouble))}
        self._publish(seen.job.id, _Change("held_up", fields, _FOUND, _BY_WORKER).see(seen))

    def changed(self, seen: Seen) -> None:
        """Publish a job of which more is known than its counters, or something else."""
        self._publish(seen.job.id, _Change("changed", remove=_FOUND).see(seen))

    def found(
        self,
        seen: Seen,
        errors: Sequence[EntityFailure],
        troubles: Sequence[Trouble],
        waiting: Waiting | None,
    ) -> None:
        """Publish what the catalog says of a job of which no worker has said anything lately."""
        fields = {_trouble(one.page): json.dumps(asdict(one)) for one in troubles}
        fields["waiting"] = json.dumps(None if waiting is None else asdict(waiting))
        self._publish(seen.job.id, _Change(None, fields, marks=["waiting_at"]).see(seen, errors))

    def end(self, seen: Seen) -> None:
        """Publish how a job ended and what it counted in the end."""
        self._publish(seen.job.id, _Change("ended", reset=True).see(seen))

    def entries(self, job_id: str, shares: Mapping[str, float]) -> None:
        """Publish how much of each of these documents is embedded, 0 to 1."""
        values: dict[Any, Any] = {document: round(share, 4) for document, share in shares.items()}
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hset(_entries(job_id), mapping=values)
        pipeline.expire(_entries(job_id), KEEP)
        try:
            pipeline.execute()
        except RedisError as error:
            logger.warning("progress is not published", extra=_context(job_id, error))

    def entry(self, job_id: str, document_id: str) -> float:
        """How much of a document that the job has in hand is embedded, 0 to 1."""
        try:
            found = self._redis.hget(_entries(job_id), document_id)
        except RedisError as error:
            logger.warning("progress cannot be read", extra=_context(job_id, error))
            return 0.0
        return float(found or 0.0)

    def forget(self, job_ids: Sequence[str]) -> None:
        """Remove what is kept of jobs that are gone."""
        keys = [key for one in job_ids for key in (_hash(one), stream(one), _entries(one))]
        try:
            self._redis.unlink(*keys)
        except RedisError as error:
            # It goes by itself, KEEP after the last change.
            logger.warning(
                "progress is not removed", extra={"action": "progress", "error": str(error)}
            )

    def picture(self, job_id: str) -> Picture | None:
        """The job as Redis has it; None where it does not know it or is away."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(_hash(job_id))
        pipeline.time()
        try:
            found, (seconds, micros) = pipeline.execute()
        except RedisError as error:
            logger.warning("progress cannot be read", extra=_context(job_id, error))
            return None
        fields = {_text(name): _text(value) for name, value in found.items()}
        return picture_of(fields, seconds + micros / 1e6) if "job" in fields else None

    def _publish(self, job_id: str, change: _Change) -> None:
        # In Lua a JSON null is true.
        told = {name: value for name in _TOLD if (value := getattr(change, name)) is not None}
        try:
            self._script(
                keys=[_hash(job_id), stream(job_id)],
                args=[json.dumps(told), KEEP, STREAM_LENGTH],
            )
        except RedisError as error:
            logger.warning("progress is not published", extra=_context(job_id, error))


START, FINISH = "start", "finish"
"""The steps of a job that are no pages."""


def stream(job_id: str) -> str:
    """The key of a job's events."""
    return f"celeriac:job:{job_id}:events"


def _hash(job_id: str) -> str:
    return f"celeriac:job:{job_id}"


def _entries(job_id: str) -> str:
    return f"celeriac:job:{job_id}:entries"


def _page(number: int) -> str:
    return f"page:{number}"


def _listing(number: int) -> str:
    return f"listing:{number}"


def _loading(number: int) -> tuple[str, str]:
    """Since when the page waits for its model, and how many chunks the job had embedded then."""
    return f"loading:{number}", f"before:{number}"


def _trouble(step: int | str | None) -> str:
    return f"trouble:{step}"


def _context(job_id: str, error: RedisError) -> dict[str, str]:
    return {"action": "progress", "job": job_id, "error": str(error)}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
