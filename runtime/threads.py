"""How many threads BLAS may use in this process: one setting, because results depend on it in the last bit."""

from __future__ import annotations

import threadpoolctl

_controller: threadpoolctl.ThreadpoolController | None = None


def limit_kernel_threads(count: int) -> None:
    """Let kernels use `count` threads from now on, in the whole process; 0 changes nothing."""
    global _controller
    if count <= 0:
        return
    if _controller is None:
        _controller = threadpoolctl.ThreadpoolController()
    _controller.limit(limits=count)
