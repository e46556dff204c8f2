"""celeriac as `make up` runs it, on a Qdrant server: API, worker and beat in this process, SQLite,
a private Redis beside it. A run is a POST to the API and ends when the job does.

Everything but the chunk size is a default.

Options: `dtype`, as CELERIAC_DTYPE; `profile`, to time each run's stages, which costs a little.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import wire
import yaml

import celeriac
from api import standalone
from benchmarks._stopwatch import Stopwatch, stages
from celeriac.catalog.indexes import index_id_of
from celeriac.chunking import Chunker
from celeriac.embedding.registry import BUILTIN
from celeriac.embedding.torch_engine import TorchEmbedder
from celeriac.remote import Remote
from celeriac.settings import Settings
from celeriac.store.writers import ServerWriter
from workers.process import runtime

TENANT, NAME = "acme", "article"
KEY = "celeriac_benchmark_key"
POLL = 0.1
"""Seconds until the first look at a job, the next ones come ever later; when it ended is read from
the catalog."""
LONGEST_POLL = 2.0
QUEUED = 3.0
"""Seconds after which a job that has not begun waits for another one."""


def main() -> int:
    line = wire.Wire()
    orders = line.orders()
    setup = wire.Setup(**next(orders)["setup"])
    prepare(setup)
    count_into(line.gauge)
    watch = stopwatch(setup)

    def speak() -> None:
        try:
            with api() as remote:
                warm_up(setup, line.gauge)
                line.say("opened", **about())
                for order in orders:  # a service takes the next request while it works
                    threading.Thread(
                        target=run, args=(order, line, remote, watch), daemon=True
                    ).start()
        finally:  # also where it fails: the log says why, and nobody waits for it
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=speak, daemon=True).start()
    logging.basicConfig(level=logging.WARNING)
    with ExitStack() as stack:
        standalone.serve(Settings.load(), stack)
    return 0


def run(order: wire.Json, line: wire.Wire, remote: Remote, watch: Stopwatch) -> None:
    watch.take()

    def work() -> wire.Json:
        told = index(order, line, remote)
        spent = {stage: [one.clock, one.cpu] for stage, one in watch.take().items()}
        return {**told, "profile": spent}

    line.run(order, work)


def stopwatch(setup: wire.Setup) -> Stopwatch:
    """Of the stages that each run is to be split into; of none where no profile is asked for.

    `embed` is what the threads of pages wait for; the network computes one batch after the other.
    """
    if not setup.options.get("profile"):
        return Stopwatch({})
    network = {"embed": [(TorchEmbedder, "embed")], "network": [(TorchEmbedder, "_forward")]}
    watch = Stopwatch(stages(network))
    watch.watch()
    return watch


def index(order: wire.Json, line: wire.Wire, remote: Remote) -> wire.Json:
    asked = time.time()
    job = remote.job(remote.reindex(TENANT, NAME))
    said = False
    while job["state"] in ("queued", "running"):
        if job["state"] == "queued" and not said and time.time() - asked > QUEUED:
            line.say("queued", run=order["run"])
            said = True
        time.sleep(min(LONGEST_POLL, max(POLL, (time.time() - asked) / 5)))
        job = remote.job(job["id"])
    row = runtime().catalog.jobs.get(job["id"])
    return {
        "seconds": (row.finished_at or 0) - asked if row else None,
        "ok": job["state"] == "succeeded",
        "message": job["message"],
        "counters": job["counters"],
        "served": served(),
    }


def served() -> dict[str, str] | None:
    """Where searches read; nowhere before the first job succeeded."""
    live = runtime().catalog.indexes.live(index_id_of(TENANT, NAME))
    if live is None:
        return None
    return {"collection": live.collection, "partition": live.partition.key}


def prepare(setup: wire.Setup) -> None:
    """The configuration file and the environment, as a user would write them."""
    state = Path(setup.state)
    state.mkdir(parents=True, exist_ok=True)
    configuration = state / "celeriac.yaml"
    configuration.write_text(yaml.safe_dump(declaration(setup)), encoding="utf-8")
    os.environ |= {
        "CELERIAC_HOME": str(state / "home"),
        "CELERIAC_CONFIG": str(configuration),
        "CELERIAC_QDRANT_URL": f"{setup.qdrant_url}?grpc_port={setup.grpc_port}",
        "CELERIAC_PORT": str(free_port()),
        "CELERIAC_API_KEY": KEY,
        "CELERIAC_DEVICE": "cpu",
        "CELERIAC_DTYPE": str(setup.options.get("dtype", "auto")),
    }


def declaration(setup: wire.Setup) -> Mapping[str, Any]:
    entity_type = {
        "source": {"kind": "rest" if "url" in setup.source else "files", "id": "id"}
        | dict(setup.source),
        "text_fields": ["title", "abstract"],
        "index": {
            "model": setup.model_name,
            "text_splitting": "TOKEN",
            "chunk_size": wire.CHUNK_SIZE,
            "chunk_overlap": wire.CHUNK_OVERLAP,
        },
    }
    model = {"location": setup.model, "dimension": setup.dimension, "max_length": 256}
    models = {} if setup.model_name in BUILTIN else {setup.model_name: model}
    return {"models": models, "tenants": {TENANT: {"entity_types": {NAME: entity_type}}}}


def count_into(gauge: wire.Gauge) -> None:
    """Count what goes through the network and onto the server; each hook counts after the call."""
    forward, write = TorchEmbedder._forward, ServerWriter.write

    def counted_forward(self: TorchEmbedder, batch: Any) -> Any:
        vectors = forward(self, batch)
        gauge.embedded(b" ".join(str(one).encode() for one in ids) for ids in batch)
        return vectors

    def counted_write(self: ServerWriter, partition: Any, points: Any) -> None:
        write(self, partition, points)
        gauge.add("written", len(points))

    TorchEmbedder._forward = counted_forward  # type: ignore[method-assign]
    ServerWriter.write = counted_write  # type: ignore[method-assign]


@contextmanager
def api() -> Iterator[Remote]:
    """A client, once the API is ready; how long that may take is for the benchmark to say."""
    url = f"http://127.0.0.1:{os.environ['CELERIAC_PORT']}"
    with httpx.Client(base_url=url) as client:
        while not ready(client):
            time.sleep(POLL)
    with Remote(url, KEY) as remote:
        yield remote


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def warm_up(setup: wire.Setup, gauge: wire.Gauge) -> None:
    """What a process loads once: the model, which has embedded one text, and the tokenizers. That
    text, which no other process embeds, is not counted; what a job that goes on embeds, is."""
    splitting = runtime().entity_type(TENANT, NAME).spec.splitting
    Chunker(splitting, runtime().counter(setup.model_name)).split("ready " * 200)
    runtime().embedder(setup.model_name).embed([f"ready {os.getpid()}"])
    gauge.add("embedded", -1)


def about() -> wire.Json:
    import torch

    return {"versions": {"celeriac": celeriac.__version__}, "threads": torch.get_num_threads()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
