"""Which backend the devices of a process have, by what `ConfigProto.backend` names."""

from __future__ import annotations

from importlib.util import find_spec

from .cpu import CPU
from .kernels import Backend


def backend_named(name: str) -> Backend:
    """The kernels of `/device:CPU:*`. Raises ImportError where what "llvm" needs is not installed."""
    if name != "llvm":
        return CPU
    if find_spec("llvmlite") is None:
        raise ImportError("backend='llvm' needs llvmlite: pip install 'weft[llvm]'")
    from .llvm import LLVM

    return LLVM
