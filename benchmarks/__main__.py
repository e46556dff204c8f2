"""make bench: run every benchmark, or those that are named: `python -m benchmarks chunking`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
NAMES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


def main(chosen: list[str]) -> int:
    """Run the chosen benchmarks in turn, each in a process of its own; the worst exit status."""
    unknown = sorted(set(chosen) - set(NAMES))
    if unknown:
        print(f"There is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}.")
        return 2
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    status = 0
    for name in chosen or NAMES:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, str(FOLDER / f"{name}.py")]
        answer = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        status = max(status, abs(answer.returncode))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
