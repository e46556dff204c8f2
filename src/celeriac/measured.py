"""What celeriac measures: every metric's name, meaning, labels and bounds, as data.

Names follow Prometheus's conventions: base units, `_total` for what only grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of time series."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds in seconds, of a histogram; beyond the last one is infinity."""

    def __hash__(self) -> int:
        return hash(self.name)


def _counter(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"celeriac_{name}_total", Kind.COUNTER, help, labels)


def _gauge(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"celeriac_{name}", Kind.GAUGE, help, labels)


def _histogram(name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(f"celeriac_{name}_seconds", Kind.HISTOGRAM, help, labels, buckets)


# Counted by whoever does it, kept in Redis.

ENTITIES = _counter(
    "entities",
    "Entities that pages dealt with, by what became of them; pages that run again count again.",
    "tenant",
    "outcome",
)
CHUNKS = _counter("chunks", "Chunks of those entities, new or unchanged.", "tenant")
EMBEDDED = _counter("embedded_chunks", "Chunks sent through the model.", "tenant")
TOKENS = _counter("tokens", "tiktoken tokens of the texts that were cut.", "tenant")
BYTES = _counter("source_bytes", "Bytes read from sources.", "tenant")
FAILURES = _counter("entity_failures", "Entities that could not be indexed.", "class")
RETRIES = _counter(
    "page_retries", "Pages that failed for want of a service and are tried again.", "class"
)
JOBS = _counter("jobs_ended", "Jobs that ended, by how.", "tenant", "state")
JOB_FAILURES = _counter("job_failures", "Jobs that failed, by the class of the error.", "class")
STAGES = _histogram(
    "stage_duration",
    "How long a go at a stage of a page took.",
    (0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    "stage",
)
STAGE_ITEMS = _counter("stage_items", "Entities (list) or chunks that went through.", "stage")
BATCHES = _histogram(
    "model_batch_duration",
    "How long the model computed a batch.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
    "model",
)
BATCH_ROWS = _counter("model_batch_texts", "Texts in batches.", "model")
BATCH_TOKENS = _counter("model_tokens", "Tokens the model read, without padding.", "model")
BATCH_PADDING = _counter("model_padding_tokens", "Tokens of padding the model read.", "model")
REQUESTS = _histogram(
    "http_request_duration",
    "How long requests took until their answer began.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0),
    "endpoint",
    "status",
)

# As it is when it is asked for.

UP = _gauge("dependency_up", "Whether it answered when the metrics were asked for.", "dependency")
WORKERS = _gauge("workers", "Workers that gave a sign of life lately.")
QUEUE = _gauge("queue_messages", "Messages that wait in the queue.")
OLDEST = _gauge("oldest_waiting_seconds", "For how long the first in line has waited for a thread.")
ACTIVE = _gauge("jobs", "Jobs that have not ended.", "tenant", "state")
HELD = _gauge("pages_in_hand", "Pages that workers have in hand.", "tenant")
WAITING = _gauge("pages_waiting", "Pages that are due and that no worker has taken.", "tenant")
LAST_SUCCESS = _gauge(
    "index_last_success_timestamp_seconds",
    "When a job last found the index equal to its source.",
    "tenant",
    "entity_type",
)
LAG = _gauge(
    "index_lag_seconds",
    "Since when a reindex has been asked for and has not ended; 0 where none is due.",
    "tenant",
    "entity_type",
)

METRICS = tuple(value for value in list(vars().values()) if isinstance(value, Metric))
COUNTED = {metric.name: metric for metric in METRICS if metric.kind != Kind.GAUGE}
