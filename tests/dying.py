"""A program that saves, and that is killed at the n-th call of a function of the system: of a write at half of it."""

from __future__ import annotations

import signal
import subprocess
import sys

_DIES = """
import os, signal, sys
import numpy as np
import weft as wf

place, call, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
real, calls = getattr(os, call), []

def dying(*args):
    calls.append(args)
    if len(calls) == count:
        if call == "write":
            real(args[0], args[1][:len(args[1]) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)

def die():
    setattr(os, call, dying)
"""


def dies(program: str, place: str, call: str, count: int) -> None:
    """Run a program, which saves at `place`; when it has called `die()`, the next `count`-th call of `os.<call>` kills it."""
    command = [sys.executable, "-P", "-c", _DIES + program, place, call, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == -signal.SIGKILL, done.stderr
