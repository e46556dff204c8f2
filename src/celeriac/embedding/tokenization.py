"""Texts to token ids with a model's own tokenizer; loads without torch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeriac.embedding.models import EmbeddingModel
from celeriac.embedding.run_counts import RunCounts, adds_up
from celeriac.embedding.word_counts import WordCounts, is_additive
from celeriac.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TokenIds = list[int]


class ModelTokenizer:
    """The tokenizer in a model's folder; never truncates, never pads. Safe in several threads."""

    def __init__(self, model: EmbeddingModel, folder: Path) -> None:
        """Load `tokenizer.json`.

        Raises:
            ModelError: it is missing or unreadable, or its end token contradicts the description.
        """
        self.max_length = model.max_length
        self._model = model
        self._tokenizer = _load(model, folder)
        self._suffix = _end_tokens(model, folder, self._tokenizer)
        self._words = WordCounts(self._tokenizer) if is_additive(self._tokenizer) else None
        self._adds_up = adds_up(self._tokenizer, model.passage_prefix)
        self._runs: dict[str, RunCounts] = {}
        self._lock = threading.Lock()

    def count(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in model tokens, passage prefix and special tokens included."""
        prefixed = [self._model.passage_prefix + text for text in texts]
        with self._readable(texts):
            if self._words is not None:
                counts = self._words.count(prefixed)
            else:
                counts = [len(one) for one in self._tokenizer.encode_batch_fast(prefixed)]
        return [count + len(self._suffix) for count in counts]

    def run_counts(self, encoding: str) -> RunCounts | None:
        """What counts from the tokens of a tiktoken encoding; None where counts do not add up."""
        if self._words is None or not self._adds_up:
            return None
        with self._lock:
            if encoding not in self._runs:
                self._runs[encoding] = RunCounts(self._tokenizer, self._words, encoding)
            return self._runs[encoding]

    def encode(self, texts: Sequence[str], prefix: str) -> list[TokenIds]:
        """Token ids of `prefix` + text, special tokens included, for each text.

        Raises:
            ModelError: a text is not valid Unicode (a lone surrogate); names its position.
        """
        with self._readable(texts):
            encodings = self._tokenizer.encode_batch_fast([prefix + text for text in texts])
        return [encoding.ids + self._suffix for encoding in encodings]

    @contextmanager
    def _readable(self, texts: Sequence[str]) -> Iterator[None]:
        try:
            yield
        except TypeError as error:
            require_unicode(texts)
            raise ModelError(f"{self._model.name}: a text is not a string") from error


def require_readable(model: EmbeddingModel, lengths: Mapping[int, int]) -> None:
    """Check that the model can read each text whole.

    Args:
        model: with its `max_length`.
        lengths: tokens of each text, by the text's position.

    Raises:
        ModelError: names the first text that is empty or too long, and its length.
    """
    for position, length in lengths.items():
        if length == 0:
            raise ModelError(f"text {position} has no tokens; leave empty texts out")
        if length > model.max_length:
            raise ModelError(
                f"text {position} is {length} tokens long, but {model.name} reads at most "
                f"{model.max_length} (prefix and special tokens included); cut it into smaller "
                "chunks"
            )


def require_unicode(texts: Sequence[str]) -> None:
    """Check that each text can be encoded.

    Raises:
        ModelError: names the first text that holds a lone surrogate, and where.
    """
    for position, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ModelError(
                f"text {position} is not valid Unicode: a lone surrogate at character "
                f"{error.start}; clean it in the source"
            ) from error


def _load(model: EmbeddingModel, folder: Path) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ModelError(
            f"{model.name} needs the package tokenizers; run pip install 'celeriac[torch]'"
        ) from error
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            f"{model.name}: there is no {path}; make one with transformers: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelError(f"{model.name}: {path} cannot be read ({error})") from error
    # The file may carry the settings of its last use; all-MiniLM-L6-v2 cuts at 128.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _end_tokens(model: EmbeddingModel, folder: Path, tokenizer: Tokenizer) -> TokenIds:
    """The end token where the model needs it and `tokenizer.json` does not add it.

    transformers 4 followed `add_eos_token` of `tokenizer_config.json`, transformers 5 follows
    `tokenizer.json`; where the two differ, the description must decide, as vectors do.
    """
    settings = _read_settings(folder)
    if not model.append_eos and not settings.get("add_eos_token"):
        return []
    token = settings.get("eos_token")
    token = token.get("content") if isinstance(token, dict) else token
    end = None if token is None else tokenizer.token_to_id(token)
    if end is None:
        raise ModelError(f"{model.name}: {folder} names no end token (eos_token) of its vocabulary")
    ids = tokenizer.encode("").ids
    if ids and ids[-1] == end:
        return []
    if not model.append_eos:
        raise ModelError(
            f"{model.name}: tokenizer_config.json asks for the end token {token!r} "
            "(add_eos_token), tokenizer.json does not add it; set append_eos: true"
        )
    return [end]


def _read_settings(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file():
            settings |= json.loads(path.read_text("utf-8"))
    return settings
