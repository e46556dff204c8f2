from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from marshmallow import ValidationError

from celeriac.embedding import registry
from celeriac.embedding.models import EmbeddingModel, Engine, Pooling
from celeriac.errors import ModelError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GEMINI = registry.BUILTIN["gemini-embedding-001"]
MINILM = registry.BUILTIN["all-minilm-l6-v2"]


def test_the_default_model_is_built_in() -> None:
    assert registry.find(registry.DEFAULT_MODEL) is MINILM


def test_names_are_keys_and_digests_differ() -> None:
    assert all(name == model.name for name, model in registry.BUILTIN.items())
    assert len({model.digest for model in registry.BUILTIN.values()}) == len(registry.BUILTIN)


@pytest.mark.parametrize("model", registry.BUILTIN.values(), ids=registry.BUILTIN)
def test_every_built_in_model_is_pinned(model: EmbeddingModel) -> None:
    assert model.revision


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(EmbeddingModel)])
def test_every_field_is_part_of_the_digest(field: str) -> None:
    changes: dict[str, Any] = {
        "engine": Engine.STUB,
        "location": "./elsewhere",
        "pooling": Pooling.CLS,
        "append_eos": True,
        "normalize": False,
        "dtype": "int8",
        "dimension": 7,
        "max_length": 7,
    }

    changed = dataclasses.replace(MINILM, **{field: changes.get(field, "other")})

    assert changed.digest != MINILM.digest


@pytest.mark.parametrize(
    ("model", "changes", "complaint"),
    [
        (MINILM, {"name": ""}, "needs a name"),
        (MINILM, {"dimension": 0}, "dimension is 0"),
        (MINILM, {"max_length": -1}, "max_length is -1"),
        (MINILM, {"pooling": "median"}, "pooling is 'median'"),
        (MINILM, {"engine": "abacus"}, "engine is 'abacus'"),
        (MINILM, {"location": "package:a/../../etc"}, "leaves its package"),
        (MINILM, {"revision": ""}, "version of the package"),
        (MINILM, {"location": "owner/name", "revision": "main"}, "full commit"),
        (MINILM, {"location": "owner/name", "revision": COMMIT[:12]}, "full commit"),
        (MINILM, {"location": "folder"}, "it must be"),
        (MINILM, {"location": ""}, "it must be"),
        (GEMINI, {"location": "http://example.com/v1beta"}, "https or loopback"),
        (GEMINI, {"location": "ftp://127.0.0.1/"}, "https or loopback"),
        (GEMINI, {"location": "https://user:word@example.com/"}, "plain URL"),
        (GEMINI, {"location": "https://example.com/?key=1"}, "plain URL"),
        (GEMINI, {"location": "https:///v1beta"}, "plain URL"),
        (GEMINI, {"remote_name": ""}, "remote_name"),
        (GEMINI, {"api_key_variable": ""}, "api_key_variable"),
    ],
)
def test_an_impossible_description_is_refused(
    model: EmbeddingModel, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(model, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"location": "owner/na.me-1", "revision": COMMIT},
        {"location": "/srv/models/one", "revision": ""},
        {"location": "./models/one"},
        {"location": "package:module", "revision": "2"},
    ],
)
def test_files_may_be_in_a_hub_a_folder_or_a_package(changes: dict[str, Any]) -> None:
    assert dataclasses.replace(MINILM, **changes).digest


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/v1", "http://localhost/v1", "http://[::1]:8/v1", "https://a.b/v1"]
)
def test_an_endpoint_is_https_or_loopback(url: str) -> None:
    assert dataclasses.replace(GEMINI, location=url).location == url


def test_a_configured_model_goes_before_a_built_in_one() -> None:
    mine = dataclasses.replace(MINILM, max_length=128)

    assert registry.find(MINILM.name, {MINILM.name: mine}) is mine


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean 'multilingual_e5_large_instruct'"):
        registry.find("multilingual-e5-large-instruct")


def test_an_unknown_name_near_to_none_lists_the_known() -> None:
    with pytest.raises(ModelError, match=r"known are .*all-minilm-l6-v2.*stub"):
        registry.find("zzz")


def load(**data: Any) -> EmbeddingModel:
    model: EmbeddingModel = registry.ModelSchema().load(data)
    return model


def test_an_entry_needs_little() -> None:
    model = load(name="mine", location="./mine", dimension=8, max_length=64)

    assert model == EmbeddingModel("mine", Engine.TORCH, 8, 64, "./mine")


def test_an_endpoint_has_defaults() -> None:
    model = load(name="gemini-embedding-001", engine="gemini", dimension=768, max_length=2048)

    assert dataclasses.replace(model, dimension=3072, revision="001") == GEMINI


def test_a_stub_needs_a_name_only() -> None:
    assert load(name="stub", engine="stub", revision="1") == registry.BUILTIN["stub"]


@pytest.mark.parametrize("model", registry.BUILTIN.values(), ids=registry.BUILTIN)
def test_every_built_in_model_can_be_written_as_an_entry(model: EmbeddingModel) -> None:
    assert load(**dataclasses.asdict(model)) == model


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"pooling": "median"}, "pooling"),
        ({"dimension": 0}, "dimension"),
        ({"dimension": "8"}, "dimension"),
        ({"dimensions": 8}, "dimensions"),
        ({"location": "owner/name"}, "_schema"),
    ],
)
def test_a_wrong_entry_names_its_field(data: dict[str, Any], field: str) -> None:
    entry = {"name": "mine", "location": "./mine", "dimension": 8, "max_length": 64}

    with pytest.raises(ValidationError) as caught:
        load(**(entry | data))

    assert list(caught.value.messages_dict) == [field]


def test_an_entry_without_sizes_says_what_is_missing() -> None:
    with pytest.raises(ValidationError) as caught:
        load(name="mine", location="./mine")

    assert caught.value.messages_dict.keys() == {"dimension", "max_length"}
