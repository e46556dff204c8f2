"""Models that run out of memory, or break on one text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .failpoints import Failpoints

POISON = "xyzzyxyzzy"
"""A text with this word breaks the model."""
BEYOND = 1_000_000
"""A token's number that no model has."""


def run_out_of_memory(failpoints: Failpoints) -> None:
    """Have a batch of more rows than the value of the switch `memory` not fit, as CUDA, Python and
    torch on a CPU say it in turn."""
    from celeriac.embedding.torch_engine import TorchEmbedder

    forward = TorchEmbedder._forward
    times = 0

    def fail_or_forward(embedder: TorchEmbedder, batch: Sequence[Any]) -> Any:
        nonlocal times
        rows = failpoints.value("memory")
        if rows is not None and len(batch) > int(rows):
            failpoints.reach("memory")
            times += 1
            raise _out_of_memory(times)
        return forward(embedder, batch)

    TorchEmbedder._forward = fail_or_forward  # type: ignore[method-assign]


def _out_of_memory(times: int) -> Exception:
    import torch

    errors = (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
        ),
    )
    return errors[times % len(errors)]


def break_on_poison() -> None:
    """Have texts with POISON hold a token beyond the model's table: the network fails on it."""
    from celeriac.embedding.tokenization import ModelTokenizer

    encode = ModelTokenizer.encode

    def poisoned(tokenizer: ModelTokenizer, texts: Sequence[str], prefix: str) -> list[Any]:
        encoded = encode(tokenizer, texts, prefix)
        return [
            [*ids, BEYOND] if POISON in text else ids
            for text, ids in zip(texts, encoded, strict=True)
        ]

    ModelTokenizer.encode = poisoned  # type: ignore[method-assign]
