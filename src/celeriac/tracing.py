"""Traces of jobs: from the request to the stages of every page, where OpenTelemetry is set up.

That is where OTEL_EXPORTER_OTLP_ENDPOINT is set and the extra `tracing` is installed. A job's trace
is kept in Redis under its id: a message does not say whose page its worker will run, and one that
was lost is sent again by somebody else. Spans have ids, names and numbers, never texts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
KEEP = 7 * 24 * 3600
"""Seconds for which a job's trace is kept."""
SERVICE = "celeriac"

Attribute = str | int | float


class Tracing:
    """Spans, sent to the endpoint that OpenTelemetry's own variables name, over OTLP and HTTP; at
    no cost where there is no provider."""

    def __init__(self, provider: TracerProvider | None, redis: Callable[[], Redis]) -> None:
        self._provider = provider
        self._tracer: Any = provider and provider.get_tracer(SERVICE)
        self._redis = redis

    @property
    def enabled(self) -> bool:
        """Whether anything is traced."""
        return self._tracer is not None

    def span(
        self, name: str, incoming: Mapping[str, str] | None = None, **attributes: Attribute
    ) -> AbstractContextManager[None]:
        """A span of what this thread is at, or of the trace that `incoming` headers name."""
        if self._tracer is None:
            return nullcontext()
        context = None if incoming is None else _context_of(incoming)
        return self._span(name, context, attributes)

    def span_of_job(
        self, job_id: str, name: str, **attributes: Attribute
    ) -> AbstractContextManager[None]:
        """A span of a job's trace."""
        if self._tracer is None:
            return nullcontext()
        context = _context_of({"traceparent": self._kept(job_id)})
        return self._span(name, context, {"celeriac.job": job_id, **attributes})

    @contextmanager
    def _span(
        self, name: str, context: Context | None, attributes: Mapping[str, Attribute]
    ) -> Iterator[None]:
        from opentelemetry.trace import Status, StatusCode

        # What an exception says may be a text of the source: its class has to do.
        with self._tracer.start_as_current_span(
            name,
            context,
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", type(error).__name__)
                raise

    def keep(self, job_id: str) -> None:
        """Have the job belong to the trace that this thread is at, or begin one for it."""
        if self._tracer is None:
            return
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        with self._span("job", None, {"celeriac.job": job_id}):
            TraceContextTextMapPropagator().inject(carrier)
        try:
            self._redis().set(_key(job_id), carrier["traceparent"], ex=KEEP, nx=True)
        except RedisError as error:
            logger.warning("trace is not kept", extra=_context(job_id, error))

    def note(self, **attributes: Attribute) -> None:
        """Add to the span that this thread is at."""
        if self._tracer is not None:
            from opentelemetry.trace import get_current_span

            get_current_span().set_attributes(attributes)

    def close(self) -> None:
        """Send what was not sent yet."""
        if self._provider is not None:
            self._provider.shutdown()

    def _kept(self, job_id: str) -> str:
        try:
            found = self._redis().get(_key(job_id))
        except RedisError as error:
            logger.warning("trace is not known", extra=_context(job_id, error))
            return ""
        return found.decode() if isinstance(found, bytes) else str(found or "")


def open_tracing(environ: Mapping[str, str], redis: Callable[[], Redis]) -> Tracing:
    """Tracing as the environment asks for it."""
    provider = None
    try:
        if any(environ.get(name) for name in ENDPOINTS):
            provider = _provider()
    except ImportError as error:
        logger.warning(
            "nothing is traced: pip install 'celeriac[tracing]'",
            extra={"action": "trace", "error": str(error)},
        )
    return Tracing(provider, redis)


def _provider() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()  # as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _context_of(headers: Mapping[str, str]) -> Context:
    """The context that W3C trace headers name; an empty one where they name none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(headers, Context())


def _key(job_id: str) -> str:
    return f"celeriac:job:{job_id}:trace"


def _context(job_id: str, error: RedisError) -> dict[str, str]:
    return {"action": "trace", "job": job_id, "error": str(error)}
