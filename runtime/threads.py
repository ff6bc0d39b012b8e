"""How many threads kernels may use in this process, BLAS's and weft's own: one setting, for one set of cores.

With BLAS, results depend on it in the last bit.
"""

from __future__ import annotations

import os

import threadpoolctl

from ..graph.parallel import VARIABLES, limit_threads, threads_wanted

_controller: threadpoolctl.ThreadpoolController | None = None
#: BLAS reads the other variables itself.
_asked = VARIABLES[0] in os.environ


def limit_kernel_threads(count: int) -> None:
    """Let kernels use `count` threads from now on, in the whole process; 0 changes nothing, but for what the environment asks."""
    global _asked
    if not count and _asked:
        count = threads_wanted()
    _asked = False
    if count > 0:
        _known().limit(limits=count)
        limit_threads(count)


def kernel_threads() -> int:
    """How many threads BLAS uses now; 0 where it does not say."""
    return max((library["num_threads"] for library in _known().info() if library["user_api"] == "blas"), default=0)


def _known() -> threadpoolctl.ThreadpoolController:
    global _controller
    if _controller is None:
        _controller = threadpoolctl.ThreadpoolController()
    return _controller
