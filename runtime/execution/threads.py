"""How many threads kernels may use in this process: weft's own, for BLAS is held to one.

Kernels cut their work into blocks by shapes alone and let each thread call BLAS for its blocks. With BLAS's own threads
results would depend on their number in the last bit; and for a while after each product these wait for the next one
without sleeping, on the cores that blocks of other kernels need.
"""

from __future__ import annotations

import os

import threadpoolctl

from ...graph.parallel import VARIABLES, limit_threads, threads, threads_wanted

_controller: threadpoolctl.ThreadpoolController | None = None
_asked = VARIABLES[0] in os.environ


def limit_kernel_threads(count: int) -> None:
    """Let kernels use `count` threads from now on, in the whole process, and BLAS one.

    0 leaves the number as it is, but for what the environment asks.
    """
    global _asked
    if not count and _asked:
        count = threads_wanted()
    _asked = False
    _known().limit(limits=1)
    if count > 0:
        limit_threads(count)


def kernel_threads() -> int:
    """How many threads kernels may use now."""
    return threads()


def _known() -> threadpoolctl.ThreadpoolController:
    global _controller
    if _controller is None:
        _controller = threadpoolctl.ThreadpoolController()
    return _controller
