"""Checking gradients against central differences, in a session: what a user calls as wf.test.compute_gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import context
from ..graph.ir import Tensor
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.fills import zeros_like
from ..graph.ops.placeholders import placeholder
from ..graph.variable import Variable
from .gradients import gradients

Array = np.ndarray[Any, Any]


def compute_gradient(
    x: Any, x_shape: Any, y: Tensor, y_shape: Any, x_init_value: Any = None, delta: float = 1e-3,
    init_targets: Any = None, extra_feed_dict: Any = None,
) -> Any:  # fmt: skip
    """The Jacobian of `y` by `x`, as `gradients` gives it and as central differences do, in the default session.

    x: a tensor or a variable, or a list of them (then the shapes and initial values are lists, too, and so is the result);
    x_shape and y_shape: their shapes as lists of ints. x_init_value: where to differentiate, by default random values in
    [0, 1); a tensor is fed, a variable assigned, and has its own value again afterwards. delta: how far to move each
    element. init_targets: operations to run before. Returns a pair of arrays [elements of x, elements of y], zeros where
    the gradient is None; a complex element counts as two. Source: `tf.test.compute_gradient`. Raises ValueError without a
    default session and for values of other shapes, TypeError for types that have no gradient.
    """
    session = context.get_default_session()
    if session is None:
        raise ValueError("compute_gradient needs a default session: use `with sess.as_default()`.")
    if init_targets is not None:
        session.run(init_targets)
    several = isinstance(x, (list, tuple))
    xs, shapes = (list(x), list(x_shape)) if several else ([x], [x_shape])
    initial = (list(x_init_value) if several else [x_init_value]) if x_init_value is not None else [None] * len(xs)
    if not len(xs) == len(shapes) == len(initial):
        raise ValueError(f"{len(xs)} xs, but {len(shapes)} shapes and {len(initial)} initial values")
    for tensor in (*xs, y):
        if not (tensor.dtype.is_floating or tensor.dtype.is_complex):
            raise TypeError(
                f"{tensor} is {tensor.dtype.name}, and only floating-point and complex numbers have gradients"
            )
    point = _Point(session, [_start(*given) for given in zip(xs, shapes, initial, strict=True)], xs, extra_feed_dict)
    with point:
        pairs = [(_by_gradients(point, each, y, y_shape), _by_differences(point, each, y, delta)) for each in xs]
    return pairs if several else pairs[0]


class _Point:
    """Where to differentiate: a value for each x, which is fed or, for a variable, assigned."""

    def __init__(self, session: Any, values: list[Array], xs: list[Any], feeds: dict[Any, Any] | None) -> None:
        self.session = session
        self.values = dict(zip(xs, values, strict=True))
        self.feeds = feeds or {}
        self.before: dict[Variable, Any] = {}

    def __enter__(self) -> _Point:
        self.before = {x: self.session.run(x) for x in self.values if isinstance(x, Variable)}
        return self

    def __exit__(self, *_: object) -> None:
        for variable, value in self.before.items():
            variable.load(value, self.session)

    def run(self, fetch: Any, changes: dict[Any, Any] | None = None) -> Any:
        """The value of a tensor at the point, but for what is to be different."""
        feeds = {**self.feeds, **self.values, **(changes or {})}
        for variable in self.before:
            variable.load(feeds.pop(variable), self.session)
        return self.session.run(fetch, feeds)


def compute_gradient_error(
    x: Any, x_shape: Any, y: Tensor, y_shape: Any, x_init_value: Any = None, delta: float = 1e-3,
    init_targets: Any = None, extra_feed_dict: Any = None,
) -> float:  # fmt: skip
    """The largest difference between the two Jacobians of `compute_gradient`. Source: `tf.test.compute_gradient_error`."""
    pairs = compute_gradient(x, x_shape, y, y_shape, x_init_value, delta, init_targets, extra_feed_dict)
    differences = [np.abs(exact - numeric) for exact, numeric in (pairs if isinstance(x, (list, tuple)) else [pairs])]
    return float(np.max([0.0, *(np.max(difference) for difference in differences if difference.size)]))


def _start(x: Any, shape: Any, value: Any) -> Array:
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


def _by_gradients(point: _Point, x: Any, y: Tensor, y_shape: Any) -> Array:
    """A column for each element of y: the gradient that starts from 1 there and 0 elsewhere."""
    dy = placeholder(y.dtype, y_shape)
    (grad,) = gradients(y, x, grad_ys=dy)
    fetch = zeros_like(x) if grad is None else convert_to_tensor(grad)
    seed = np.zeros(tuple(y_shape), y.dtype.np)
    parts = seed.reshape(-1).view(seed.real.dtype) if seed.dtype.kind == "c" else seed.reshape(-1)
    columns = []
    for index in range(parts.size):
        parts[index] = 1
        columns.append(_reals(point.run(fetch, {dy: seed.copy()})))
        parts[index] = 0
    return np.stack(columns, axis=1) if columns else np.zeros((_reals(point.values[x]).size, 0), x.dtype.np)


def _by_differences(point: _Point, x: Any, y: Tensor, delta: float) -> Array:
    """A row for each element of x: how y changes as that element moves by delta to either side."""
    rows = []
    value = point.values[x]
    for index in range(_reals(value).size):
        sides = []
        for step in (delta, -delta):
            moved = value.copy().reshape(-1)
            parts = moved.view(moved.real.dtype) if moved.dtype.kind == "c" else moved
            parts[index] += step
            sides.append(_reals(point.run(y, {x: moved.reshape(value.shape)})))
        rows.append((sides[0] - sides[1]) / (2 * delta))
    return np.stack(rows) if rows else np.zeros((0, _reals(point.run(y)).size), y.dtype.np)
