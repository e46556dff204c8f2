"""Searches, handed from the API to a worker that has the model, and back, through Redis.

They do not queue with the pages: each worker process has a thread of its own for them, so that a
search is answered while every other thread of every worker indexes.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from celeriac import errors
from celeriac.errors import BrokerUnavailable, CeleriacError, WorkerTimeout
from celeriac.model import MetadataValue
from celeriac.runtime import Runtime
from celeriac.search import search

logger = logging.getLogger(__name__)

QUESTIONS = "celeriac:searches"
"""The list that the API pushes questions to and the workers take them from."""
WAIT = 15.0
"""Seconds the API waits for an answer."""


def ask(
    redis: Redis,
    tenant: str,
    entity_type: str,
    text: str,
    *,
    top_k: int,
    filters: Mapping[str, MetadataValue],
) -> list[dict[str, Any]]:
    """Have a worker search; the hits as dictionaries.

    Raises:
        WorkerTimeout: no worker answered in time.
        CeleriacError: as the worker raised it.
    """
    reply_to = f"celeriac:answer:{uuid.uuid4()}"
    question = {
        "reply_to": reply_to,
        "arguments": {
            "tenant": tenant,
            "entity_type": entity_type,
            "text": text,
            "top_k": top_k,
            "filters": dict(filters),
        },
    }
    try:
        redis.set(_waiting(reply_to), 1, ex=int(WAIT))
        redis.rpush(QUESTIONS, json.dumps(question))
        answer = _await(redis, reply_to)
    except RedisError as error:
        raise BrokerUnavailable from error
    if "error" in answer:
        raise _restored(answer["error"])
    hits: list[dict[str, Any]] = answer["hits"]
    return hits


class SearchServer:
    """Answers searches in a thread of its own until it is stopped."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._thread = threading.Thread(target=self._run, name="search", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Wait for the search in hand, once the runtime is stopping."""
        self._thread.join(timeout=WAIT)

    def _run(self) -> None:
        while not self._runtime.stopping.is_set():
            try:
                self._answer_one()
            except RedisError as error:
                logger.warning("no searches", extra={"action": "search", "error": str(error)})
                self._runtime.stopping.wait(1)

    def _answer_one(self) -> None:
        found = self._runtime.redis.blpop([QUESTIONS], timeout=1)
        if found is None:
            return
        question = json.loads(found[1])
        if not self._runtime.redis.delete(_waiting(question["reply_to"])):
            return  # nobody waits for the answer any more
        pipeline = self._runtime.redis.pipeline()
        pipeline.rpush(question["reply_to"], json.dumps(self._reply(question["arguments"])))
        pipeline.expire(question["reply_to"], int(WAIT))
        pipeline.execute()

    def _reply(self, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            hits = search(self._runtime, **arguments)
        except CeleriacError as error:
            return _failed(error)
        except Exception as error:
            logger.exception("search failed", extra={"action": "search"})
            return _failed(CeleriacError(f"The search failed: {type(error).__name__}: {error}"))
        return {"hits": [asdict(hit) for hit in hits]}


def _failed(error: CeleriacError) -> dict[str, Any]:
    return {"error": {"class": type(error).__name__, "message": str(error)}}


def _await(redis: Redis, reply_to: str) -> dict[str, Any]:
    # Shorter waits than the client's socket timeout, one after the other.
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        found = redis.blpop([reply_to], timeout=1)
        if found is not None:
            reply: dict[str, Any] = json.loads(found[1])
            return reply
    raise WorkerTimeout(
        f"No worker answered the search within {WAIT:.0f} s. One may be loading the model: "
        "try again; or else check that one runs and has room."
    )


def _restored(error: Mapping[str, str]) -> CeleriacError:
    kind = getattr(errors, error["class"], CeleriacError)
    restored: CeleriacError = kind(error["message"])
    return restored


def _waiting(reply_to: str) -> str:
    """The key that exists as long as somebody waits: no clocks are compared."""
    return f"{reply_to}:waiting"
