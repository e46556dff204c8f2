from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch

from celeriac.embedding.cpus import available_cpus, compute_with, limit_threads, sleep_while_waiting


@pytest.fixture
def affinity() -> int:
    return len(os.sched_getaffinity(0))


def write(root: Path, group: str, content: str) -> None:
    folder = root / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(content)


def membership(root: Path, line: str) -> Path:
    path = root.parent / "membership"
    path.write_text(f"4:memory:/elsewhere\n{line}\n")
    return path


@pytest.mark.parametrize(("content", "expected"), [("50000 100000\n", 1), ("100000 100000\n", 1)])
def test_a_quota_limits_and_is_rounded_up(tmp_path: Path, content: str, expected: int) -> None:
    root = tmp_path / "cgroup"
    write(root, ".", content)

    assert available_cpus(root, membership(root, "0::/")) == expected


def test_a_quota_above_the_affinity_changes_nothing(tmp_path: Path, affinity: int) -> None:
    root = tmp_path / "cgroup"
    write(root, ".", f"{(affinity + 3) * 100_000} 100000\n")

    assert available_cpus(root, membership(root, "0::/")) == affinity


def test_no_quota_leaves_the_affinity(tmp_path: Path, affinity: int) -> None:
    root = tmp_path / "cgroup"
    write(root, ".", "max 100000\n")

    assert available_cpus(root, membership(root, "0::/")) == affinity


def test_the_tightest_group_above_binds(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    write(root, "pod/container", "max 100000\n")
    write(root, "pod", "70000 100000\n")

    assert available_cpus(root, membership(root, "0::/pod/container")) == 1


@pytest.mark.parametrize("line", ["", "0::/"])
def test_without_control_groups_the_affinity_counts(
    tmp_path: Path, line: str, affinity: int
) -> None:
    root = tmp_path / "cgroup"

    assert available_cpus(root, membership(root, line)) == affinity
    assert available_cpus(root, tmp_path / "absent") == affinity


def test_the_affinity_of_this_process_is_respected(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cpus(tmp_path, tmp_path / "absent") == 1
    finally:
        os.sched_setaffinity(0, before)


def test_threads_sleep_while_they_wait() -> None:
    environ: dict[str, str] = {}

    sleep_while_waiting(environ)

    assert environ == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "9"}, {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "9"}),
    ],
)
def test_how_threads_wait_can_be_said(given: dict[str, str], then: dict[str, str]) -> None:
    sleep_while_waiting(given)

    assert given == then


def test_it_is_said_before_torch_is_imported() -> None:
    """OpenMP reads it when its library is loaded, and never again."""
    script = (
        "import os, sys\n"
        "from celeriac.embedding import cpus, torch_loading\n"
        "assert 'torch' not in sys.modules\n"
        "torch_loading._require_torch(None)\n"
        "print(os.environ[cpus.WAIT_POLICY], 'torch' in sys.modules)\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    answer = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    )

    assert answer.stdout.split() == ["PASSIVE", "True"]


def in_another(prepare: Callable[[], None] = lambda: None) -> int:
    """The threads that a thread computes with which never used torch before."""
    with ThreadPoolExecutor(1, initializer=prepare) as pool:
        return pool.submit(_threads_that_compute).result()


def _threads_that_compute() -> int:
    (torch.ones(64, 64) @ torch.ones(64, 64)).sum()  # a thread may take its number only here
    return torch.get_num_threads()


def test_a_thread_has_a_number_of_its_own_and_leaves_all_others_theirs() -> None:
    before = limit_threads()

    assert in_another(partial(compute_with, before + 1)) == before + 1
    assert in_another(partial(compute_with, before + 2)) == before + 2
    assert in_another() == torch.get_num_threads() == before


def test_torch_has_no_more_threads_than_there_are_cpus(affinity: int) -> None:
    assert limit_threads() <= affinity
    assert torch.get_num_threads() <= affinity
