"""Models that run out of memory, or break on one text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .failpoints import Failpoints


def misbehave(failpoints: Failpoints) -> None:
    """Have the network fail while a switch is on.

    `memory`: a batch of more rows than its value does not fit. `breaks`: a row of so many tokens
    ends in the error that torch raises for an id beyond its table.
    """
    from celeriac.embedding.torch_engine import TorchEmbedder

    forward = TorchEmbedder._forward

    def fail_or_forward(embedder: TorchEmbedder, batch: Sequence[Any]) -> Any:
        rows = failpoints.value("memory")
        if rows is not None and len(batch) > int(rows):
            import torch

            failpoints.reach("memory")
            raise torch.OutOfMemoryError("CUDA out of memory. (injected)")
        length = failpoints.value("breaks")
        if length is not None and any(len(ids) == int(length) for ids in batch):
            raise IndexError("index out of range in self")
        return forward(embedder, batch)

    TorchEmbedder._forward = fail_or_forward  # type: ignore[method-assign]
