"""How things are at the moment, read from the catalog and from Redis for whoever asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from redis.exceptions import RedisError

from celeriac import measured
from celeriac.catalog.standings import Standing
from celeriac.dispatch import Dispatcher
from celeriac.errors import TransientError
from celeriac.measured import Metric
from celeriac.metrics import MOST_SERIES, Labels
from celeriac.runtime import Runtime
from celeriac.turns import wants_thread

Sample = tuple[Metric, Labels, float]


class Gauges:
    """Reads the gauges; what cannot be read is left out, and said to be down."""

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher) -> None:
        self._runtime = runtime
        self._dispatcher = dispatcher

    def samples(self) -> Iterator[Sample]:
        yield from self._asked("catalog", self._of_catalog)
        yield from self._asked("redis", self._of_redis)
        yield from self._asked("qdrant", self._of_store)

    def _asked(self, dependency: str, read: Callable[[], Sequence[Sample]]) -> Sequence[Sample]:
        try:
            found, up = read(), 1.0
        except (TransientError, RedisError):
            found, up = (), 0.0
        return [*found, (measured.UP, (dependency,), up)]

    def _of_catalog(self) -> list[Sample]:
        standings = self._runtime.catalog.standings.now()
        return [*_of_jobs(standings), *self._of_indexes()]

    def _of_indexes(self) -> Iterator[Sample]:
        tenants = self._runtime.settings.configuration.tenants
        for one in self._runtime.catalog.standings.freshness(MOST_SERIES):
            tenant = tenants.get(one.tenant)
            # What is not declared any more is never indexed again.
            if one.entity_type.startswith("kb:") or (
                tenant is not None and one.entity_type in tenant.entity_types
            ):
                labels = (one.tenant, one.entity_type)
                yield measured.LAST_SUCCESS, labels, one.succeeded_at or 0.0
                yield measured.LAG, labels, max(one.lag, 0.0)

    def _of_redis(self) -> list[Sample]:
        return [
            (measured.WORKERS, (), self._runtime.workers.count()),
            (measured.QUEUE, (), self._dispatcher.depth()),
        ]

    def _of_store(self) -> list[Sample]:
        self._runtime.store.ping()
        return []


def _of_jobs(standings: Sequence[Standing]) -> Iterator[Sample]:
    lined_up = [one.waited for one in standings if wants_thread(one)]
    yield measured.OLDEST, (), max(lined_up, default=0.0)
    active: Counter[Any] = Counter((one.tenant, one.state.value) for one in standings)
    held: Counter[Any] = Counter()
    waiting: Counter[Any] = Counter()
    for one in standings:
        held[one.tenant,] += one.held
        waiting[one.tenant,] += one.waiting
    for metric, counted in (
        (measured.ACTIVE, active),
        (measured.HELD, held),
        (measured.WAITING, waiting),
    ):
        for labels, value in counted.most_common(MOST_SERIES):
            yield metric, labels, value
