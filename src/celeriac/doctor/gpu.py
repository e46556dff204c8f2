"""What computes the models: what torch says of its devices, and what that means."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from celeriac.doctor.findings import Finding, Findings, error, fine, warning
from celeriac.embedding.models import Engine
from celeriac.settings import Settings

DRIVER = Path("/proc/driver/nvidia/version")
NATIVE_BFLOAT16 = 8
"""The first compute capability of NVIDIA's that computes it; those before are slow at it."""
LITTLE = 2 * 1024**3
"""Bytes of a device's memory free below which it is a warning."""
SIDE = 64
"""Of the matrices that are multiplied to see whether anything can be computed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What torch says."""

    torch: str
    """Its version."""
    built_for: str | None
    """What its build computes on beside the CPU, such as `CUDA 12.8`."""
    devices: int = 0
    problem: str = ""
    """Why there is none, or why the first one computes nothing; empty where that is not known."""
    name: str = ""
    """Of the first device, which a worker takes."""
    native_bfloat16: bool = True
    free: int = 0
    """Bytes of its memory."""
    total: int = 0


def findings(settings: Settings) -> Findings:
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
        yield judged(seen(), settings.device, settings.dtype, driver=DRIVER.exists())


def seen() -> Seen:
    """Ask torch, and have the first device compute something."""
    import torch

    # Why it sees no device it says in a warning alone.
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = Seen(str(torch.__version__), _built_for(), devices)
    if not devices:
        return replace(found, problem=_first_line(said[0].message) if said else "")
    try:
        return _examined(found)
    except RuntimeError as problem:
        return replace(found, problem=_first_line(problem))


def _built_for() -> str | None:
    import torch

    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    return f"ROCm {torch.version.hip}" if torch.version.hip else None


def _examined(found: Seen) -> Seen:
    """With what the first device is, and whether it computes.

    Raises:
        RuntimeError: torch cannot use it.
    """
    import torch

    properties = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info(0)
    native = torch.version.cuda is None or properties.major >= NATIVE_BFLOAT16
    device = replace(found, name=properties.name, native_bfloat16=native, free=free, total=total)
    try:
        product = _product("cuda:0")
    except RuntimeError as problem:
        return replace(device, problem=_first_line(problem))
    wrong = f"a product of ones is {product} and not {SIDE**3}"
    return device if product == SIDE**3 else replace(device, problem=wrong)


def _product(device: str) -> float:
    """The sum of a product of matrices of ones, computed there: SIDE**3."""
    import torch

    ones = torch.ones(SIDE, SIDE, device=device, dtype=torch.bfloat16)
    return float((ones @ ones).float().sum().item())


def _first_line(problem: object) -> str:
    return next(iter(str(problem).strip().splitlines()), "") or type(problem).__name__


def judged(found: Seen, device: str, dtype: str, *, driver: bool) -> Finding:
    """What is to be said where `device` and `dtype` are asked for; `driver`: whether NVIDIA's is
    loaded."""
    if not found.devices:
        return _without(found, device, driver=driver)
    if device == "cpu":
        name = found.name or "A GPU"
        return warning("gpu", f"{name} is idle: CELERIAC_DEVICE is cpu.", "Set it to auto.")
    if found.problem:
        return error(
            "gpu",
            f"{found.name or 'The GPU'} computes nothing with torch {found.torch}, built for "
            f"{found.built_for}: {found.problem}",
            "See nvidia-smi for who uses it; torch's build has to know the device and its driver.",
        )
    return _of_device(found, dtype)


def _without(found: Seen, device: str, *, driver: bool) -> Finding:
    reason = f": {found.problem}" if found.problem else "."
    remedy = (
        "Check the driver (nvidia-smi), CUDA_VISIBLE_DEVICES, and that a container is given the "
        "device."
        if found.built_for
        else "Install torch's build for CUDA: this one is for the CPU."
    )
    if device == "cuda":
        said = f"CELERIAC_DEVICE is cuda, and torch {found.torch} sees no such device{reason}"
        return error("gpu", said, remedy)
    if driver and device == "auto":
        said = f"There is an NVIDIA driver, and torch {found.torch} sees no device{reason}"
        return warning("gpu", said, f"{remedy} Models are computed on the CPU until then.")
    return fine("gpu", "There is none: models are computed on the CPU.")


def _of_device(found: Seen, dtype: str) -> Finding:
    room = f"{found.free / 1024**3:,.1f} of {found.total / 1024**3:,.1f} GiB free"
    said = f"{found.name}, {room}, torch {found.torch} for {found.built_for}"
    if not found.native_bfloat16 and dtype in ("auto", "bfloat16"):
        return warning(
            "gpu",
            f"{said}. It has no bfloat16 of its own, in which models are computed: that is slow.",
            "Set CELERIAC_DTYPE to float32; indexes are then built anew.",
        )
    if found.free < LITTLE:
        return warning("gpu", f"{said}.", "See nvidia-smi for who uses it, or take another one.")
    if found.devices > 1:
        each = "start one for each, with CUDA_VISIBLE_DEVICES."
        return fine("gpu", f"{said}. A worker uses the first of {found.devices}: {each}")
    return fine("gpu", f"{said}.")
