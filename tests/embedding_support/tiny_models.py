"""Small random transformers of the registry's architectures, as sentence-transformers folders.

Weights are random but spread widely, so that different texts get clearly different vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers as tk_trainers

from celeriac.embedding.models import EmbeddingModel, Engine, Pooling

WIDTH = 32
_VOCABULARY = 1500
_SHAPE = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


@dataclass(frozen=True)
class TinyModel:
    """One architecture as the registry uses it."""

    pooling: Pooling
    max_length: int
    build_tokenizer: Callable[[Iterable[str]], Tokenizer]
    special_tokens: dict[str, str]
    build_config: Callable[[int], Any]
    oracle_pooling: str

    def description(self, folder: Path, **changes: Any) -> EmbeddingModel:
        settings: dict[str, Any] = {
            "name": f"tiny-{self.pooling}",
            "engine": Engine.TORCH,
            "dimension": WIDTH,
            "max_length": self.max_length,
            "location": str(folder),
            "pooling": self.pooling,
        }
        return EmbeddingModel(**(settings | changes))

    def build(self, folder: Path, corpus: Iterable[str]) -> None:
        """Write the model, its tokenizer and its modules the way sentence-transformers does."""
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import (
            Normalize,
            Transformer,
        )
        from sentence_transformers.sentence_transformer.modules import Pooling as OraclePooling
        from transformers import AutoModel, PreTrainedTokenizerFast

        tokenizer = self.build_tokenizer(corpus)
        parts = folder.with_name(f"{folder.name}-parts")
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **self.special_tokens).save_pretrained(
            parts
        )
        torch.manual_seed(7)
        AutoModel.from_config(self.build_config(tokenizer.get_vocab_size())).save_pretrained(parts)
        transformer = Transformer(str(parts), max_seq_length=self.max_length)
        modules = [transformer, OraclePooling(WIDTH, self.oracle_pooling), Normalize()]
        SentenceTransformer(modules=modules, device="cpu").save(str(folder))


def wordpiece(corpus: Iterable[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = tk_trainers.WordPieceTrainer(
        vocab_size=_VOCABULARY, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    _frame(tokenizer, "[CLS]", "[SEP]")
    return tokenizer


def unigram(corpus: Iterable[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = tk_trainers.UnigramTrainer(
        vocab_size=_VOCABULARY, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    _frame(tokenizer, "<s>", "</s>")
    return tokenizer


def byte_bpe(corpus: Iterable[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = tk_trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    _frame(tokenizer, "<s>", "</s>")
    return tokenizer


def bert(vocabulary: int) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=vocabulary, max_position_embeddings=128, initializer_range=0.4, **_SHAPE
    )


def xlm_roberta(vocabulary: int) -> Any:
    from transformers import XLMRobertaConfig

    return XLMRobertaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=514,
        type_vocab_size=1,
        initializer_range=0.4,
        **_SHAPE,
    )


def mistral(vocabulary: int) -> Any:
    from transformers import MistralConfig

    return MistralConfig(
        vocab_size=vocabulary,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
        sliding_window=512,
        initializer_range=0.2,
        **_SHAPE,
    )


def _frame(tokenizer: Tokenizer, begin: str, end: str) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} $B {end}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (begin, end)],
    )


BERT_CLS = TinyModel(
    Pooling.CLS,
    128,
    wordpiece,
    {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
    bert,
    "cls",
)
XLM_ROBERTA_MEAN = TinyModel(
    Pooling.MEAN,
    512,
    unigram,
    {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    xlm_roberta,
    "mean",
)
MISTRAL_LAST_TOKEN = TinyModel(
    Pooling.LAST_TOKEN,
    600,
    byte_bpe,
    {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "</s>",
        "padding_side": "left",
    },
    mistral,
    "lasttoken",
)
TINY_MODELS = {
    "bert-cls": BERT_CLS,
    "xlm-roberta-mean": XLM_ROBERTA_MEAN,
    "mistral-last-token": MISTRAL_LAST_TOKEN,
}
