"""Plans and audits, handed from the API to a worker, and back, through Redis.

One lists a whole source: it may take hours, for which neither a thread of the API nor a message of
Celery is held. Each worker process has one thread for them. They write down nothing but what they
found, so one whose worker dies is over, and one that nobody asks about any more is ended.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from celeriac import logs
from celeriac.audit import audit
from celeriac.errors import (
    BrokerUnavailable,
    CeleriacError,
    RateLimited,
    TransientError,
    WorkerStopping,
    as_json,
)
from celeriac.leases import LEASE
from celeriac.plan import plan
from celeriac.runtime import Runtime

logger = logging.getLogger(__name__)

QUEUE = "celeriac:checks"
"""The list of the ids of those that wait."""
MOST = 20
"""How many wait at once."""
WANTED = 60
"""Seconds after which one that nobody asks about is ended."""
KEEP = 3600
"""Seconds for which what one found can be asked for."""
POLL = 1.0
"""Seconds between two looks of a worker for one that waits."""
JOIN = 15.0
"""Seconds that the end of the process waits for one to break off."""


class CheckKind(StrEnum):
    """What is to be found."""

    PLAN = "plan"
    """What a reindex would do."""
    AUDIT = "audit"
    """How source and index differ."""


class CheckState(StrEnum):
    """Where a check is in its life; the last two are final."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """A plan or an audit."""

    id: str
    tenant: str
    entity_type: str
    kind: CheckKind
    repair: bool
    """Whether an audit mends what differs."""
    state: CheckState = CheckState.WAITING
    listed: int = 0
    """Entities of the source that were listed so far."""
    result: Mapping[str, Any] | None = None
    """The plan or the audit, once it is done."""
    error: Mapping[str, str] | None = None
    """Why it failed, as `celeriac.errors.as_json` has it."""


def ask(redis: Redis, tenant: str, entity_type: str, kind: CheckKind, *, repair: bool) -> Check:
    """Have a worker make a check.

    Raises:
        RateLimited: enough of them wait already.
        BrokerUnavailable: Redis is away.
    """
    asked = Check(str(uuid.uuid4()), tenant, entity_type, kind, repair)
    try:
        if redis.llen(QUEUE) >= MOST:
            raise RateLimited(f"{MOST} plans and audits wait already; check that a worker runs.")
        pipeline = redis.pipeline()
        pipeline.hset(_key(asked.id), mapping={"check": json.dumps(asdict(asked))})
        pipeline.expire(_key(asked.id), KEEP)
        pipeline.set(_wanted(asked.id), 1, ex=WANTED)
        pipeline.rpush(QUEUE, asked.id)
        pipeline.execute()
    except RedisError as error:
        raise BrokerUnavailable from error
    return asked


def find(redis: Redis, check_id: str) -> Check | None:
    """The check as it stands, which is wanted for a while more; None where there is none.

    Raises:
        BrokerUnavailable: Redis is away.
    """
    pipeline = redis.pipeline()
    pipeline.hgetall(_key(check_id))
    pipeline.exists(_alive(check_id))
    try:
        found, alive = pipeline.execute()
        if found:
            redis.set(_wanted(check_id), 1, ex=WANTED)
    except RedisError as error:
        raise BrokerUnavailable from error
    return _check_of(found, bool(alive)) if found else None


def _check_of(found: Mapping[bytes, bytes], alive: bool) -> Check:
    check = Check(**json.loads(found[b"check"]))
    check = replace(check, listed=int(found.get(b"listed", 0)))
    if b"ended" in found:
        return replace(check, **json.loads(found[b"ended"]))
    if b"taken" not in found:
        return check
    if alive:
        return replace(check, state=CheckState.RUNNING)
    return replace(check, state=CheckState.FAILED, error=as_json(TransientError(GONE)))


GONE = "The worker that was about it is gone; ask again."
UNWANTED = f"Nobody has asked about it for {WANTED} s, so it was ended; ask again."

# One that is taken is alive from then on; those that nobody wants any more are dropped.
_TAKE = """
while true do
  local id = redis.call('LPOP', KEYS[1])
  if not id then return false end
  local key = 'celeriac:check:' .. id
  if redis.call('EXISTS', key .. ':wanted') == 1 then
    redis.call('HSET', key, 'taken', 1)
    redis.call('SET', key .. ':alive', 1, 'EX', ARGV[1])
    return id
  end
  redis.call('DEL', key)
end
"""


class CheckServer:
    """Makes checks in a thread of its own, one at a time, until it is stopped."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._redis = runtime.redis
        self._take = self._redis.register_script(_TAKE)
        self._thread = threading.Thread(target=self._run, name="checks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Wait for the check in hand to break off, once the runtime is stopping."""
        self._thread.join(timeout=JOIN)

    def _run(self) -> None:
        while not self._runtime.stopping.is_set():
            try:
                if not self._make_one():
                    self._runtime.stopping.wait(POLL)
            except RedisError as error:
                logger.warning("no checks", extra={"action": "check", "error": str(error)})
                self._runtime.stopping.wait(POLL)

    def _make_one(self) -> bool:
        """Make the check that has waited longest; whether there was one."""
        taken = self._take(keys=[QUEUE], args=[int(LEASE)])
        if not taken:
            return False
        check_id = taken.decode()
        asked = Check(**json.loads(self._redis.hget(_key(check_id), "check") or b"{}"))
        about = {"check": asked.kind, "tenant": asked.tenant, "entity_type": asked.entity_type}
        with logs.about(**about), self._runtime.heartbeat.hold(lambda: self._live(check_id)):
            ended = self._outcome(asked)
        self._end(check_id, ended)
        return True

    def _outcome(self, asked: Check) -> dict[str, Any]:
        try:
            return {"state": CheckState.DONE, "result": self._made(asked)}
        except CeleriacError as error:
            failure = error
        except Exception as error:
            logger.exception("check failed", extra={"action": "check"})
            failure = CeleriacError(f"It failed: {type(error).__name__}: {error}")
        return {"state": CheckState.FAILED, "error": as_json(failure)}

    def _made(self, asked: Check) -> dict[str, Any]:
        def checkpoint(listed: int) -> None:
            self._checkpoint(asked.id, listed)

        where = (self._runtime, asked.tenant, asked.entity_type)
        if asked.kind == CheckKind.PLAN:
            return asdict(plan(*where, checkpoint=checkpoint))
        found = audit(*where, repair=asked.repair, checkpoint=checkpoint)
        return {**asdict(found), "equal": found.equal}

    def _checkpoint(self, check_id: str, listed: int) -> None:
        """Say how far it is; break off where the process ends or nobody wants to know."""
        if self._runtime.stopping.is_set():
            raise WorkerStopping("The worker was asked to end; ask again.")
        try:
            self._redis.hset(_key(check_id), "listed", listed)
            wanted = self._redis.exists(_wanted(check_id))
        except RedisError as error:
            raise BrokerUnavailable from error
        if not wanted:
            raise TransientError(UNWANTED)

    def _live(self, check_id: str) -> None:
        try:
            self._redis.set(_alive(check_id), 1, ex=int(LEASE))
        except RedisError as error:
            raise BrokerUnavailable from error

    def _end(self, check_id: str, ended: Mapping[str, Any]) -> None:
        pipeline = self._redis.pipeline()
        pipeline.hset(_key(check_id), "ended", json.dumps(ended))
        pipeline.expire(_key(check_id), KEEP)
        pipeline.delete(_alive(check_id))
        pipeline.execute()


def _key(check_id: str) -> str:
    return f"celeriac:check:{check_id}"


def _wanted(check_id: str) -> str:
    """The key that exists as long as somebody asks: no clocks are compared."""
    return f"{_key(check_id)}:wanted"


def _alive(check_id: str) -> str:
    """The key that exists as long as a worker is about it."""
    return f"{_key(check_id)}:alive"
