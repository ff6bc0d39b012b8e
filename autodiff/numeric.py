"""Checking gradients against central differences, in a session: what a user calls as wf.test.compute_gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import context
from ..graph.ir import Tensor
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.fills import zeros_like
from ..graph.ops.placeholders import placeholder
from .gradients import gradients

Array = np.ndarray[Any, Any]


def compute_gradient(
    x: Any, x_shape: Any, y: Tensor, y_shape: Any, x_init_value: Any = None, delta: float = 1e-3,
    init_targets: Any = None, extra_feed_dict: Any = None,
) -> Any:  # fmt: skip
    """The Jacobian of `y` by `x`, as `gradients` gives it and as central differences do, in the default session.

    x: a tensor, or a list of them (then the shapes and initial values are lists, too, and so is the result); x_shape and
    y_shape: their shapes as lists of ints. x_init_value: where to differentiate, by default random values in [0, 1).
    delta: how far to move each element. init_targets: operations to run before. Returns a pair of arrays [elements of x,
    elements of y]; a complex element counts as two. Source: `tf.test.compute_gradient`. Raises ValueError without a
    default session.
    """
    session = context.get_default_session()
    if session is None:
        raise ValueError("compute_gradient needs a default session: use `with sess.as_default()`.")
    if init_targets is not None:
        session.run(init_targets)
    several = isinstance(x, (list, tuple))
    xs, shapes = (list(x), list(x_shape)) if several else ([x], [x_shape])
    initial = (x_init_value if several else [x_init_value]) if x_init_value is not None else [None] * len(xs)
    values = [_start(*given) for given in zip(xs, shapes, initial, strict=True)]
    feeds = {**(extra_feed_dict or {}), **dict(zip(xs, values, strict=True))}
    pairs = [
        (_by_gradients(session, tensor, y, y_shape, feeds), _by_differences(session, tensor, y, feeds, delta))
        for tensor in xs
    ]
    return pairs if several else pairs[0]


def compute_gradient_error(
    x: Any, x_shape: Any, y: Tensor, y_shape: Any, x_init_value: Any = None, delta: float = 1e-3,
    init_targets: Any = None, extra_feed_dict: Any = None,
) -> float:  # fmt: skip
    """The largest difference between the two Jacobians of `compute_gradient`. Source: `tf.test.compute_gradient_error`."""
    pairs = compute_gradient(x, x_shape, y, y_shape, x_init_value, delta, init_targets, extra_feed_dict)
    differences = [np.abs(exact - numeric) for exact, numeric in (pairs if isinstance(x, (list, tuple)) else [pairs])]
    return max((float(np.max(difference)) for difference in differences if difference.size), default=0.0)


def _start(x: Tensor, shape: Any, value: Any) -> Array:
    if value is None:
        value = np.random.default_rng(0).random(tuple(shape))
    array = np.array(value, x.dtype.np)
    if array.shape != tuple(shape):
        raise ValueError(f"the initial value of {x} has shape {array.shape}, not {tuple(shape)}")
    return array


def _reals(value: Any) -> Array:
    """The elements in a row, complex ones as their real and imaginary parts."""
    flat = np.array(value).reshape(-1)
    return flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat


def _by_gradients(session: Any, x: Tensor, y: Tensor, y_shape: Any, feeds: dict[Any, Any]) -> Array:
    """A column for each element of y: the gradient that starts from 1 there and 0 elsewhere."""
    dy = placeholder(y.dtype, y_shape)
    (grad,) = gradients(y, x, grad_ys=dy)
    fetch = zeros_like(x) if grad is None else convert_to_tensor(grad)
    seed = np.zeros(tuple(y_shape), y.dtype.np)
    parts = seed.reshape(-1).view(seed.real.dtype) if seed.dtype.kind == "c" else seed.reshape(-1)
    columns = []
    for index in range(parts.size):
        parts[index] = 1
        columns.append(_reals(session.run(fetch, {**feeds, dy: seed.copy()})))
        parts[index] = 0
    return np.stack(columns, axis=1) if columns else np.zeros((_reals(feeds[x]).size, 0), x.dtype.np)


def _by_differences(session: Any, x: Tensor, y: Tensor, feeds: dict[Any, Any], delta: float) -> Array:
    """A row for each element of x: how y changes as that element moves by delta to either side."""
    rows = []
    size = _reals(feeds[x]).size
    for index in range(size):
        sides = []
        for step in (delta, -delta):
            moved = feeds[x].copy().reshape(-1)
            parts = moved.view(moved.real.dtype) if moved.dtype.kind == "c" else moved
            parts[index] += step
            sides.append(_reals(session.run(y, {**feeds, x: moved.reshape(feeds[x].shape)})))
        rows.append((sides[0] - sides[1]) / (2 * delta))
    return np.stack(rows) if rows else np.zeros((0, _reals(session.run(y, feeds)).size), y.dtype.np)
