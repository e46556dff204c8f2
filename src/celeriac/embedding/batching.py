"""What a batch needs beside the network: halving, finding duplicates, checking vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from celeriac.embedding.base import Vectors
from celeriac.errors import ModelError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """What the model computed at once."""

    texts: int
    tokens: int
    """Without padding."""
    padding: int
    seconds: float


def ignore(batch: Batch) -> None:
    """Whom nobody listens to."""


def compute_halving(
    rows: Sequence[int],
    compute: Callable[[Sequence[int]], Vectors],
    is_out_of_memory: Callable[[Exception], bool],
) -> Iterator[tuple[Sequence[int], Vectors]]:
    """Compute a batch; one that does not fit in memory is halved, down to single rows.

    Yields:
        Row numbers and their vectors, shape (len(rows), dimension); each row once.

    Raises:
        ModelError: a single row does not fit; names the row.
    """
    waiting = [rows]
    while waiting:
        part = waiting.pop()
        try:
            vectors = compute(part)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise ModelError(
                    f"text {part[0]} does not fit in memory even alone; "
                    "use a device with more memory, or cut the text into shorter chunks"
                ) from error
            _log.warning(
                "%d texts do not fit in memory together; computing half of them at a time",
                len(part),
                extra={"action": "halve_batch"},
            )
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]
        else:
            yield part, vectors


def first_occurrences(texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """Find identical texts.

    Returns:
        The position of each distinct text's first occurrence, ascending; and for each text, the
        position of its first occurrence.
    """
    first: dict[str, int] = {}
    source = [first.setdefault(text, position) for position, text in enumerate(texts)]
    return list(first.values()), source


def checked(vectors: Vectors, model_name: str) -> Vectors:
    """Pass vectors on; a vector that is not finite must never reach an index.

    Raises:
        ModelError: names the first text whose vector holds NaN or infinity.
    """
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise ModelError(
            f"{model_name} gave a vector that is not finite for text {bad[0]}; "
            "the model's files are damaged, or its dtype cannot hold its values (try float32)"
        )
    return vectors
