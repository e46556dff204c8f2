"""The environment becomes settings, or an error that names every variable to change."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest

from celeriac.embedding.registry import BUILTIN
from celeriac.errors import ConfigurationError
from celeriac.settings import VARIABLES, Settings, log_format

SECRET = "hunter2hunter2"

CONFIGURATION = """
tenants:
  acme:
    entity_types:
      article:
        source: {kind: files, path: data/*.jsonl, id: "${CELERIAC_SHOP_ID:-id}"}
        text_fields: [title]
models:
  remote:
    engine: gemini
    dimension: 768
    max_length: 2048
    api_key_variable: CELERIAC_GEMINI_KEY
"""


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.load({})

    assert settings.home == Path.cwd() / ".celeriac"
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.redis_url is None
    assert settings.database_url is None
    assert settings.qdrant_url is None
    assert settings.qdrant_api_key is None
    assert settings.api_key is None
    assert (settings.device, settings.dtype) == ("auto", "auto")
    assert settings.token_budget is None
    assert settings.job_retention_days == 90
    assert settings.configuration.tenants == {}
    assert settings.configuration.models == BUILTIN
    assert settings.configuration.path is None
    assert settings.unknown_variables == ()


def test_every_variable_is_read(tmp_path: Path) -> None:
    file = tmp_path / "celeriac.yaml"
    file.write_text(CONFIGURATION)
    environ = {
        "CELERIAC_HOME": str(tmp_path / "home"),
        "CELERIAC_CONFIG": str(file),
        "CELERIAC_HOST": "::1",
        "CELERIAC_PORT": " 9000 ",
        "CELERIAC_REDIS_URL": "rediss://user:pass@redis:6380/1",
        "CELERIAC_DATABASE_URL": "postgresql+psycopg://user:pass@db/celeriac",
        "CELERIAC_QDRANT_URL": "https://qdrant:6333",
        "CELERIAC_QDRANT_API_KEY": SECRET,
        "CELERIAC_API_KEY": "cel_" + SECRET + "\n",
        "CELERIAC_DEVICE": "CUDA",
        "CELERIAC_DTYPE": "bfloat16",
        "CELERIAC_TOKEN_BUDGET": "2048",
        "CELERIAC_JOB_RETENTION_DAYS": "0",
        "CELERIAC_LOG_FORMAT": "JSON",
    }
    assert environ.keys() == {variable.name for variable in VARIABLES}

    settings = Settings.load(environ)

    assert settings.home == tmp_path / "home"
    assert (settings.host, settings.port) == ("::1", 9000)
    assert settings.redis_url == environ["CELERIAC_REDIS_URL"]
    assert settings.database_url == environ["CELERIAC_DATABASE_URL"]
    assert settings.qdrant_url == environ["CELERIAC_QDRANT_URL"]
    assert settings.qdrant_api_key == SECRET
    assert settings.api_key == "cel_" + SECRET
    assert (settings.device, settings.dtype) == ("cuda", "bfloat16")
    assert settings.token_budget == 2048
    assert settings.job_retention_days == 0
    assert log_format(environ) == "json"
    assert settings.configuration.path == file
    assert settings.configuration.entity_type("acme", "article").name == "article"
    assert settings.environ == environ


def test_the_process_environment_is_read_without_an_argument(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CELERIAC_PORT", "9001")
    monkeypatch.delenv("CELERIAC_CONFIG", raising=False)

    assert Settings.load().port == 9001


def test_an_empty_variable_counts_as_unset() -> None:
    environ = {variable.name: " " for variable in VARIABLES} | {"CELERIAC_TYPO": ""}

    assert Settings.load(environ).port == 8080
    assert Settings.load(environ).unknown_variables == ()


def test_vectors_of_another_dtype_are_another_models() -> None:
    digests = [
        Settings.load({"CELERIAC_DTYPE": dtype}).configuration.models["all-minilm-l6-v2"].digest
        for dtype in ("auto", "float32", "bfloat16", "int8")
    ]

    assert len(set(digests)) == 4


@pytest.mark.parametrize("url", ["redis://localhost", "redis://:p@[::1]:6379/0", "unix:///r.sock"])
def test_urls_of_redis(url: str) -> None:
    assert Settings.load({"CELERIAC_REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize("url", ["sqlite:////data/c.db", "postgresql://db/x", "sqlite://"])
def test_urls_of_the_catalog(url: str) -> None:
    assert Settings.load({"CELERIAC_DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("CELERIAC_PORT", "abc", "is 'abc'; it must be a whole number from 1 to 65535"),
        ("CELERIAC_PORT", "0", "is '0'; it must be a whole number from 1 to 65535"),
        ("CELERIAC_PORT", "65536", "is '65536'; it must be a whole number from 1 to 65535"),
        ("CELERIAC_PORT", "²", "is '²'; it must be a whole number from 1 to 65535"),
        ("CELERIAC_HOME", "~no-such-user/x", "is '~no-such-user/x'; there is no such home folder"),
        ("CELERIAC_DEVICE", "gpu", "is 'gpu'; it must be one of auto, cpu, cuda"),
        (
            "CELERIAC_DTYPE",
            "float16",
            "is 'float16'; it must be one of auto, float32, bfloat16, int8",
        ),
        (
            "CELERIAC_TOKEN_BUDGET",
            "0",
            "is '0'; it must be a whole number of tokens, 1 or more, or auto",
        ),
        (
            "CELERIAC_HOST",
            "http://localhost",
            "is 'http://localhost'; it must be a host name or an address, without a scheme",
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_shown_with_what_is(
    name: str, value: str, complaint: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({name: value})

    assert str(caught.value) == f"{name} {complaint}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CELERIAC_REDIS_URL", f"http://:{SECRET}@redis"),
        ("CELERIAC_REDIS_URL", f"redis://:{SECRET}@"),
        ("CELERIAC_REDIS_URL", f"redis://:{SECRET}@redis:port"),
        ("CELERIAC_DATABASE_URL", f"postgres://u:{SECRET}@db/x"),
        ("CELERIAC_DATABASE_URL", f"/{SECRET}.db"),
        ("CELERIAC_QDRANT_URL", f"qdrant:6333/{SECRET}"),
        ("CELERIAC_QDRANT_URL", f"http://[{SECRET}"),
    ],
)
def test_a_url_that_is_not_allowed_is_never_shown(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name} must be a .*URL") as caught:
        Settings.load({name: value})

    assert SECRET not in str(caught.value)


def test_all_wrong_variables_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({"CELERIAC_PORT": "x", "CELERIAC_DEVICE": "tpu", "CELERIAC_HOST": "a b"})

    names = [line.split()[0] for line in str(caught.value).splitlines()]
    assert names == ["CELERIAC_HOST", "CELERIAC_PORT", "CELERIAC_DEVICE"]


def test_a_variable_that_nothing_reads_is_logged_with_the_nearest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environ = {
        "CELERIAC_REDIS_URI": f"redis://:{SECRET}@redis",
        "CELERIAC_XYZ": "1",
        "CELERIAC_TEST_QDRANT": "1",
        "OTHER": "1",
    }

    with caplog.at_level(logging.WARNING, "celeriac.settings"):
        settings = Settings.load(environ)

    assert [str(variable) for variable in settings.unknown_variables] == [
        "CELERIAC_REDIS_URI is set, but nothing reads it; did you mean CELERIAC_REDIS_URL?",
        "CELERIAC_XYZ is set, but nothing reads it",
    ]
    assert [record.getMessage() for record in caplog.records] == [
        str(variable) for variable in settings.unknown_variables
    ]


def test_variables_that_the_configuration_names_are_known(tmp_path: Path) -> None:
    file = tmp_path / "celeriac.yaml"
    file.write_text(CONFIGURATION)
    environ = {
        "CELERIAC_CONFIG": str(file),
        "CELERIAC_SHOP_ID": "code",
        "CELERIAC_GEMINI_KEY": SECRET,
    }

    settings = Settings.load(environ)

    assert settings.unknown_variables == ()
    assert settings.configuration.variables == {"CELERIAC_SHOP_ID"}
    assert settings.configuration.entity_type("acme", "article").source["id"] == "code"


def test_a_missing_configuration_file_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"nowhere\.yaml: cannot be read .*CELERIAC_CONFIG"
    ):
        Settings.load({"CELERIAC_CONFIG": str(tmp_path / "nowhere.yaml")})


def test_secrets_are_not_in_the_representation(tmp_path: Path) -> None:
    file = tmp_path / "celeriac.yaml"
    file.write_text(CONFIGURATION)
    environ = {
        "CELERIAC_CONFIG": str(file),
        "CELERIAC_REDIS_URL": f"redis://:{SECRET}@redis",
        "CELERIAC_DATABASE_URL": f"postgresql://u:{SECRET}@db/x",
        "CELERIAC_QDRANT_URL": f"https://u:{SECRET}@qdrant",
        "CELERIAC_QDRANT_API_KEY": SECRET,
        "CELERIAC_API_KEY": SECRET,
        "CELERIAC_SHOP_ID": SECRET,
    }

    assert SECRET not in repr(Settings.load(environ))


def test_settings_can_be_sent_to_a_spawned_process(tmp_path: Path) -> None:
    file = tmp_path / "celeriac.yaml"
    file.write_text(CONFIGURATION)
    settings = Settings.load({"CELERIAC_CONFIG": str(file)})

    assert pickle.loads(pickle.dumps(settings)) == settings
