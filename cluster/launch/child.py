"""Runs a program as `python program.py` would, in a process that ends when the one that started it does."""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
from functools import partial
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """`python -m weft.cluster.launch.child PARENT PROGRAM ARGUMENT...`: PARENT is the process that starts it."""
    parent, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before the line above
        sys.exit(1)
    sys.argv = sys.argv[2:]
    sys.excepthook = partial(_show, program)
    sys.path[0:0] = [str(Path(program).resolve().parent)]
    runpy.run_path(program, run_name="__main__")


def _show(program: str, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """As Python shows what ends a program: without the calls that have led into it."""
    own = trace
    while own is not None and own.tb_frame.f_code.co_filename != program:
        own = own.tb_next
    own = own if own is not None or isinstance(error, SyntaxError) else trace  # else it is not the program's
    sys.__excepthook__(kind, error.with_traceback(own), own)


if __name__ == "__main__":
    main()
