"""What each dtype costs in retrieval: nDCG@10 on the CACM collection, without a store.

    PYTHONPATH=src:tests python benchmarks/quality.py [--dtypes float32,bfloat16,int8]

Chunks and ranking are those of tests/acceptance/test_cacm.py: a document ranks by its best chunk.
Vectors of all chunks are compared with each query's, exactly.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from collection import Cacm, ndcg_at_10, read_cacm

from celeriac.chunking import Chunker
from celeriac.embedding import registry
from celeriac.model import Splitting, SplittingMethod

CACM = Path(__file__).parents[1] / "tests" / "data" / "cacm"
MODEL = registry.BUILTIN[registry.DEFAULT_MODEL]
SPLITTING = Splitting(SplittingMethod.SENTENCE, 256, 32, "cl100k_base")


def ndcg(cacm: Cacm, dtype: str) -> float:
    """nDCG@10, the mean over the judged queries."""
    embedder = registry.load(MODEL, device="cpu", dtype=dtype, environ={})
    texts = [f"{one['title']}\n{one['abstract']}".strip() for one in cacm.documents]
    splits = Chunker(SPLITTING, embedder.counter).split_many(texts)
    vectors = embedder.embed([chunk.text for split in splits for chunk in split.chunks])
    owners = np.repeat(
        [one["id"] for one in cacm.documents], [len(split.chunks) for split in splits]
    )
    scores = []
    for query, relevant in cacm.relevant.items():
        nearness = vectors @ embedder.embed_query(cacm.queries[query])
        ranked = list(dict.fromkeys(owners[np.argsort(-nearness, kind="stable")].tolist()))
        scores.append(ndcg_at_10(ranked, relevant))
    embedder.close()
    return sum(scores) / len(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dtypes", default="float32,bfloat16,int8")
    cacm = read_cacm(CACM)
    for dtype in parser.parse_args().dtypes.split(","):
        print(f"{dtype:10}{ndcg(cacm, dtype):.4f}", flush=True)


if __name__ == "__main__":
    main()
