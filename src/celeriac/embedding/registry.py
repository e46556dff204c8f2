"""Embedding models by name, and from their description to something that computes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from celeriac.embedding.base import Embedder, TokenCounter
from celeriac.embedding.files import find_folder
from celeriac.embedding.models import BUILTIN, DEFAULT_MODEL, EmbeddingModel, Engine
from celeriac.embedding.schema import ModelSchema
from celeriac.embedding.stub import StubCounter, StubEmbedder
from celeriac.embedding.tokenization import ModelTokenizer
from celeriac.errors import ModelError

__all__ = ["BUILTIN", "DEFAULT_MODEL", "ModelSchema", "counter", "find", "load"]

_NONE: Mapping[str, EmbeddingModel] = MappingProxyType({})


def find(name: str, configured: Mapping[str, EmbeddingModel] = _NONE) -> EmbeddingModel:
    """The model of this name; a configured one goes before a built-in one.

    Raises:
        ModelError: there is none; names the nearest.
    """
    model = configured.get(name) or BUILTIN.get(name)
    if model is None:
        known = sorted({*configured, *BUILTIN})
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise ModelError(f"there is no embedding model {name!r}; {hint}")
    return model


def load(
    model: EmbeddingModel,
    *,
    device: str,
    dtype: str,
    environ: Mapping[str, str],
    token_budget: int | None = None,
    calibrations: Path | None = None,
) -> Embedder:
    """Make a model ready to compute.

    Args:
        model: from `find`.
        device: auto, cpu or cuda; for models computed here.
        dtype: auto (float32 on the CPU, bfloat16 on CUDA), float32, bfloat16 or int8; likewise,
            unless the model has one of its own.
        environ: where an endpoint's key is read from.
        token_budget: tokens in a batch, at most, of models computed here.
        calibrations: where it is measured without `token_budget`, and kept in this folder; None
            takes a constant.

    Raises:
        ConfigurationError: device or dtype is unknown or not to be had here.
        ModelError: the model's files, its key or a package it needs are missing or unusable.
    """
    match model.engine:
        case Engine.TORCH:
            from celeriac.embedding.torch_loading import load_embedder

            return load_embedder(
                model,
                device=device,
                dtype=dtype,
                token_budget=token_budget,
                calibrations=calibrations,
            )
        case Engine.GEMINI:
            from celeriac.embedding.gemini import GeminiEmbedder

            return GeminiEmbedder(model, environ)
        case Engine.STUB:
            return StubEmbedder(model)


def counter(model: EmbeddingModel, environ: Mapping[str, str]) -> TokenCounter:
    """A model's own token counter, without the model: no torch, no weights.

    Raises:
        ModelError: as for `load`.
    """
    match model.engine:
        case Engine.TORCH:
            return ModelTokenizer(model, find_folder(model, weights=False))
        case Engine.GEMINI:
            from celeriac.embedding.gemini import GeminiCounter

            return GeminiCounter.open(model, environ)
        case Engine.STUB:
            return StubCounter(model)
