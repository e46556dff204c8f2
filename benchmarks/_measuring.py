"""What benchmarks of the engine share: turns, matrix ceilings, hardware, results."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from celeriac.embedding.cpus import available_cpus, processor

RESULTS = Path(__file__).parent / "results"

Work = Callable[[], object]


CLOCKS = {"clock": time.perf_counter, "processor": time.process_time}


def taking_turns(works: Mapping[str, Work], rounds: int, by: str = "clock") -> dict[str, float]:
    """The median seconds of each; they take turns, A B A B, after one round that does not count.

    `by` is one of CLOCKS: the processor's time counts what all threads spend, waiting included.
    """
    now = CLOCKS[by]
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = now()
            work()
            if number:
                taken[name].append(now() - started)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


@dataclass(frozen=True)
class Products:
    """The matrix products of a transformer's linear layers, and what its attention adds."""

    shapes: Mapping[tuple[int, int], int]
    """How many layers there are that lead from so many numbers to so many."""
    width: int
    """Numbers that all heads of a layer compare for a pair of tokens."""
    layers: int

    @classmethod
    def of(cls, module: nn.Module) -> Products:
        config = module.config
        shapes = Counter(
            (layer.in_features, layer.out_features)
            for name, layer in module.named_modules()
            if isinstance(layer, nn.Linear) and not name.startswith("pooler")
        )
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(shapes, size * config.num_attention_heads, config.num_hidden_layers)

    def flop(self, tokens: int, length: float = 0) -> float:
        """Of the linear layers, and of attention in rows of `length` where it is given."""
        linear = 2 * sum(number * reads * gives for (reads, gives), number in self.shapes.items())
        return tokens * (linear + 4 * self.width * self.layers * length)

    def works(self, tokens: int, device: torch.device, dtype: torch.dtype) -> dict[str, Work]:
        """All products of linear layers for so many tokens, by each way that torch has here."""
        works: dict[str, Work] = {}
        for name, order in _orders(device).items():
            works[name] = self._work(tokens, device, dtype, order)
        return works

    def _work(
        self,
        tokens: int,
        device: torch.device,
        dtype: torch.dtype,
        order: Callable[[torch.Tensor], Callable[[torch.Tensor], object]],
    ) -> Work:
        products = []
        for (reads, gives), number in self.shapes.items():
            states = torch.randn(tokens, reads, device=device, dtype=dtype)
            weight = torch.randn(gives, reads, device=device, dtype=dtype)
            products.append((order(weight), states, number))

        def compute() -> None:
            with torch.inference_mode():
                for multiply, states, number in products:
                    for _ in range(number):
                        multiply(states)
                wait_for(device)

        return compute


def _orders(device: torch.device) -> dict[str, Callable[[torch.Tensor], Any]]:
    """How a weight becomes something that multiplies."""
    orders: dict[str, Callable[[torch.Tensor], Any]] = {
        "torch.mm": lambda weight: lambda states: torch.mm(states, weight.t())
    }
    if device.type == "cpu":
        orders["oneDNN, prepacked"] = _prepacked
    return orders


def _prepacked(weight: torch.Tensor) -> Callable[[torch.Tensor], object]:
    ordered = torch.ops.mkldnn._reorder_linear_weight(weight, 1024)
    return lambda states: torch.ops.mkldnn._linear_pointwise(states, ordered, None, "none", [], "")


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def hardware(device: torch.device) -> dict[str, object]:
    """What figures of this machine mean nothing without."""
    on_gpu = device.type == "cuda"
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor(),
        "cpus": available_cpus(),
        "load": os.getloadavg()[0],
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def keep(name: str, found: Mapping[str, object], folder: Path = RESULTS) -> Path:
    """Write results beside those of other days."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{found['date']}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they have to be; the first to the left, all others to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
