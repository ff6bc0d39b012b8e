"""How many threads BLAS may use in this process: one setting, because results depend on it in the last bit."""

from __future__ import annotations

import threadpoolctl

_controller: threadpoolctl.ThreadpoolController | None = None


def limit_kernel_threads(count: int) -> None:
    """Let kernels use `count` threads from now on, in the whole process; 0 changes nothing."""
    if count > 0:
        _known().limit(limits=count)


def kernel_threads() -> int:
    """How many threads BLAS uses now; 0 where it does not say."""
    return max((library["num_threads"] for library in _known().info() if library["user_api"] == "blas"), default=0)


def _known() -> threadpoolctl.ThreadpoolController:
    global _controller
    if _controller is None:
        _controller = threadpoolctl.ThreadpoolController()
    return _controller
