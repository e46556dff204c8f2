"""How many CPUs this process may use, and how its threads share them."""

from __future__ import annotations

import math
import os
import platform
import threading
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
WAIT_POLICY = "OMP_WAIT_POLICY"
SPIN_COUNT, SPINS = "GOMP_SPINCOUNT", "2000"
"""Turns, some 30 us, that a thread of GNU's OpenMP spins before it sleeps; by itself, 300,000."""

_setting_threads = threading.Lock()


def available_cpus(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """CPUs in the process's affinity, or fewer where a cgroup (v2) limits their time.

    Args:
        cgroups: where the cgroup file system is mounted.
        membership: the file that names this process's cgroup.
    """
    limits = [_quota(folder / "cpu.max") for folder in _lineage(cgroups, membership)]
    return max(1, min([len(os.sched_getaffinity(0)), *(limit for limit in limits if limit)]))


def sleep_while_waiting(environ: MutableMapping[str, str]) -> None:
    """Have threads that compute together sleep while they wait for each other, unless the
    environment says how they wait. OpenMP reads it once, when torch is first imported.

    A thread that spins takes a CPU from the one it waits for, wherever there is other work.
    """
    if WAIT_POLICY not in environ:
        environ[WAIT_POLICY] = "PASSIVE"
        environ.setdefault(SPIN_COUNT, SPINS)


def limit_threads() -> int:
    """How many threads torch computes with: no more than there are CPUs, from now on. Torch counts
    the machine's, or takes what OMP_NUM_THREADS says; a container may have been given fewer."""
    import torch

    with _setting_threads:
        threads: int = min(torch.get_num_threads(), available_cpus())
        torch.set_num_threads(threads)
        return threads


def compute_with(threads: int) -> None:
    """Have the calling thread compute with so many of torch's threads, itself included. All others
    keep theirs.

    What torch is told in one thread also holds for those that use it for the first time later; so
    it is told what held before in another one, which ends.
    """
    import torch

    with _setting_threads, ThreadPoolExecutor(1) as another:
        others = another.submit(torch.get_num_threads).result()
        torch.get_num_threads()  # a thread takes over the others' number the first time it asks
        torch.set_num_threads(threads)
        another.submit(torch.set_num_threads, others).result()


def processor(file: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as the kernel or else Python tells it."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _lineage(cgroups: Path, membership: Path) -> list[Path]:
    """The folders of this process's cgroup and those above it; a limit on any one binds."""
    try:
        lines = membership.read_text("utf-8").splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return []
    folder = cgroups / own
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(cgroups))]


def _quota(path: Path) -> int | None:
    """CPUs that `cpu.max` grants, rounded up; None without a limit."""
    try:
        quota, period = path.read_text("utf-8").split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else math.ceil(int(quota) / int(period))
