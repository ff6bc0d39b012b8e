"""Layers as functions that make their own variables: dense, conv2d, pooling, flatten, dropout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..graph.dtypes import boolean
from ..graph.ir import Tensor
from ..graph.ops.activations import bias_add
from ..graph.ops.constant import constant_value
from ..graph.ops.conv import conv2d as convolve
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.dropout import dropout as drop
from ..graph.ops.identity import identity
from ..graph.ops.linalg import matmul, tensordot
from ..graph.ops.pooling import avg_pool, max_pool
from ..graph.ops.reshaping import reshape
from ..graph.ops.selecting import where_v2
from .initializer_classes import Zeros
from .regularization import collect_activity
from .variable_scope import get_variable, variable_scope

_ZEROS = Zeros()

Activation = Callable[[Tensor], Any] | None


def dense(
    inputs: Any, units: int, activation: Activation = None, use_bias: bool = True, kernel_initializer: Any = None,
    bias_initializer: Any = _ZEROS, kernel_regularizer: Any = None, bias_regularizer: Any = None,
    activity_regularizer: Any = None, kernel_constraint: Any = None, bias_constraint: Any = None, trainable: bool = True,
    name: str | None = None, reuse: Any = None,
) -> Any:  # fmt: skip
    """activation(inputs @ kernel + bias) along the last dimension: shape [..., n] becomes [..., units].

    Variables `kernel` [n, units] and `bias` [units] in the scope `name` (by default `dense`, `dense_1`, …).
    Source: `tf.layers.dense`. Raises ValueError when the last dimension is not known.
    """
    x = convert_to_tensor(inputs)
    last = None if not x.dims else x.dims[-1]
    if last is None or x.dims is None:
        raise ValueError("The last dimension of the inputs to `Dense` should be defined. Found `None`.")
    with variable_scope(name, "dense", reuse=reuse):
        kernel = get_variable(
            "kernel", [last, units], x.dtype, kernel_initializer, kernel_regularizer, trainable, constraint=kernel_constraint
        )  # fmt: skip
        outputs = matmul(x, kernel) if len(x.dims) == 2 else tensordot(x, kernel, [[len(x.dims) - 1], [0]])
        if use_bias:
            bias = get_variable(
                "bias", [units], x.dtype, bias_initializer, bias_regularizer, trainable, constraint=bias_constraint
            )
            outputs = bias_add(outputs, bias)
        return _finished(outputs, activation, activity_regularizer)


def conv2d(
    inputs: Any, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "valid",
    data_format: str = "channels_last", dilation_rate: Any = (1, 1), activation: Activation = None, use_bias: bool = True,
    kernel_initializer: Any = None, bias_initializer: Any = _ZEROS, kernel_regularizer: Any = None,
    bias_regularizer: Any = None, activity_regularizer: Any = None, kernel_constraint: Any = None,
    bias_constraint: Any = None, trainable: bool = True, name: str | None = None, reuse: Any = None,
) -> Any:  # fmt: skip
    """activation(convolution + bias) of images [N, H, W, C] (`channels_first`: [N, C, H, W]).

    Variables `kernel` [kh, kw, C, filters] and `bias` [filters] in the scope `name` (by default `conv2d`, `conv2d_1`, …).
    Source: `tf.layers.conv2d`. Raises ValueError when the number of channels is not known.
    """
    x = convert_to_tensor(inputs)
    layout = _layout(data_format)
    channels = None if x.dims is None or len(x.dims) != 4 else x.dims[layout.index("C")]
    if channels is None:
        raise ValueError("The channel dimension of the inputs should be defined. Found `None`.")
    with variable_scope(name, "conv2d", reuse=reuse):
        kernel = get_variable(
            "kernel", [*_pair("kernel_size", kernel_size), channels, filters], x.dtype, kernel_initializer,
            kernel_regularizer, trainable, constraint=kernel_constraint,
        )  # fmt: skip
        outputs = convolve(
            x, kernel, _window("strides", strides, layout), padding.upper(), data_format=layout,
            dilations=_window("dilation_rate", dilation_rate, layout), name="Conv2D",
        )  # fmt: skip
        if use_bias:
            bias = get_variable(
                "bias", [filters], x.dtype, bias_initializer, bias_regularizer, trainable, constraint=bias_constraint
            )
            outputs = bias_add(outputs, bias, layout)
        return _finished(outputs, activation, activity_regularizer)


def _finished(outputs: Tensor, activation: Activation, activity_regularizer: Any) -> Any:
    result = outputs if activation is None else activation(outputs)
    if activity_regularizer is not None:
        collect_activity(activity_regularizer, result)
    return result


def _layout(data_format: str) -> str:
    layouts = {"channels_last": "NHWC", "channels_first": "NCHW"}
    if data_format.lower() not in layouts:
        raise ValueError(
            f"The `data_format` argument must be one of 'channels_first', 'channels_last'. Got {data_format}"
        )
    return layouts[data_format.lower()]


def _pair(what: str, value: Any) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2:
        raise ValueError(f"The `{what}` argument must be a tuple of 2 integers. Received: {value}")
    return int(pair[0]), int(pair[1])


def _window(what: str, value: Any, layout: str) -> list[int]:
    """A height and a width as one number a dimension."""
    height, width = _pair(what, value)
    return [{"H": height, "W": width}.get(dimension, 1) for dimension in layout]


def max_pooling2d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """The maximum of windows of images [N, H, W, C]. Source: `tf.layers.max_pooling2d`."""
    layout = _layout(data_format)
    sizes, steps = _window("pool_size", pool_size, layout), _window("strides", strides, layout)
    return max_pool(inputs, sizes, steps, padding.upper(), layout, name or "max_pooling2d")


def average_pooling2d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """The mean of windows of images [N, H, W, C]. Source: `tf.layers.average_pooling2d`."""
    layout = _layout(data_format)
    sizes, steps = _window("pool_size", pool_size, layout), _window("strides", strides, layout)
    return avg_pool(inputs, sizes, steps, padding.upper(), layout, name or "average_pooling2d")


def flatten(inputs: Any, name: str | None = None, data_format: str = "channels_last") -> Tensor:
    """All dimensions but the first as one: [N, ...] becomes [N, n]. Source: `tf.layers.flatten`.

    Raises ValueError when a dimension but the first is not known: the layer above could not make its weights.
    """
    x = convert_to_tensor(inputs)
    _layout(data_format)
    if x.dims is None or None in x.dims[1:]:
        raise ValueError(f"The dimensions of the inputs to `flatten` but the first should be defined. Found {x.shape}.")
    size = math.prod(d for d in x.dims[1:] if d is not None)
    # With no elements in a row, -1 would say nothing of their number.
    return reshape(x, [-1 if size else x.dims[0], size], name=name or "flatten")


def dropout(
    inputs: Any, rate: Any = 0.5, noise_shape: Any = None, seed: int | None = None, training: Any = False,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Elements set to 0 with probability `rate`, the others scaled up, while `training` (a bool, or a bool tensor).

    Source: `tf.layers.dropout`.
    """
    x = convert_to_tensor(inputs)
    chosen = convert_to_tensor(training, boolean)
    known = constant_value(chosen)
    if known is not None:
        return drop(x, noise_shape=noise_shape, seed=seed, rate=rate, name=name or "dropout") if known else identity(x)
    return where_v2(chosen, drop(x, noise_shape=noise_shape, seed=seed, rate=rate, name=name or "dropout"), x)
