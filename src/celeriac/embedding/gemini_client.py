"""Requests to the Generative Language API: the key, retries, and what its errors mean."""

from __future__ import annotations

import email.utils
import random
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from celeriac.embedding.models import EmbeddingModel
from celeriac.errors import CeleriacError, ModelError, ModelUnavailable

JsonObject = dict[str, Any]

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_KEY_REFUSED = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again here; a pure decision."""

    attempts: int = 5
    base: float = 0.5
    """Seconds before the second attempt, at most; doubled with each further one."""
    patience: float = 30.0
    """Seconds spent waiting in one call, at most; a worker's thread is held meanwhile."""

    def delay(
        self, attempt: int, waited: float, asked: float | None, jitter: float
    ) -> float | None:
        """Seconds to wait after a failed attempt, or None to give up.

        Args:
            attempt: how many have failed, from 1.
            waited: seconds waited before.
            asked: seconds the other side asks for; never undercut.
            jitter: uniform in [0, 1), so that workers do not come back all at once.
        """
        if attempt >= self.attempts:
            return None
        backoff = self.base * 2 ** (attempt - 1) * (0.5 + jitter / 2)
        delay = backoff if asked is None else asked + backoff * jitter
        return delay if waited + delay <= self.patience else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an answer other than 200 says."""

    status: int
    message: str
    reason: str = ""
    """Of google.rpc.ErrorInfo, such as API_KEY_INVALID."""
    quota: str = ""
    """The exhausted quota's name, where the answer gives one."""
    retry_after: float | None = None

    @classmethod
    def of(cls, response: httpx.Response) -> Refusal:
        error = _error_object(response)
        reason, quota, asked = "", "", _seconds_of_header(response.headers.get("retry-after"))
        for detail in _objects(error.get("details")):
            match str(detail.get("@type", "")).rpartition(".")[2]:
                case "ErrorInfo":
                    reason = str(detail.get("reason", ""))
                case "QuotaFailure":
                    quota = ", ".join(map(_quota_name, _objects(detail.get("violations"))))
                case "RetryInfo":
                    asked = _seconds(str(detail.get("retryDelay", "")).removesuffix("s")) or asked
        message = str(error.get("message") or response.reason_phrase)
        return cls(response.status_code, message, reason, quota, asked)


class GeminiClient:
    """Calls methods of one model. Safe to use from several threads."""

    def __init__(
        self, model: EmbeddingModel, environ: Mapping[str, str], retry: RetryPolicy | None = None
    ) -> None:
        """Read the key.

        Raises:
            ModelError: the model's variable is not set.
        """
        key = environ.get(model.api_key_variable, "").strip()
        if not key:
            raise ModelError(
                f"{model.name} needs an API key; set the variable {model.api_key_variable}"
            )
        self._model = model
        self._key = key
        self._retry = retry or RetryPolicy()
        self._http = httpx.Client(headers={"x-goog-api-key": key}, timeout=_TIMEOUT)
        # A token counter has no end of its own to close its connections at.
        self._finalizer = weakref.finalize(self, self._http.close)

    def call(self, method: str, body: JsonObject) -> JsonObject:
        """POST `body` to a method of the model, such as batchEmbedContents.

        Raises:
            ModelUnavailable: down or over its quota, after some attempts.
            ModelError: the request or the key is refused, or the answer is not JSON.
        """
        url = f"{self._model.location.rstrip('/')}/models/{self._model.remote_name}:{method}"
        attempt, waited = 0, 0.0
        while True:
            attempt += 1
            outcome = self._attempt(url, body)
            if not isinstance(outcome, ModelUnavailable):
                return outcome
            delay = self._retry.delay(
                attempt,
                waited,
                outcome.retry_after,
                random.random(),  # noqa: S311  not a secret
            )
            if delay is None:
                raise outcome
            time.sleep(delay)
            waited += delay

    def close(self) -> None:
        """Release connections."""
        self._finalizer()

    def _attempt(self, url: str, body: JsonObject) -> JsonObject | ModelUnavailable:
        """The answer, or why there is none for now."""
        try:
            response = self._http.post(url, json=body)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            return ModelUnavailable(f"{self._model.name}: {url} cannot be reached ({reason})")
        if response.status_code == HTTPStatus.OK:
            return self._answer(response)
        refused = self._error(Refusal.of(response))
        if isinstance(refused, ModelUnavailable):
            return refused
        raise refused

    def _answer(self, response: httpx.Response) -> JsonObject:
        try:
            answer = response.json()
        except ValueError as error:
            raise ModelError(f"{self._model.name}: the endpoint's answer is not JSON") from error
        if not isinstance(answer, dict):
            raise ModelError(f"{self._model.name}: the endpoint's answer is not a JSON object")
        return answer

    def _error(self, refusal: Refusal) -> CeleriacError:
        name, said = self._model.name, refusal.message.replace(self._key, "***")
        if refusal.status in _KEY_REFUSED or refusal.reason.startswith("API_KEY_"):
            return ModelError(
                f"{name}: the endpoint refuses the key; check the variable "
                f"{self._model.api_key_variable} ({refusal.status}: {said})"
            )
        if refusal.status == HTTPStatus.TOO_MANY_REQUESTS:
            quota = refusal.quota or "requests or tokens"
            return ModelUnavailable(
                f"{name}: the quota is used up ({quota}): {said}; it is tried again later, or ask "
                "for a higher quota",
                retry_after=refusal.retry_after,
            )
        if refusal.status in _PASSING:
            return ModelUnavailable(
                f"{name}: the endpoint answers {refusal.status}: {said}",
                retry_after=refusal.retry_after,
            )
        return ModelError(f"{name}: the endpoint refuses the request ({refusal.status}: {said})")


def _error_object(response: httpx.Response) -> JsonObject:
    try:
        answer = response.json()
    except ValueError:
        return {}
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, dict) else {}


def _objects(value: object) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _quota_name(violation: JsonObject) -> str:
    return str(
        violation.get("quotaId") or violation.get("quotaMetric") or violation.get("description")
    )


def _seconds(text: str) -> float | None:
    try:
        return max(0.0, float(text))
    except ValueError:
        return None


def _seconds_of_header(value: str | None) -> float | None:
    """Retry-After, in seconds or as a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
