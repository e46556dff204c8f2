"""Benchmarks of celeriac's parts: list them and run them all, or those that are named.

    .venv/bin/python -m benchmarks [--list] [NAME ...]

celeriac as a whole beside others: make bench, make bench-against.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
SCRIPTS = {path.stem: path for path in sorted(FOLDER.glob("[a-z]*.py"))}
ELSEWHERE = "celeriac beside LangChain and LlamaIndex: make bench, make bench-against"


def main() -> int:
    """Run the chosen benchmarks in turn, each in a process of its own; the worst exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="list them, run none")
    parser.add_argument("names", nargs="*", metavar="NAME", help="run only this one")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in SCRIPTS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(SCRIPTS)}")
    for name, path in SCRIPTS.items():
        print(f"{name:12}{title(path)}")
    print(ELSEWHERE)
    chosen = [] if arguments.list else arguments.names or SCRIPTS
    return max((run(name) for name in chosen), default=0)


def title(path: Path) -> str:
    """The first line of a script's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def run(name: str) -> int:
    print(f"\n== {name}", flush=True)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    # As modules: a script's own folder would come before installed packages, `requests` among them.
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    return abs(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    sys.exit(main())
