"""Counts what this process does, and adds it to what others count, in Redis, every few seconds.

So whoever serves the metrics has those of all processes, however many there were and whichever of
them still live. What Redis loses, Prometheus takes for a restart.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from celeriac.embedding.batching import Batch
from celeriac.errors import ConfigurationError
from celeriac.measured import (
    BATCH_PADDING,
    BATCH_ROWS,
    BATCH_TOKENS,
    BATCHES,
    COUNTED,
    Kind,
    Metric,
)

logger = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two times that a process adds what it counted."""
MOST_SERIES = 500
"""Label values of one metric that a process tells apart; what is beyond counts as OTHER."""
OTHER = "other"

_KEY = "celeriac:metrics"

Labels = tuple[str, ...]


@dataclass(slots=True)
class Series:
    """One time series of a counter or a histogram."""

    value: float = 0.0
    """Of a counter; of a histogram, the sum of what was observed."""
    buckets: dict[float, float] = field(default_factory=dict)
    """Of a histogram: how many fell in, by the upper bound."""


Found = dict[Metric, dict[Labels, Series]]


class Metrics:
    """The counters and histograms of all processes."""

    def __init__(self, redis: Callable[[], Redis]) -> None:
        """`redis` is asked for when something is to be added: counting alone takes none."""
        self._redis = redis
        self._counted: defaultdict[str, float] = defaultdict(float)
        self._labels: defaultdict[str, set[Labels]] = defaultdict(set)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def count(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Add to a counter."""
        if by > 0:
            self._add(metric, labels, {"": by})

    def observe(self, metric: Metric, seconds: float, *labels: str) -> None:
        """Add an observation to a histogram."""
        position = bisect_left(metric.buckets, seconds)
        bound = metric.buckets[position] if position < len(metric.buckets) else math.inf
        self._add(metric, labels, {"": seconds, str(bound): 1.0})

    def found(self) -> Found:
        """What all processes counted so far, this one's last seconds included.

        Raises:
            RedisError: Redis is away.
        """
        self.flush()
        stored: Any = self._redis().hgetall(_KEY)
        return _found(stored)

    def flush(self) -> None:
        """Add what was counted here to what is in Redis; it stays here where that fails.

        Raises:
            RedisError: it failed.
        """
        with self._lock:
            counted, self._counted = self._counted, defaultdict(float)
        if not counted:
            return
        try:
            pipeline = self._redis().pipeline(transaction=True)
            for name, value in counted.items():
                pipeline.hincrbyfloat(_KEY, name, value)
            pipeline.execute()
        except (RedisError, ConfigurationError):
            with self._lock:
                for name, value in counted.items():
                    self._counted[name] += value
            raise

    def close(self) -> None:
        """Add what is left, and end."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        self._try_flush()

    def _add(self, metric: Metric, labels: Labels, parts: Mapping[str, float]) -> None:
        with self._lock:
            bounded = self._bounded(metric, labels)
            for part, value in parts.items():
                self._counted[json.dumps([metric.name, *bounded, part])] += value
            self._start()

    def _bounded(self, metric: Metric, labels: Labels) -> Labels:
        known = self._labels[metric.name]
        if labels in known or len(known) < MOST_SERIES:
            known.add(labels)
            return labels
        return (OTHER,) * len(labels)

    def _start(self) -> None:
        # Not before something is counted: a server may fork after the application is made.
        if not self._stop.is_set() and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._try_flush()

    def _try_flush(self) -> None:
        try:
            self.flush()
        except ConfigurationError:
            return  # a command that runs without Redis: nobody asks it for metrics
        except RedisError as error:
            logger.warning("metrics are kept", extra={"action": "metrics", "error": str(error)})


def count_batch(metrics: Metrics, model: str, batch: Batch) -> None:
    """Count what the model computed at once."""
    metrics.observe(BATCHES, batch.seconds, model)
    metrics.count(BATCH_ROWS, model, by=batch.texts)
    metrics.count(BATCH_TOKENS, model, by=batch.tokens)
    metrics.count(BATCH_PADDING, model, by=batch.padding)


def _found(stored: Mapping[bytes, bytes]) -> Found:
    found: Found = {metric: {} for metric in COUNTED.values()}
    for metric, labels, part, value in _parts(stored):
        series = found[metric].setdefault(labels, Series())
        if part:
            series.buckets[float(part)] = value
        else:
            series.value = value
    return found


def _parts(stored: Mapping[bytes, bytes]) -> Iterator[tuple[Metric, Labels, str, float]]:
    for name, value in stored.items():
        metric_name, *labels, part = json.loads(name)
        metric = COUNTED.get(metric_name)
        # What an older version counted, or a newer one, is not for this one to show.
        if metric is not None and len(labels) == len(metric.labels):
            yield metric, tuple(labels), part, float(value)


def cumulative(metric: Metric, series: Series) -> list[tuple[float, float]]:
    """A histogram's buckets as Prometheus has them: each has all below it."""
    assert metric.kind == Kind.HISTOGRAM
    bounds = [*metric.buckets, math.inf]
    total, found = 0.0, []
    for bound in bounds:
        total += series.buckets.get(bound, 0.0)
        found.append((bound, total))
    return found
