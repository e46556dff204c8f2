"""The engine on a GPU, from 22 M to 7 B parameters, beside sentence-transformers on the same card.

    PYTHONPATH=src python -m benchmarks.gpu [--sizes 22M,110M] [--lengths 50,256,512] [--keep]
    PYTHONPATH=src python -m benchmarks.gpu --device cpu --sizes 22M --quick     without a GPU

Nothing is fetched: models have random weights, and the configuration of those they are named for.
Texts are of random words, half the length to the whole of it, one token a word. Both compute in
bfloat16 on a GPU, in float32 on a CPU; sentence-transformers in batches of 32, as it comes, and of
256. They take turns, A B A B; figures are medians.

The ceiling is what the card multiplies: the products of the model's linear layers alone, for as
many operations as the model needs at these lengths, attention included. Padding is the share of
tokens in a batch that are no text's.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    BertConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
)

from benchmarks._measuring import Products, hardware, keep, table, taking_turns
from celeriac.embedding.models import EmbeddingModel, Engine, Pooling
from celeriac.embedding.tokenization import ModelTokenizer
from celeriac.embedding.torch_engine import TorchEmbedder
from celeriac.embedding.torch_loading import fast_network
from celeriac.embedding.torch_streams import TOKEN_BUDGETS, choose_streams

LENGTHS = (50, 256, 512)
TOKENS = {"cuda": 400_000, "cpu": 4_000}
"""In the texts of one turn; 7 B parameters get an eighth."""
WORDS = 20_000
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PLAIN_BATCHES = (32, 256)


@dataclass(frozen=True)
class Size:
    """One model, as large as a well-known one."""

    like: str
    configure: Callable[..., Any]
    pooling: Pooling
    options: dict[str, int]

    def config(self, **changes: int) -> Any:
        return self.configure(**{"pad_token_id": 0, **self.options, **changes})


def _encoder(width: int, layers: int, heads: int, vocabulary: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "vocab_size": vocabulary,
    }


_XLM_ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1}
_MISTRAL = {"num_key_value_heads": 8, "intermediate_size": 14336, "sliding_window": 4096}
SIZES = {
    "22M": Size("all-MiniLM-L6-v2", BertConfig, Pooling.MEAN, _encoder(384, 6, 12, 30_522)),
    "110M": Size("bge-base", BertConfig, Pooling.CLS, _encoder(768, 12, 12, 30_522)),
    "335M": Size("bge-large", BertConfig, Pooling.CLS, _encoder(1024, 24, 16, 30_522)),
    "560M": Size(
        "multilingual-e5-large",
        XLMRobertaConfig,
        Pooling.MEAN,
        _encoder(1024, 24, 16, 250_002) | _XLM_ROBERTA,
    ),
    "7B": Size(
        "e5-mistral-7b",
        MistralConfig,
        Pooling.LAST_TOKEN,
        _encoder(4096, 32, 32, 32_000) | _MISTRAL,
    ),
}
ORACLE_POOLING = {Pooling.MEAN: "mean", Pooling.CLS: "cls", Pooling.LAST_TOKEN: "lasttoken"}


def save(size: Size, folder: Path) -> None:
    """A tokenizer of one token a word, and a model of one layer whose place the real one takes."""
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *map(_word, range(WORDS))))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    AutoModel.from_config(size.config(num_hidden_layers=1)).save_pretrained(folder)


def _word(number: int) -> str:
    return f"w{number}"


def texts_of(length: int, tokens: int) -> list[str]:
    """Texts of half to the whole length, special tokens included, in an order by chance."""
    chance = random.Random(length)
    texts = []
    while tokens > 0:
        words = max(1, chance.randint(length // 2, length) - 2)
        texts.append(" ".join(_word(chance.randrange(WORDS)) for _ in range(words)))
        tokens -= words + 2
    return texts


def build(size: Size, device: torch.device, dtype: torch.dtype) -> Any:
    """The model with random weights, made where it stays."""
    torch.manual_seed(0)
    with device:
        module = AutoModel.from_config(size.config(), dtype=dtype)
    module.config.use_cache = False
    return module.eval()


def open_ours(size: Size, folder: Path, device: torch.device, dtype: torch.dtype) -> TorchEmbedder:
    description = EmbeddingModel(
        name=size.like,
        engine=Engine.TORCH,
        dimension=size.options["hidden_size"],
        max_length=max(LENGTHS),
        location=str(folder),
        pooling=size.pooling,
    )
    network = fast_network(build(size, device, dtype), device, str(dtype).removeprefix("torch."))
    tokenizer = ModelTokenizer(description, folder)
    streams = choose_streams(description, network, torch.get_num_threads(), None, None)
    return TorchEmbedder(description, tokenizer, network, streams)


def open_plain(size: Size, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling as PlainPooling

    transformer = Transformer(str(folder), max_seq_length=max(LENGTHS))
    transformer.auto_model = build(size, device, dtype)
    pooling = PlainPooling(size.options["hidden_size"], ORACLE_POOLING[size.pooling])
    return SentenceTransformer(modules=[transformer, pooling, Normalize()], device=str(device))


def padding(lengths: Sequence[int], rows: int) -> float:
    """The share of padding where so many rows of like lengths are a batch."""
    ordered = sorted(lengths, reverse=True)
    batches = [ordered[start : start + rows] for start in range(0, len(ordered), rows)]
    return 1 - sum(ordered) / sum(len(batch) * batch[0] for batch in batches)


def measure(
    name: str, lengths: Sequence[int], device: torch.device, rounds: int, tokens: int
) -> list[dict[str, object]]:
    """One model at each length."""
    size = SIZES[name]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save(size, folder)
        ours = open_ours(size, folder, device, dtype)
        plain = open_plain(size, folder, device, dtype)
    contenders = Contenders(ours, plain, device, dtype)
    found = []
    for length in lengths:
        texts = texts_of(length, tokens)
        found.append(
            {"size": name, "like": size.like, "length": length} | compare(texts, contenders, rounds)
        )
    ours.close()
    return found


@dataclass(frozen=True)
class Contenders:
    """One model with the same random weights, twice."""

    ours: TorchEmbedder
    plain: Any
    device: torch.device
    dtype: torch.dtype


def compare(texts: Sequence[str], contenders: Contenders, rounds: int) -> dict[str, object]:
    ours, plain, device = contenders.ours, contenders.plain, contenders.device
    lengths, products = ours.counter.count(texts), Products.of(plain[0].auto_model)
    tokens, budget = sum(lengths), TOKEN_BUDGETS[device.type]
    works: dict[str, Callable[[], object]] = {"celeriac": lambda: ours.embed(texts)}
    for rows in PLAIN_BATCHES:
        works[f"plain, {rows}"] = lambda rows=rows: plain.encode(
            texts, batch_size=rows, show_progress_bar=False
        )
    ceilings = products.works(budget, device, contenders.dtype)
    seconds = taking_turns({**works, **ceilings}, rounds)
    rate = max(products.flop(budget) / seconds[one] for one in ceilings)
    needed = products.flop(tokens, sum(length**2 for length in lengths) / tokens)
    longest = max(lengths)
    return {
        "tokens": tokens,
        "tokens_per_second": {one: tokens / seconds[one] for one in works},
        "tflop_per_second": rate / 1e12,
        "share_of_ceiling": {one: needed / rate / seconds[one] for one in works},
        "padding": {
            "celeriac": 0.0 if ours.packed else padding(lengths, max(1, budget // longest)),
            **{f"plain, {rows}": padding(lengths, rows) for rows in PLAIN_BATCHES},
        },
    }


def report(found: Sequence[dict[str, Any]]) -> None:
    head = ["", "up to", "", "tokens/s", "of plain, 32", "of the ceiling", "padding"]
    rows = []
    for one in found:
        speeds = one["tokens_per_second"]
        rows += [
            [
                one["size"], one["length"], name, f"{speed:,.0f}",
                f"{speed / speeds['plain, 32']:.2f}",
                f"{one['share_of_ceiling'][name]:.2f}", f"{one['padding'][name]:.1%}",
            ]
            for name, speed in speeds.items()
        ]  # fmt: skip
    print(table(head, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)))
    parser.add_argument("--quick", action="store_true", help="one round of few texts")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device here; --device cpu --sizes 22M --quick shows that it runs.")
        return
    device = torch.device(arguments.device)
    found = []
    for name in arguments.sizes.split(","):
        tokens = TOKENS[device.type] // (8 if name == "7B" else 1)
        found += measure(
            name,
            [int(length) for length in arguments.lengths.split(",")],
            device,
            rounds=1 if arguments.quick else 5,
            tokens=tokens // 8 if arguments.quick else tokens,
        )
    machine = hardware(device)
    print(f"{machine['device']}, torch {machine['torch']}\n")
    report(found)
    if arguments.keep:
        print(keep("gpu", {**machine, "found": found}))


if __name__ == "__main__":
    main()
