"""The CACM collection, as the tests hold it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Cacm:
    """The CACM collection; see its README."""

    folder: Path
    documents: list[JsonObject]
    """With id, title, abstract, authors, published, keywords."""
    queries: dict[str, str]
    """Text by query id."""
    relevant: dict[str, set[str]]
    """Ids of the relevant documents by query id; judged queries only."""


def read_cacm(folder: Path) -> Cacm:
    """Read the collection from its files."""
    documents = _read_jsonl(folder / "documents.jsonl")
    queries = _read_jsonl(folder / "queries.jsonl")
    relevant: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
        query, document, _ = line.split("\t")
        relevant.setdefault(query, set()).add(document)
    return Cacm(folder, documents, {query["id"]: query["text"] for query in queries}, relevant)


def ndcg_at_10(ranked: Sequence[str], relevant: set[str]) -> float:
    """Binary relevance; Järvelin and Kekäläinen, 2002."""
    gain = sum(1 / math.log2(rank + 2) for rank, one in enumerate(ranked[:10]) if one in relevant)
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(len(relevant), 10)))
    return gain / ideal


def _read_jsonl(path: Path) -> list[JsonObject]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
