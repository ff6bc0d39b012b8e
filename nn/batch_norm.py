"""The batch normalization layer: what a batch is normalized by in training, and the moving averages that stand for it after."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..graph import context
from ..graph.collections import GraphKeys
from ..graph.dtypes import bfloat16, boolean, float16, float32
from ..graph.ir import Tensor, get_default_graph
from ..graph.ops.cast import cast
from ..graph.ops.constant import constant_value
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.fills import zeros_like
from ..graph.ops.math import maximum
from ..graph.ops.normalization import batch_normalization as normalize, moments
from ..graph.ops.reshaping import reshape
from ..graph.ops.selecting import where_v2
from ..graph.ops.sizes import size
from ..graph.shapes import normal_axis
from ..graph.variable_kinds import VariableAggregation, VariableSynchronization
from .initializer_classes import Ones, Zeros
from .variable_scope import get_variable, variable_scope

_ZEROS, _ONES = Zeros(), Ones()
#: Replicas of a strategy move their averages apart; outside of them these are the mean.
_ON_READ, _MEAN = VariableSynchronization.ON_READ, VariableAggregation.MEAN


def batch_normalization(
    inputs: Any, axis: Any = -1, momentum: float = 0.99, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
    beta_initializer: Any = _ZEROS, gamma_initializer: Any = _ONES, moving_mean_initializer: Any = _ZEROS,
    moving_variance_initializer: Any = _ONES, beta_regularizer: Any = None, gamma_regularizer: Any = None,
    beta_constraint: Any = None, gamma_constraint: Any = None, training: Any = False, trainable: bool = True,
    name: str | None = None, reuse: Any = None, renorm: bool = False, renorm_clipping: Any = None,
    renorm_momentum: float = 0.99, fused: bool | None = None, virtual_batch_size: int | None = None, adjustment: Any = None,
) -> Tensor:  # fmt: skip
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta for each index of `axis`, the channels.

    Mean and variance are the batch's while `training` (a bool, or a bool tensor), else their moving averages. What moves
    those is collected as UPDATE_OPS: run it with each training step. Images (rank 4, unless `fused` is False) count
    the variance of a batch corrected for its size into the average, as TensorFlow's fused kernel does. Variables
    `gamma`, `beta`, `moving_mean`, `moving_variance` in the scope `name` (by default `batch_normalization`, …), float32
    for 16-bit floats. Source: `tf.layers.batch_normalization`. Raises ValueError where the rank, the axis or the number
    of channels does not do, NotImplementedError for renormalization, virtual batches and adjustments.
    """
    if renorm or virtual_batch_size is not None or adjustment is not None:
        raise NotImplementedError("batch_normalization: renorm, virtual_batch_size and adjustment are not supported")
    x = convert_to_tensor(inputs)
    at, channels = _channels(x, axis)
    rank = len(x.dims or ())
    if fused and rank != 4:
        raise ValueError("Batch normalization layers with `fused=True` only support 4D input tensors.")
    with variable_scope(name, "batch_normalization", reuse=reuse):
        wide = cast(x, float32) if x.dtype in (float16, bfloat16) else x
        make = partial(_variable, [channels], wide.dtype, trainable=trainable)
        gamma = make("gamma", gamma_initializer, gamma_regularizer, gamma_constraint) if scale else None
        beta = make("beta", beta_initializer, beta_regularizer, beta_constraint) if center else None
        keep = partial(make, trainable=False, synchronization=_ON_READ, aggregation=_MEAN)
        averages = keep("moving_mean", moving_mean_initializer), keep("moving_variance", moving_variance_initializer)
        corrected = rank == 4 and fused is not False
        mean, variance = _statistics(wide, at, averages, training, momentum, corrected)
        along = [channels if dimension == at else 1 for dimension in range(rank)]
        mean, variance = reshape(mean, along), reshape(variance, along)
        beta, gamma = (part if part is None else reshape(part, along) for part in (beta, gamma))
        return cast(normalize(wide, mean, variance, beta, gamma, epsilon), x.dtype)


def _variable(
    shape: Any, dtype: Any, name: str, initializer: Any, regularizer: Any = None, constraint: Any = None, **kinds: Any
) -> Any:  # fmt: skip
    return get_variable(name, shape, dtype, initializer, regularizer, constraint=constraint, **kinds)


def _channels(x: Tensor, axis: Any) -> tuple[int, int]:
    """Which dimension the channels are, and how many there are."""
    if x.dims is None:
        raise ValueError("Input has undefined rank.")
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    if len(axes) != 1:
        raise NotImplementedError("batch_normalization over several axes: reshape them into one")
    at = normal_axis(int(axes[0]), len(x.dims))
    channels = x.dims[at]
    if channels is None:
        raise ValueError(f"Input has undefined `axis` dimension. Input shape: {x.shape}")
    return at, channels


def _statistics(
    x: Tensor, at: int, averages: tuple[Any, Any], training: Any, momentum: float, corrected: bool
) -> tuple[Tensor, Tensor]:
    """The mean and variance to normalize by; in training, what moves the averages is collected."""
    chosen = convert_to_tensor(training, boolean)
    known = constant_value(chosen)
    kept = convert_to_tensor(averages[0]), convert_to_tensor(averages[1])
    if known is not None and not known:
        return kept
    batch = moments(x, [dimension for dimension in range(len(x.dims or ())) if dimension != at])
    count = cast(size(x), x.dtype) / float((x.dims or ())[at] or 1)
    moved = (batch[0], batch[1] * (count / maximum(count - 1.0, 1.0)) if corrected else batch[1])
    for average, now, value in zip(averages, kept, moved, strict=True):
        step = (now - value) * (1.0 - momentum)  # of the value that is read for inference too: so that comes before
        step = step if known is not None else where_v2(chosen, step, zeros_like(step))
        update = average.assign_sub(step, read_value=False)
        if not context.executing_eagerly():
            get_default_graph().add_to_collection(GraphKeys.UPDATE_OPS, update)
    if known is not None:
        return batch
    return where_v2(chosen, batch[0], kept[0]), where_v2(chosen, batch[1], kept[1])
