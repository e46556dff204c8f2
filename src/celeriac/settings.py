"""The only reader of the environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from celeriac.configuration import Configuration, load_configuration
from celeriac.configuration.problems import nearest
from celeriac.embedding.models import DTYPES
from celeriac.errors import ConfigurationError
from celeriac.logs import FORMATS

_PREFIX = "CELERIAC_"
_TEST_PREFIX = "CELERIAC_TEST_"
_HIGHEST_PORT = 65_535
_MOST_DAYS = 36_500

DEVICES = ("auto", "cpu", "cuda")

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable that celeriac reads, as its documentation shows it."""

    name: str
    meaning: str
    default: str


VARIABLES = (
    Variable("CELERIAC_HOME", "The folder of standalone's data.", "`./.celeriac`"),
    Variable("CELERIAC_CONFIG", "The configuration file, YAML.", "none: nothing is declared"),
    Variable("CELERIAC_HOST", "The address standalone's API listens on.", "`127.0.0.1`"),
    Variable("CELERIAC_PORT", "The port standalone's API listens on, 1 to 65535.", "`8080`"),
    Variable(
        "CELERIAC_REDIS_URL",
        "Redis: a URL with the scheme `redis`, `rediss` or `unix`.",
        "embedded in standalone",
    ),
    Variable(
        "CELERIAC_DATABASE_URL",
        "The catalog: a SQLAlchemy URL of SQLite or PostgreSQL, such as "
        "`postgresql+psycopg://user:password@host/database`.",
        "embedded in standalone",
    ),
    Variable(
        "CELERIAC_QDRANT_URL",
        "The Qdrant server: a URL with the scheme `http` or `https`.",
        "embedded in standalone",
    ),
    Variable("CELERIAC_QDRANT_API_KEY", "The Qdrant server's API key.", "none"),
    Variable(
        "CELERIAC_API_KEY",
        "Bootstrap key with every scope on every tenant.",
        "none; standalone makes one and prints it",
    ),
    Variable("CELERIAC_DEVICE", "What computes embeddings: `auto`, `cpu`, `cuda`.", "`auto`"),
    Variable(
        "CELERIAC_DTYPE",
        "What it computes them in: `auto`, `float32`, `bfloat16`, `int8`.",
        "`auto`",
    ),
    Variable(
        "CELERIAC_TOKEN_BUDGET",
        "Tokens in a batch of a model, at most: a number, or `auto`: measured for seconds when a "
        "model is first loaded, and kept under `CELERIAC_HOME`; on the CPU with how many batches "
        "are computed beside each other, which are two where a number is given.",
        "`auto`",
    ),
    Variable(
        "CELERIAC_JOB_RETENTION_DAYS",
        "Days after which a job that has ended is removed, a whole number; 0: never. "
        "[What stays](operating.md#what-is-kept-and-for-how-long).",
        "`90`",
    ),
    Variable(
        "CELERIAC_LOG_FORMAT",
        "How log lines are written: `text`, or `json`, an object a line.",
        "`text`",
    ),
)


@dataclass(frozen=True, slots=True)
class UnknownVariable:
    """A variable that looks like one of celeriac's and is read by nothing."""

    name: str
    nearest: str | None
    """The variable it most likely stands for."""

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.name} is set, but nothing reads it{hint}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment and the configuration file say, checked."""

    home: Path
    """Absolute."""
    host: str
    port: int
    redis_url: str | None = field(repr=False)
    database_url: str | None = field(repr=False)
    qdrant_url: str | None = field(repr=False)
    qdrant_api_key: str | None = field(repr=False)
    api_key: str | None = field(repr=False)
    device: str
    """One of DEVICES."""
    dtype: str
    """One of DTYPES."""
    token_budget: int | None
    """Tokens in a batch, at most; None: measured."""
    job_retention_days: int
    """0: ended jobs are kept for ever."""
    configuration: Configuration
    environ: Mapping[str, str] = field(repr=False)
    """The environment as it was read: models name the variables that hold their API keys."""
    unknown_variables: tuple[UnknownVariable, ...] = ()

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read `environ`, the process's own where None, and the configuration file it names.

        An empty variable counts as unset. A CELERIAC_ variable that nothing reads is logged and
        returned in `unknown_variables`.

        Raises:
            ConfigurationError: names every variable, or every line, that has to change.
        """
        environ = dict(os.environ if environ is None else environ)
        variables = _Variables(environ)
        home = variables.read("CELERIAC_HOME", Path(".celeriac"), _path)
        file = variables.read("CELERIAC_CONFIG", None, _path)
        host = variables.read("CELERIAC_HOST", "127.0.0.1", _host)
        port = variables.read("CELERIAC_PORT", 8080, _port)
        redis_url = variables.read("CELERIAC_REDIS_URL", None, _redis_url)
        database_url = variables.read("CELERIAC_DATABASE_URL", None, _database_url)
        qdrant_url = variables.read("CELERIAC_QDRANT_URL", None, _qdrant_url)
        device = variables.read("CELERIAC_DEVICE", "auto", _one_of(DEVICES))
        dtype = variables.read("CELERIAC_DTYPE", "auto", _one_of(DTYPES))
        token_budget = variables.read("CELERIAC_TOKEN_BUDGET", None, _token_budget)
        job_retention_days = variables.read("CELERIAC_JOB_RETENTION_DAYS", 90, _days)
        variables.read("CELERIAC_LOG_FORMAT", "text", _one_of(FORMATS))
        variables.check()
        configuration = load_configuration(file, environ, dtype=dtype)
        return cls(
            home=home.absolute(),
            host=host,
            port=port,
            redis_url=redis_url,
            database_url=database_url,
            qdrant_url=qdrant_url,
            qdrant_api_key=variables.read("CELERIAC_QDRANT_API_KEY", None, str),
            api_key=variables.read("CELERIAC_API_KEY", None, str),
            device=device,
            dtype=dtype,
            token_budget=token_budget,
            job_retention_days=job_retention_days,
            configuration=configuration,
            environ=environ,
            unknown_variables=_unknown_variables(environ, configuration),
        )


def log_format(environ: Mapping[str, str] | None = None) -> str:
    """How to log, asked before anything else is: what is wrong with it, `Settings.load` says."""
    variables = _Variables(os.environ if environ is None else environ)
    return variables.read("CELERIAC_LOG_FORMAT", "text", _one_of(FORMATS))


class _Variables:
    """Reads variables and keeps what is wrong with them, to tell it all at once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[str] = []

    def read(self, name: str, default: _T, parse: Callable[[str], _T]) -> _T:
        """The variable's value; `parse` raises ValueError with the words that follow its name."""
        value = self._environ.get(name, "").strip()
        if not value:
            return default
        try:
            return parse(value)
        except ValueError as error:
            self._problems.append(f"{name} {error}")
            return default

    def check(self) -> None:
        if self._problems:
            raise ConfigurationError("\n".join(self._problems))


def _path(value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"is '{value}'; there is no such home folder") from None


def _host(value: str) -> str:
    if "/" in value or any(char.isspace() for char in value):
        raise ValueError(f"is '{value}'; it must be a host name or an address, without a scheme")
    return value


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= _HIGHEST_PORT):
        raise ValueError(f"is '{value}'; it must be a whole number from 1 to {_HIGHEST_PORT}")
    return int(value)


def _token_budget(value: str) -> int | None:
    if value.lower() == "auto":
        return None
    if not (value.isascii() and value.isdigit() and int(value) >= 1):
        raise ValueError(f"is '{value}'; it must be a whole number of tokens, 1 or more, or auto")
    return int(value)


def _days(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) <= _MOST_DAYS):
        raise ValueError(f"is '{value}'; it must be a whole number of days, 0 to {_MOST_DAYS}")
    return int(value)


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in allowed:
            raise ValueError(f"is '{value}'; it must be one of {', '.join(allowed)}")
        return value.lower()

    return parse


# A URL may hold a password: it is never shown.


def _redis_url(value: str) -> str:
    if not (_is_url(value, "redis", "rediss") or value.startswith("unix:///")):
        raise ValueError("must be a URL such as redis://localhost:6379/0, rediss:// or unix:///")
    return value


def _database_url(value: str) -> str:
    scheme, separator, _ = value.partition("://")
    if scheme.partition("+")[0] not in ("sqlite", "postgresql") or not separator:
        raise ValueError(
            "must be a SQLAlchemy URL of PostgreSQL or SQLite, such as "
            "postgresql+psycopg://user:password@host/database or sqlite:////path/to/file"
        )
    return value


def _qdrant_url(value: str) -> str:
    if not _is_url(value, "http", "https"):
        raise ValueError("must be a URL such as http://localhost:6333")
    return value


def _is_url(value: str, *schemes: str) -> bool:
    try:
        url = urlsplit(value)
        return url.scheme in schemes and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """Compared without the prefix: by it alone any two would be near."""
    match = nearest(name.removeprefix(_PREFIX), [item.removeprefix(_PREFIX) for item in known])
    return match and _PREFIX + match


def _unknown_variables(
    environ: Mapping[str, str], configuration: Configuration
) -> tuple[UnknownVariable, ...]:
    known = {variable.name for variable in VARIABLES}
    read = known | configuration.variables
    read.update(model.api_key_variable for model in configuration.models.values())
    unknown = tuple(
        UnknownVariable(name, _nearest(name, known))
        for name in sorted(environ)
        if name.startswith(_PREFIX) and not name.startswith(_TEST_PREFIX)
        if environ[name] and name not in read
    )
    for variable in unknown:
        _log.warning("%s", variable, extra={"action": "unknown_variable"})
    return unknown
