"""Where a model's files are: in a package, in a folder, or in the cache of a model hub."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from celeriac.embedding.models import HUB_ID, PACKAGE_LOCATION, EmbeddingModel
from celeriac.errors import ModelError

_DESCRIPTION = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "*_Pooling/config.json",
)
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")


def find_folder(model: EmbeddingModel, *, weights: bool) -> Path:
    """Find the folder with a model's files; those of a hub model are downloaded once.

    Args:
        model: described with engine TORCH.
        weights: whether the weights are needed, or the tokenizer is enough.

    Raises:
        ModelError: the files are not there; says what to do.
    """
    if match := PACKAGE_LOCATION.fullmatch(model.location):
        folder = _package_folder(model, match["module"]) / (match["folder"] or "")
    elif HUB_ID.fullmatch(model.location):
        folder = _hub_snapshot(model, weights=weights)
    else:
        folder = Path(model.location).expanduser()
    if not folder.is_dir():
        raise ModelError(f"{model.name}: there is no folder {folder}; check its location")
    return folder


def _package_folder(model: EmbeddingModel, module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"{model.name}: the package {module} is not installed; "
            f"run pip install {_distribution(module)}=={model.revision}"
        )
    distribution = _distribution(module)
    installed = importlib.metadata.version(distribution)
    if installed != model.revision:
        raise ModelError(
            f"{model.name} is pinned to {distribution} {model.revision}, but {installed} is "
            f"installed; run pip install {distribution}=={model.revision}, or describe the other "
            "version as a model of its own"
        )
    return Path(spec.submodule_search_locations[0])


def _distribution(module: str) -> str:
    """The distribution that holds a module; their names mostly differ in - and _ alone."""
    try:
        return importlib.metadata.metadata(module)["Name"]
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.packages_distributions().get(module, [module])[0]


def _hub_snapshot(model: EmbeddingModel, *, weights: bool) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError as error:
        raise ModelError(
            f"{model.name} comes from a model hub; run pip install 'celeriac[torch]'"
        ) from error
    disable_progress_bars()
    patterns = [*_DESCRIPTION, *(_WEIGHTS if weights else ())]
    try:
        return Path(
            huggingface_hub.snapshot_download(
                model.location, revision=model.revision, allow_patterns=patterns
            )
        )
    except Exception as error:  # of the hub, its HTTP client, or the disk
        raise ModelError(
            f"{model.name}: cannot get {model.location} at {model.revision} from the model hub "
            f"({_first_line(error)}); download it once with network access, or copy its files "
            "into a folder and make that the model's location"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
