"""The workloads in weft."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import models_graph
import weft as wf
from workloads import Case

VERSION = wf.__version__


def build(name: str, case: Case, mode: str, threads: int) -> Callable[..., Any]:
    """The step of a workload: a function from a batch to the loss."""
    options = {"backend": mode} if mode in ("xla", "llvm") else {}
    return models_graph.build(wf, name, case, mode, threads, **options)
