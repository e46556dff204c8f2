"""What a doctor says of a GPU, by what torch says; and what torch says on this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celeriac.doctor.findings import Level
from celeriac.doctor.gpu import SIDE, Seen, _first_line, _product, judged, seen

GIB = 1024**3
NONE = Seen("2.9.1", "CUDA 12.8")
H200 = replace(
    NONE, devices=1, name="NVIDIA H200", native_bfloat16=True, free=138 * GIB, total=140 * GIB
)
T4 = replace(H200, name="Tesla T4", native_bfloat16=False, free=14 * GIB, total=15 * GIB)
NO_KERNEL = "CUDA error: no kernel image is available for execution on the device"


@pytest.mark.parametrize(
    ("found", "device", "dtype", "driver", "level", "words"),
    [
        (H200, "auto", "auto", True, Level.OK, ["H200", "138.0 of 140.0 GiB", "CUDA 12.8"]),
        (H200, "cpu", "auto", True, Level.WARNING, ["NVIDIA H200 is idle", "Set it to auto"]),
        (replace(H200, devices=4), "cuda", "auto", True, Level.OK, ["of 4", "CUDA_VISIBLE_DEV"]),
        (replace(H200, free=GIB), "auto", "auto", True, Level.WARNING, ["1.0 of", "nvidia-smi"]),
        (replace(H200, problem=NO_KERNEL), "auto", "auto", True, Level.ERROR, [NO_KERNEL]),
        (replace(NONE, devices=1, problem="busy"), "cuda", "auto", True, Level.ERROR, ["busy"]),
        (T4, "auto", "auto", True, Level.WARNING, ["no bfloat16", "CELERIAC_DTYPE to float32"]),
        (T4, "auto", "float32", True, Level.OK, ["Tesla T4"]),
        (NONE, "auto", "auto", False, Level.OK, ["There is none"]),
        (NONE, "cpu", "auto", True, Level.OK, ["There is none"]),
        (NONE, "cuda", "auto", True, Level.ERROR, ["no such device", "CUDA_VISIBLE_DEVICES"]),
        (replace(NONE, problem="too old"), "auto", "auto", True, Level.WARNING, ["too old"]),
        (Seen("2.9.1", None), "auto", "auto", True, Level.WARNING, ["is for the CPU"]),
        (Seen("2.9.1", None), "cuda", "auto", False, Level.ERROR, ["build for CUDA"]),
    ],
)
def test_what_is_said_of_it(
    *, found: Seen, device: str, dtype: str, driver: bool, level: Level, words: list[str]
) -> None:
    finding = judged(found, device, dtype, driver=driver)
    assert finding.level == level
    assert all(one in f"{finding.message} {finding.remedy}" for one in words), finding
    assert bool(finding.remedy) == (level != Level.OK)


def test_of_this_machine_torch_says_what_it_has() -> None:
    torch = pytest.importorskip("torch")
    found = seen()
    assert found.torch == torch.__version__
    assert found.devices == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
    if found.devices:
        assert (found.problem, found.name) == ("", torch.cuda.get_device_name(0))
        assert 0 < found.free <= found.total


def test_what_is_computed_to_see_whether_it_does_is_right() -> None:
    pytest.importorskip("torch")
    assert _product("cpu") == SIDE**3


def test_a_device_that_torch_cannot_use_is_a_problem_in_a_line() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    # What torch raises: RuntimeError, or AssertionError where its build knows no CUDA at all.
    with pytest.raises((RuntimeError, AssertionError)) as raised:
        _product("cuda:0")
    assert "\n" not in _first_line(raised.value)
