"""How many threads kernels may use in this process: weft's own, for BLAS is held to one.

Kernels cut their work into blocks by shapes alone and let each thread call BLAS for its blocks. With BLAS's own threads
results would depend on their number in the last bit; and for a while after each product these wait for the next one
without sleeping, on the cores that blocks of other kernels need.
"""

from __future__ import annotations

import os

import threadpoolctl

from ..graph import errors
from ..graph.parallel import VARIABLES, limit_threads, threads, threads_wanted

_controller: threadpoolctl.ThreadpoolController | None = None
_asked = VARIABLES[0] in os.environ


def limit_kernel_threads(count: int) -> None:
    """Let kernels use `count` threads from now on, in the whole process, and BLAS one.

    0 leaves the number as it is, but for what the environment asks. Raises FailedPreconditionError where that is no number.
    """
    global _asked
    if not count and _asked:
        count = _asked_for()
    _asked = False
    _known().limit(limits=1)
    if count > 0:
        limit_threads(count)


def _asked_for() -> int:
    """What the environment asks for. Others' variables may say what they like, but ours is meant for weft."""
    text = os.environ.get(VARIABLES[0], "")
    if text and not text.strip().isdecimal():
        text = f"{VARIABLES[0]} must be a number of threads, got '{text}'"
        raise errors.FailedPreconditionError(None, None, text)
    return threads_wanted()


def kernel_threads() -> int:
    """How many threads kernels may use now."""
    return threads()


def _known() -> threadpoolctl.ThreadpoolController:
    global _controller
    if _controller is None:
        _controller = threadpoolctl.ThreadpoolController()
    return _controller
