"""GET /metrics: what all processes counted and how things are, in Prometheus's text format.

Every replica of the API answers the same; scrape one of them, or the address that leads to any.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from api.authorization import requires
from api.blueprint import Blueprint
from api.services import services
from celeriac import measured
from celeriac.errors import Forbidden
from celeriac.gauges import Gauges
from celeriac.measured import METRICS, Kind, Metric
from celeriac.metrics import Found, Labels, Metrics, Series, cumulative
from celeriac.security.principal import Scope

logger = logging.getLogger(__name__)

blueprint = Blueprint("metrics", __name__, description="For Prometheus.")


@blueprint.get("/metrics")
@requires(Scope.METRICS_READ)
@blueprint.response(
    200, {"type": "string"}, content_type="text/plain", description="Prometheus's text format."
)
def get_metrics() -> Response:
    """Metrics of the whole deployment; for credentials of every tenant."""
    if g.principal.tenants is not None:
        raise Forbidden("Metrics are of all tenants; it takes a credential of every tenant.")
    runtime = services().runtime
    registry = CollectorRegistry()
    registry.register(Deployment(runtime.metrics, Gauges(runtime, services().dispatcher)))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class Deployment(Collector):
    """All metrics of the deployment, as Prometheus's client wants them."""

    def __init__(self, metrics: Metrics, gauges: Gauges) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def describe(self) -> Iterable[Family]:
        return [_family(metric) for metric in METRICS]

    def collect(self) -> Iterator[Family]:
        families = {metric: _family(metric) for metric in METRICS}
        for metric, labels, value in self._gauges.samples():
            families[metric].add_metric(labels, value)
        for metric, found in self._counted().items():
            for labels, series in found.items():
                _add(families[metric], metric, labels, series)
        yield from families.values()

    def _counted(self) -> Found:
        try:
            return self._metrics.found()
        except RedisError as error:
            logger.warning("no counters", extra={"action": "metrics", "error": str(error)})
            return {}


def _family(metric: Metric) -> Any:
    match metric.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        case Kind.GAUGE:
            return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)


def _add(family: Any, metric: Metric, labels: Labels, series: Series) -> None:
    if metric.kind == Kind.HISTOGRAM:
        buckets = [
            ("+Inf" if bound == float("inf") else str(bound), count)
            for bound, count in cumulative(metric, series)
        ]
        family.add_metric(labels, buckets, series.value)
    else:
        family.add_metric(labels, series.value)


def register(app: Flask) -> None:
    """Have every request measured."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.begun = time.perf_counter()


def _end(response: Response) -> Response:
    if "begun" in g and request.endpoint is not None:
        seconds = time.perf_counter() - g.begun
        status = f"{response.status_code // 100}xx"
        metrics = services().runtime.metrics
        metrics.observe(measured.REQUESTS, seconds, request.endpoint, status)
    return response
