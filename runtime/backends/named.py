"""Which backend the devices of a process have, by what `ConfigProto.backend` names."""

from __future__ import annotations

from importlib.util import find_spec

from ..kernels import Backend
from .cpu import CPU

#: Those that tasks of a cluster may have.
ON_TASKS = ("numpy", "llvm")


def for_tasks(name: str) -> str:
    """What tasks are asked for. What they cannot have, or nobody, the session refuses when it makes its plans."""
    return name if name in ON_TASKS else "numpy"


def lacking(name: str) -> str:
    """What this process lacks for a backend, in words; "" where nothing that is known without loading it."""
    if name != "llvm" or find_spec("llvmlite") is not None:
        return ""
    return "backend='llvm' needs llvmlite: pip install 'weft[llvm]'"


def backend_named(name: str) -> Backend:
    """The kernels of `/device:CPU:*`. Raises ImportError where "llvm" cannot be had."""
    if name != "llvm":
        return CPU
    if lack := lacking(name):
        raise ImportError(lack)
    from .llvm.backend import LLVM
    from .llvm.compiling import compiler

    compiler()  # where this Python's arrays are others than it knows, it says so now, not in a step
    return LLVM
