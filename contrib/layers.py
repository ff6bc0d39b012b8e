"""`wf.contrib.layers`: the layers, initializers and regularizers of `tf.contrib.layers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..graph.collections import GraphKeys
from ..graph.dtypes import as_dtype, float32
from ..graph.ir import Tensor, get_default_graph
from ..graph.ops.arithmetic import add_n
from ..graph.ops.constant import constant
from ..nn.initializer_classes import TRUNCATED_STDDEV, VarianceScaling
from ..nn.regularization import l1_regularizer as l1_regularizer, l2_regularizer as l2_regularizer
from .layer_functions import (
    conv2d as conv2d,
    flatten as flatten,
    fully_connected as fully_connected,
    max_pool2d as max_pool2d,
)

Regularizer = Callable[[Any], Any]


def xavier_initializer(uniform: bool = True, seed: int | None = None, dtype: Any = float32) -> VarianceScaling:
    """Random weights of variance 2 / (inputs + outputs), uniform or truncated normal.

    Source: `tf.contrib.layers.xavier_initializer` (Glorot and Bengio). Raises TypeError for other than floating-point types.
    """
    return variance_scaling_initializer(1.0, "FAN_AVG", uniform, seed, dtype)


xavier_initializer_conv2d = xavier_initializer
convolution2d = conv2d


def variance_scaling_initializer(
    factor: float = 2.0, mode: str = "FAN_IN", uniform: bool = False, seed: int | None = None, dtype: Any = float32
) -> VarianceScaling:
    """Random weights of variance factor / n, n being the inputs of a unit (FAN_IN), its outputs (FAN_OUT) or their mean.

    Uniform, or normal within two standard deviations of sqrt(1.3 factor / n). Source:
    `tf.contrib.layers.variance_scaling_initializer`. Raises TypeError for another mode and for other than floating-point
    types.
    """
    if not as_dtype(dtype).is_floating:
        raise TypeError("Cannot create initializer for non-floating point type.")
    if mode not in ("FAN_IN", "FAN_OUT", "FAN_AVG"):
        raise TypeError(f"Unknown mode {mode} [FAN_IN, FAN_OUT, FAN_AVG]")
    if uniform:
        return VarianceScaling(factor, mode.lower(), "uniform", seed, dtype)
    return VarianceScaling(1.3 * TRUNCATED_STDDEV**2 * factor, mode.lower(), "truncated_normal", seed, dtype)


def l1_l2_regularizer(scale_l1: float = 1.0, scale_l2: float = 1.0, scope: str | None = None) -> Regularizer:
    """The sum of both regularizers. Source: `tf.contrib.layers.l1_l2_regularizer`. Raises ValueError as they do."""
    name = scope or "l1_l2_regularizer"
    return sum_regularizer([l1_regularizer(scale_l1), l2_regularizer(scale_l2)], name)


def sum_regularizer(regularizer_list: Sequence[Regularizer | None], scope: str | None = None) -> Regularizer:
    """The sum of some regularizers, of which None does not count; its loss is None where none of them gives one.

    Source: `tf.contrib.layers.sum_regularizer`.
    """

    def total(weights: Any) -> Any:
        found = [regularizer(weights) for regularizer in regularizer_list if regularizer is not None]
        losses = [loss for loss in found if loss is not None]
        return add_n(losses, name=scope or "sum_regularizer") if losses else None

    return total


def apply_regularization(regularizer: Regularizer, weights_list: Sequence[Any] | None = None) -> Tensor:
    """The sum of a regularizer's losses on some weights (by default on the collection WEIGHTS), which is collected too.

    Source: `tf.contrib.layers.apply_regularization`.
    """
    graph = get_default_graph()
    weights = graph.get_collection(GraphKeys.WEIGHTS) if weights_list is None else weights_list
    losses = [loss for loss in map(regularizer, weights) if loss is not None]
    total = add_n(losses) if losses else constant(0.0)
    graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, total)
    return total
