"""Runs a program as `python program.py` would, in a process that ends when the one that started it does."""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """`python -m weft.cluster.launch.child PARENT PROGRAM ARGUMENT...`: PARENT is the process that starts it."""
    parent, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before the line above
        sys.exit(1)
    sys.argv = sys.argv[2:]
    sys.path[0:0] = [str(Path(program).resolve().parent)]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
