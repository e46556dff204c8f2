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
from celeriac.errors import BrokerUnavailable, CeleriacError, ModelError, WorkerTimeout
from celeriac.runtime import Runtime
from celeriac.search import search

logger = logging.getLogger(__name__)

QUESTIONS = "celeriac:searches"
"""The list that the API pushes questions to and the workers take them from."""
WAIT = 15.0
"""Seconds the API waits for an answer."""
PROBE_WAIT = 5.0
"""Seconds it waits to hear whether a model is available."""
SUCCESS_BELIEVED, FAILURE_BELIEVED = 30, 5
"""Seconds for which what a probe of a model found is believed."""


def ask(
    redis: Redis,
    tenant: str,
    entity_type: str,
    text: str,
    *,
    top_k: int,
    filters: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Have a worker search; the hits as dictionaries.

    Raises:
        WorkerTimeout: no worker answered in time.
        CeleriacError: as the worker raised it.
    """
    arguments = {
        "tenant": tenant,
        "entity_type": entity_type,
        "text": text,
        "top_k": top_k,
        "filters": dict(filters),
    }
    hits: list[dict[str, Any]] = _ask(redis, {"arguments": arguments}, WAIT)["hits"]
    return hits


def probe(redis: Redis, model: str) -> None:
    """Return where a worker can embed with the model; what one found is believed for a while.

    Raises:
        WorkerTimeout: no worker answered in time.
        CeleriacError: why the model cannot embed, as the worker raised it.
    """
    try:
        known = redis.get(_probed(model))
    except RedisError as error:
        raise BrokerUnavailable from error
    if known is None:
        _ask(redis, {"probe": model}, PROBE_WAIT)
    elif json.loads(known):
        raise errors.restored(json.loads(known))


def _ask(redis: Redis, question: dict[str, Any], wait: float) -> dict[str, Any]:
    reply_to = f"celeriac:answer:{uuid.uuid4()}"
    asked = json.dumps({"reply_to": reply_to, **question})
    try:
        redis.set(_waiting(reply_to), 1, ex=int(wait))
        redis.rpush(QUESTIONS, asked)
        try:
            answer = _await(redis, reply_to, wait)
        except WorkerTimeout:
            redis.lrem(QUESTIONS, 1, asked)  # or they would pile up where no worker runs
            raise
    except RedisError as error:
        raise BrokerUnavailable from error
    if "error" in answer:
        raise errors.restored(answer["error"])
    return answer


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
        pipeline.rpush(question["reply_to"], json.dumps(self._reply(question)))
        pipeline.expire(question["reply_to"], int(WAIT))
        pipeline.execute()

    def _reply(self, question: dict[str, Any]) -> dict[str, Any]:
        if "probe" in question:
            return self._probe(question["probe"])
        try:
            hits = search(self._runtime, **question["arguments"])
        except CeleriacError as error:
            return _failed(error)
        except Exception as error:
            logger.exception("search failed", extra={"action": "search"})
            return _failed(CeleriacError(f"The search failed: {type(error).__name__}: {error}"))
        return {"hits": [asdict(hit) for hit in hits]}

    def _probe(self, model: str) -> dict[str, Any]:
        """Embed something, and keep what came of it for those who ask next."""
        try:
            self._runtime.embedder(model).embed_query("Is anybody there?")
        except CeleriacError as error:
            found = _failed(error)
        except Exception as error:
            logger.exception("probe failed", extra={"action": "probe", "model": model})
            found = _failed(ModelError(f"{type(error).__name__}: {error}"))
        else:
            found = {}
        kept = FAILURE_BELIEVED if found else SUCCESS_BELIEVED
        self._runtime.redis.set(_probed(model), json.dumps(found.get("error")), ex=kept)
        return found


def _failed(error: CeleriacError) -> dict[str, Any]:
    return {"error": errors.as_json(error)}


def _await(redis: Redis, reply_to: str, wait: float) -> dict[str, Any]:
    # Shorter waits than the client's socket timeout, one after the other.
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        found = redis.blpop([reply_to], timeout=1)
        if found is not None:
            reply: dict[str, Any] = json.loads(found[1])
            return reply
    raise WorkerTimeout(
        f"No worker answered within {wait:.0f} s. One may be loading the model: try again; or else "
        "check that one runs and has room."
    )


def _probed(model: str) -> str:
    """The key of what the last probe of a model found: null, or its error."""
    return f"celeriac:model:{model}"


def _waiting(reply_to: str) -> str:
    """The key that exists as long as somebody waits: no clocks are compared."""
    return f"{reply_to}:waiting"
