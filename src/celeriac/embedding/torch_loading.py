"""From a model's files to a network on a device, checked against the description."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from celeriac.embedding.compatibility import check_modules, check_network
from celeriac.embedding.cpus import compute_with, limit_threads, sleep_while_waiting
from celeriac.embedding.files import find_folder
from celeriac.embedding.models import AUTO, DTYPES, EmbeddingModel
from celeriac.embedding.network import Network
from celeriac.embedding.tokenization import ModelTokenizer
from celeriac.embedding.torch_engine import TorchEmbedder
from celeriac.embedding.torch_streams import choose_streams
from celeriac.errors import ConfigurationError, ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

INT8 = "int8"
DEVICES = ("auto", "cpu", "cuda")

_log = logging.getLogger(__name__)


def load_embedder(
    model: EmbeddingModel,
    *,
    device: str,
    dtype: str,
    token_budget: int | None = None,
    calibrations: Path | None = None,
) -> TorchEmbedder:
    """Load a model described with engine TORCH.

    Args:
        model: where its files are and how it is computed.
        device: one of DEVICES; auto takes CUDA where there is a device.
        dtype: one of DTYPES; auto is float32 on the CPU, bfloat16 on CUDA. The model's own goes
            before it.
        token_budget: tokens in a batch, at most; nothing is measured then.
        calibrations: folder of what was measured, how many streams and tokens in a batch; without
            it, constants are taken.

    Raises:
        ConfigurationError: device or dtype is unknown or not to be had here.
        ModelError: torch is missing, or the files are missing or do not fit the description.
    """
    _require_torch(model)
    chosen_device = _choose_device(device)
    chosen_dtype = _choose_dtype(dtype if model.dtype == AUTO else model.dtype, chosen_device)
    folder = find_folder(model, weights=True)
    check_modules(model, folder)
    tokenizer = ModelTokenizer(model, folder)
    threads = limit_threads()
    weights = "float32" if chosen_dtype == INT8 else chosen_dtype
    module = _load_module(model, folder, weights).to(chosen_device).eval()
    check_network(model, module)
    _log.info(
        "%s loaded on %s as %s",
        model.name, chosen_device, chosen_dtype,
        extra={"action": "load_model", "model": model.name},
    )  # fmt: skip
    # In a thread that ends: torch keeps a team of threads for each one that computes.
    with ThreadPoolExecutor(1, initializer=partial(compute_with, threads)) as pool:
        network = pool.submit(fast_network, module, chosen_device, chosen_dtype).result()
    streams = choose_streams(
        replace(model, dtype=chosen_dtype), network, threads, token_budget, calibrations
    )
    return TorchEmbedder(model, tokenizer, network, streams)


def fast_network(module: PreTrainedModel, device: torch.device, dtype: str) -> Network:
    """A module on its device, changed into what computes the same faster there; int8, nearly."""
    from celeriac.embedding.prepacked import prepack
    from celeriac.embedding.quantized import quantize

    module.pooler = None  # of BERT's family; its output is not used
    network = Network(module, device)
    network.pack()
    if dtype == INT8:
        quantize(module)
    elif device.type == "cpu":
        prepack(module)
    return network


def _require_torch(model: EmbeddingModel) -> None:
    sleep_while_waiting(os.environ)
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise ModelError(
            f"{model.name} is computed with torch and transformers, and {error.name} is missing; "
            "run pip install 'celeriac[torch]', or use a remote model"
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _choose_device(device: str) -> torch.device:
    import torch

    if device not in DEVICES:
        raise ConfigurationError(f"device is {device!r}; it must be one of {', '.join(DEVICES)}")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ConfigurationError(
            "device is cuda, but torch sees no CUDA device here; check the driver and that torch "
            "is a CUDA build, or set CELERIAC_DEVICE=cpu"
        )
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def _choose_dtype(dtype: str, device: torch.device) -> str:
    if dtype not in DTYPES:
        raise ConfigurationError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
    if dtype == INT8 and device.type != "cpu":
        raise ConfigurationError(
            "dtype int8 is computed on the CPU alone; set CELERIAC_DEVICE=cpu, or another dtype"
        )
    if dtype == AUTO:
        return "bfloat16" if device.type == "cuda" else "float32"
    return dtype


def _load_module(model: EmbeddingModel, folder: Path, dtype: str) -> PreTrainedModel:
    import torch
    from transformers import AutoModel

    try:
        module, report = AutoModel.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelError(f"{model.name}: cannot load {folder} ({error})") from error
    # transformers fills what is missing with random numbers and only warns. No pooler is used.
    absent = [key for key in report["missing_keys"] if not key.startswith("pooler.")]
    if absent:
        raise ModelError(
            f"{model.name}: {len(absent)} weights are missing in {folder}, {sorted(absent)[0]} "
            "among them; the files are incomplete or of another architecture"
        )
    module.config.use_cache = False  # a decoder would keep keys and values for tokens to come
    return module
