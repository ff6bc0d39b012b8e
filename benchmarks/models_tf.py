"""The workloads in TensorFlow, through its version 1 interface. Only the peer's own environment has it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import models_graph
from workloads import Case

tf: Any = import_module("tensorflow.compat.v1")
tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)

VERSION = tf.__version__


def build(name: str, case: Case, mode: str, threads: int) -> Callable[..., Any]:
    """The step of a workload: a function from a batch to the loss."""
    return models_graph.build(tf, name, case, mode, threads)
