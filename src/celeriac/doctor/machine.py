"""This machine: what computes, and how much room there is."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from celeriac.doctor.findings import Finding, Findings, error, fine, warning
from celeriac.embedding.models import Engine
from celeriac.settings import Settings

DRIVER = Path("/proc/driver/nvidia/version")
LITTLE, TOO_LITTLE = 2 * 1024**3, 256 * 1024**2
"""Bytes free below which it is a warning, and below which an error."""


def gpu(settings: Settings) -> Findings:
    """Whether models are computed on what is there."""
    models = settings.configuration.models
    named = [
        models[one.spec.model]
        for tenant in settings.configuration.tenants.values()
        for one in tenant.entity_types.values()
    ]
    if not any(model.engine is Engine.TORCH for model in named):
        yield fine("gpu", "No declared model is computed here.")
    elif find_spec("torch") is None:
        yield fine("gpu", "torch is not installed: this is no machine for workers.")
    else:
        yield _device(settings.device)


def _device(wanted: str) -> Finding:
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        if wanted == "cpu":
            return warning("gpu", f"{name} is idle: CELERIAC_DEVICE is cpu.", "Set it to auto.")
        return fine("gpu", name)
    if wanted == "cuda":
        return error(
            "gpu",
            f"CELERIAC_DEVICE is cuda, and torch {torch.__version__} sees no such device.",
            "Check the driver (nvidia-smi) and that torch's build is for CUDA.",
        )
    if DRIVER.exists() and wanted == "auto":
        return warning(
            "gpu",
            f"There is an NVIDIA driver, and torch {torch.__version__} does not see a device.",
            "Install torch's build for CUDA; models are computed on the CPU until then.",
        )
    return fine("gpu", "There is none: models are computed on the CPU.")


def disk(folder: Path) -> Findings:
    """Whether there is room where standalone keeps its data."""
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(existing).free
    said = f"{free / 1024**3:,.1f} GiB are free at {existing}."
    remedy = "Make room, or set CELERIAC_HOME to another disk."
    if free < TOO_LITTLE:
        yield error("disk", said, remedy)
    elif free < LITTLE:
        yield warning("disk", said, remedy)
    else:
        yield fine("disk", said)
