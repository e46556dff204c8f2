"""The REST API as a client sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import httpx

from celeriac.errors import (
    CeleriacError,
    ConfigurationError,
    DependencyUnavailable,
    NotFound,
    PermanentError,
    RateLimited,
    WorkerTimeout,
    restored,
)
from celeriac.restoring import restore

if TYPE_CHECKING:
    from celeriac.audit import Audit
    from celeriac.explain import Explanation
    from celeriac.plan import Plan
    from celeriac.store.base import Hit

TIMEOUT = 30.0
"""Seconds until an answer is given up."""

PATIENCE = 90.0
"""Seconds for which a search is asked again where no worker answers, for one may load its model."""
POLL_INTERVAL = 0.5
"""Seconds between two looks at a plan or an audit."""

Kind = TypeVar("Kind")
Heard = Callable[[int], None]
"""Called with the entities that were listed so far."""

JobResource = Mapping[str, Any]
"""What `GET /jobs/{id}` answers."""


class Remote:
    """A celeriac behind a URL.

    Every method raises

    - DependencyUnavailable: it cannot be reached, or something it needs is away;
    - RateLimited: the key asks too often;
    - ConfigurationError: the key or the request is refused.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        headers = {"x-api-key": key}
        try:
            self._client = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ConfigurationError(f"--url or --key is not valid: {error}") from error

    def reindex(self, tenant: str, entity_type: str) -> str:
        """Ask for a reindex; the id of the job that does it, a waiting one where there is one."""
        return self._accepted(f"/ai-rag-indexer/{_part(tenant)}/{_part(entity_type)}/reindex")

    def retry(self, job_id: str, error_class: str | None, *, retryable_only: bool) -> str:
        """Ask for a retry of what failed in a job; the id of the job that does it.

        Raises NotFound where there is no such job, ConfigurationError where it cannot be retried.
        """
        body: dict[str, object] = {"retryable_only": retryable_only}
        if error_class is not None:
            body["class"] = error_class
        return self._accepted(f"/jobs/{_part(job_id)}/retry", body)

    def roll_back(self, tenant: str, entity_type: str, *, undo: bool) -> JobResource:
        """Go back to the generation before, or accept again what was rolled back from."""
        path = f"/ai-rag-indexer/{_part(tenant)}/{_part(entity_type)}/rollback"
        return self._resource("POST", path, {"undo": undo})

    def job(self, job_id: str) -> JobResource:
        """The job now; raises NotFound where there is none."""
        return self._resource("GET", f"/jobs/{_part(job_id)}")

    def cancel(self, job_id: str) -> JobResource:
        """Cancel the job; as it is now."""
        return self._resource("POST", f"/jobs/{_part(job_id)}/cancel")

    def pause(self, job_id: str) -> JobResource:
        """Hold the job up; as it is now."""
        return self._resource("POST", f"/jobs/{_part(job_id)}/pause")

    def resume(self, job_id: str) -> JobResource:
        """Let the job go on; as it is now."""
        return self._resource("POST", f"/jobs/{_part(job_id)}/resume")

    def throttle(self, job_id: str, rate: float | None) -> JobResource:
        """Let the job list so many entities a second at most, or lift that; as it is now."""
        return self._resource(
            "PUT", f"/jobs/{_part(job_id)}/throttle", {"entities_per_second": rate}
        )

    def prioritise(self, job_id: str, priority: str) -> JobResource:
        """Give the job another priority; as it is now."""
        return self._resource("PUT", f"/jobs/{_part(job_id)}/priority", {"priority": priority})

    def schedules(self, tenant: str) -> JobResource:
        """The tenant's schedules, under `schedules`."""
        return self._resource("GET", _schedules(tenant))

    def add_schedule(self, tenant: str, entity_type: str, cron: str, timezone: str) -> JobResource:
        """Have an entity type reindexed at more times; the new schedule."""
        body = {"entity_type": entity_type, "cron": cron, "timezone": timezone}
        return self._resource("POST", _schedules(tenant), body)

    def change_schedule(self, tenant: str, schedule_id: str, **change: str) -> JobResource:
        """Have a schedule due at other times; `change` has cron, timezone or both."""
        return self._resource("PATCH", _schedules(tenant, schedule_id), change)

    def pause_schedule(self, tenant: str, schedule_id: str) -> JobResource:
        """Have a schedule not run; as it is now."""
        return self._resource("POST", f"{_schedules(tenant, schedule_id)}/pause")

    def resume_schedule(self, tenant: str, schedule_id: str) -> JobResource:
        """Have a schedule run again; as it is now."""
        return self._resource("POST", f"{_schedules(tenant, schedule_id)}/resume")

    def delete_schedule(self, tenant: str, schedule_id: str) -> None:
        """Remove a schedule that was added."""
        self._ask("DELETE", _schedules(tenant, schedule_id))

    def confirm_removal(self, job_id: str) -> str:
        """Ask for a reindex that may remove what a job refused to; the id of the new job."""
        return self._accepted(f"/jobs/{_part(job_id)}/confirm-removal")

    def plan(self, tenant: str, entity_type: str, heard: Heard) -> Plan:
        """What a reindex would do, as a worker finds it; raises what it raises."""
        from celeriac.plan import Plan

        return self._check(tenant, entity_type, {"kind": "plan"}, heard, Plan)

    def audit(self, tenant: str, entity_type: str, heard: Heard, *, repair: bool) -> Audit:
        """How source and index differ, likewise."""
        from celeriac.audit import Audit

        body = {"kind": "audit", "repair": repair}
        return self._check(tenant, entity_type, body, heard, Audit)

    def _check(
        self, tenant: str, entity_type: str, body: object, heard: Heard, kind: type[Kind]
    ) -> Kind:
        path = f"/ai-rag-indexer/{_part(tenant)}/{_part(entity_type)}/checks"
        location = self._ask("POST", path, body).headers.get("Location", "")
        while (check := self._resource("GET", location))["state"] in ("waiting", "running"):
            heard(check["listed"])
            time.sleep(POLL_INTERVAL)
        if check["error"] is not None:
            raise restored(check["error"])
        return restore(kind, check["result"])

    def explain(self, tenant: str, entity_type: str, entity_id: str) -> Explanation:
        """One entity as it stands in the index; raises NotFound where nothing is indexed."""
        from celeriac.explain import Explanation

        path = f"/ai-rag-indexer/{_part(tenant)}/{_part(entity_type)}/explanation"
        found = self._resource("GET", f"{path}?id={_part(entity_id)}")
        return restore(Explanation, found)

    def search(
        self,
        tenant: str,
        entity_type: str,
        text: str,
        *,
        top_k: int,
        filters: Mapping[str, Any],
    ) -> list[Hit]:
        """The chunks nearest to a text, once a worker has loaded the model; raises WorkerTimeout
        where none answers."""
        from celeriac.store.base import Hit

        path = f"/ai-rag-indexer/{_part(tenant)}/{_part(entity_type)}/search"
        body = {"text": text, "top_k": top_k, "filter": filters}
        patient_until = time.monotonic() + PATIENCE
        while True:
            try:
                return [restore(Hit, hit) for hit in self._resource("POST", path, body)["hits"]]
            except WorkerTimeout:
                if time.monotonic() > patient_until:
                    raise

    def _accepted(self, path: str, body: object = None) -> str:
        """The id of the job that a request was given."""
        location = self._ask("POST", path, body).headers.get("Location", "")
        return str(httpx.URL(location).path.rpartition("/")[2])

    def _resource(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> JobResource:
        answer = self._ask(method, path, body)
        found = _json(answer)
        if not isinstance(found, Mapping):
            raise PermanentError(f"{self._url} does not answer as celeriac does; check --url.")
        return found

    def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            answer = self._client.request(method, path, json=body)
        except (httpx.TransportError, httpx.UnsupportedProtocol) as error:
            raise DependencyUnavailable(
                f"The API at {self._url} cannot be reached ({error}); "
                "check --url and that celeriac runs."
            ) from error
        if answer.is_success:
            return answer
        raise _error(answer, self._url)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _error(answer: httpx.Response, url: str) -> CeleriacError:
    message = _message(answer) or f"{url} answered {answer.status_code} {answer.reason_phrase}."
    if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return ConfigurationError(f"{message} Set CELERIAC_API_KEY, or give --key.")
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(message)
    if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(message)
    if answer.status_code == HTTPStatus.GATEWAY_TIMEOUT:
        return WorkerTimeout(message)
    if answer.is_server_error:
        return DependencyUnavailable(message)
    return ConfigurationError(message)


def _message(answer: httpx.Response) -> str:
    body = _json(answer)
    if not isinstance(body, Mapping):
        return ""
    fault = body.get("fault")
    found = fault.get("faultstring") if isinstance(fault, Mapping) else body.get("message")
    return " ".join([str(found or ""), *_details(body.get("details"))])


def _details(details: object) -> list[str]:
    """What is wrong with which part of a request."""
    if not isinstance(details, list):
        return []
    return [f"{one.get('field')}: {one.get('message')}" for one in details]


def _json(answer: httpx.Response) -> object:
    try:
        found: object = answer.json()
    except ValueError:
        return None
    return found


def _schedules(tenant: str, *schedule: str) -> str:
    return "/".join(["/indexing", _part(tenant), "schedules", *map(_part, schedule)])


def _part(name: str) -> str:
    return quote(name, safe="")
