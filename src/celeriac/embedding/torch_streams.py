"""How many streams a network computes in on its device, and in batches of which size."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from celeriac.embedding.calibration import (
    Streams,
    fastest_streams,
    numbers_of_streams,
    remembered_streams,
)
from celeriac.embedding.cpus import compute_with
from celeriac.embedding.models import EmbeddingModel
from celeriac.embedding.network import Network

TOKEN_BUDGETS = {"cpu": 1024, "cuda": 32_768}
"""Tokens in a batch where nothing was measured."""
COMPARED_BUDGETS = {
    "cpu": (512, 1024, 2048),
    "cuda": (8_192, 16_384, 32_768, 65_536, 131_072),
}
"""On the CPU a small batch stays in the caches; on CUDA a large one fills the device."""
STREAMS = 2
"""On the CPU, where nothing was measured and torch has as many threads."""
TYPICAL_LENGTH = 128
"""Tokens of the texts that speed is measured with."""


def choose_streams(
    model: EmbeddingModel,
    network: Network,
    threads: int,
    token_budget: int | None,
    calibrations: Path | None,
) -> Streams:
    """What was measured or is now; constants where that is not asked for.

    Args:
        model: with the dtype that it is computed in.
        network: its own.
        threads: that torch has here, of all streams together.
        token_budget: tokens in a batch, at most; nothing is measured then.
        calibrations: folder of what was measured; without it nothing is.
    """
    budget = TOKEN_BUDGETS[network.device.type]
    if token_budget is not None or calibrations is None:
        number = min(STREAMS, threads) if network.device.type == "cpu" else 1
        return _sharing(threads, number, token_budget or budget)
    subject = {
        "model": model.name,
        "described": model.digest,
        "threads": str(threads),
        **network.circumstances(),
    }
    length = min(TYPICAL_LENGTH, model.max_length)
    measured = remembered_streams(
        calibrations, subject, partial(_measure, network, threads, length)
    )
    # So large a model that there was no time: its products are large enough to be split well.
    return measured or _sharing(threads, 1, budget)


def _measure(network: Network, threads: int, length: int) -> Streams | None:
    kind = network.device.type
    numbers = numbers_of_streams(threads) if kind == "cpu" else [1]
    with ExitStack() as stack:
        pools: dict[int, ThreadPoolExecutor] = {}

        def compute(streams: Streams) -> list[float]:
            if streams.number not in pools:
                pools[streams.number] = stack.enter_context(_pool(streams))
            rows = max(1, streams.token_budget // length)
            probe = partial(_seconds, network, rows, length)
            running = [pools[streams.number].submit(probe) for _ in range(streams.number)]
            return [one.result() for one in running]

        return fastest_streams(
            compute,
            [_sharing(threads, number, TOKEN_BUDGETS[kind]) for number in numbers],
            COMPARED_BUDGETS[kind],
        )


def _seconds(network: Network, rows: int, length: int) -> float:
    """That a batch of so many rows takes."""
    started = time.perf_counter()
    network.compute_probe(rows, length)
    return time.perf_counter() - started


def _pool(streams: Streams) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(streams.number, initializer=partial(compute_with, streams.threads))


def _sharing(threads: int, number: int, token_budget: int) -> Streams:
    """So many streams that share so many threads."""
    return Streams(number, token_budget, max(1, threads // number))
