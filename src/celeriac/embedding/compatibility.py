"""Does a description fit the files it names? Wrong vectors would look like any others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeriac.embedding.models import EmbeddingModel, Pooling
from celeriac.errors import ModelError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

_COMPUTED = {"Transformer", "Pooling", "Normalize"}
_POOLING_NAMES = {
    Pooling.MEAN: ("mean", "pooling_mode_mean_tokens"),
    Pooling.CLS: ("cls", "pooling_mode_cls_token"),
    Pooling.LAST_TOKEN: ("lasttoken", "pooling_mode_lasttoken"),
}


def check_network(model: EmbeddingModel, network: PreTrainedModel) -> None:
    """Check width and positions.

    Raises:
        ModelError: dimension is not the network's, or it has fewer positions than max_length.
    """
    width = network.config.hidden_size
    if width != model.dimension:
        raise ModelError(
            f"{model.name}: dimension is {model.dimension}, but the model's vectors have {width} "
            "numbers; correct its entry"
        )
    positions = _positions(network)
    if positions is not None and positions < model.max_length:
        raise ModelError(
            f"{model.name}: max_length is {model.max_length}, but the model has {positions} "
            "positions; correct its entry"
        )


def check_modules(model: EmbeddingModel, folder: Path) -> None:
    """Check what `modules.json` of a sentence-transformers folder says, where there is one.

    Raises:
        ModelError: it has a module that is not computed here, or another pooling.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return
    for module in json.loads(path.read_text("utf-8")):
        kind = str(module["type"]).rpartition(".")[2]
        if kind not in _COMPUTED:
            raise ModelError(
                f"{model.name}: {path} has a module {kind}, which celeriac does not compute; "
                "its vectors would be wrong, so use another model"
            )
        pooling_path = folder / module["path"] / "config.json"
        if kind == "Pooling" and pooling_path.is_file():
            _check_pooling(model, pooling_path)


def _check_pooling(model: EmbeddingModel, path: Path) -> None:
    settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    name, flag = _POOLING_NAMES[model.pooling]
    if "pooling_mode" in settings:
        modes = settings["pooling_mode"]
        agrees = modes in (name, [name])
    else:  # before sentence-transformers 6: one flag a mode
        modes = [key for key, on in settings.items() if key.startswith("pooling_mode_") and on]
        agrees = modes == [flag]
    if not agrees:
        raise ModelError(
            f"{model.name}: pooling is {model.pooling.value}, but {path} says {modes}; "
            "correct its entry"
        )


def first_position(network: PreTrainedModel) -> int:
    """The position of a text's first token.

    RoBERTa's family counts from the padding id on: its first token is at 2.
    """
    table = _position_table(network)
    return 0 if table is None or table.padding_idx is None else int(table.padding_idx) + 1


def _positions(network: PreTrainedModel) -> int | None:
    """Tokens that have a position; None where positions are not bounded by a table."""
    table = _position_table(network)
    if table is None:
        limit: int | None = getattr(network.config, "max_position_embeddings", None)
        return limit
    return int(table.num_embeddings) - first_position(network)


def _position_table(network: PreTrainedModel) -> nn.Embedding | None:
    return getattr(getattr(network, "embeddings", None), "position_embeddings", None)
