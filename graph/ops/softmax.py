"""Softmax and its logarithm along any axis, without overflow."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..record import record
from ..shapes import normal_axis
from .arithmetic import Mul, Sub, floating
from .broadcasting import Sum
from .constant import static_int
from .convert import convert_to_tensor
from .row_sums import sum_in_rows
from .transcendental import Exp

#: Rows of so many numbers are worth turning around to find the largest ones.
NARROW = 32


@record
class AlongAxis(Op):
    """Base: floats of the same shape, worked on along one axis."""

    axis: int = -1

    def infer(self, logits: TensorLike) -> Spec:
        if logits.dims == ():
            raise ValueError("Shape must be at least rank 1 but is rank 0")
        if logits.dims is not None:
            normal_axis(self.axis, len(logits.dims))
        return Spec(floating(self.type, logits.dtype), logits.dims)


@op
class Softmax(AlongAxis):
    """exp(logits), divided by the sum of that along the axis."""

    def compute(self, logits: Any) -> Any:
        _, exponentials, total = parts(logits, self.axis)
        return np.divide(exponentials, total, out=exponentials).astype(logits.dtype, copy=False)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [through_softmax(dy, operation.outputs[0], self.axis)]


@op
class LogSoftmax(AlongAxis):
    """logits minus the logarithm of the sum of exp(logits) along the axis."""

    def compute(self, logits: Any) -> Any:
        shifted, _, total = parts(logits, self.axis)
        return np.subtract(shifted, np.log(total), out=shifted).astype(logits.dtype, copy=False)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [Sub()(dy, Mul()(Sum((self.axis,), True)(dy), Exp()(operation.outputs[0])))]


def parts(logits: Any, axis: int) -> tuple[Any, Any, Any]:
    """logits less their maximum along the axis, exp of that, and its sum; 16-bit types are computed in float32."""
    if logits.shape[axis] == 0:
        empty = np.zeros(logits.shape, np.float32 if logits.dtype.itemsize == 2 else logits.dtype)
        return empty, empty.copy(), np.ones((), empty.dtype)
    wide = logits.astype(np.float32) if logits.dtype.itemsize == 2 else logits
    shifted = np.subtract(wide, largest(wide, axis))
    exponentials = np.exp(shifted)
    if axis % wide.ndim < wide.ndim - 1:
        return shifted, exponentials, np.add.reduce(exponentials, axis, keepdims=True)
    return shifted, exponentials, sum_in_rows(exponentials).reshape(*wide.shape[:-1], 1)


def largest(x: Any, axis: int) -> Any:
    """The largest element along an axis, which stays with a length of 1. Short rows are turned: NumPy is slow on them."""
    if x.ndim != 2 or axis % 2 == 0 or x.shape[1] > NARROW:
        return np.maximum.reduce(x, axis, keepdims=True)
    return np.maximum.reduce(np.ascontiguousarray(x.T), 0)[:, None]


def through_softmax(dy: Tensor, y: Tensor, axis: int) -> Tensor:
    """The gradient of softmax's input, from its output `y` and that one's gradient."""
    return Mul()(Sub()(dy, Sum((axis,), True)(Mul()(dy, y))), y)


def softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """exp(logits) / sum of it along `axis` (static, by default the last). Source: `tf.nn.softmax`.

    Raises ValueError for a scalar or an axis out of range, TypeError for what are no floats.
    """
    return Softmax(_axis(axis, dim))(convert_to_tensor(logits), name=name)


def log_softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """log(softmax(logits)) along `axis`, without overflow. Source: `tf.nn.log_softmax`. Raises as `softmax`."""
    return LogSoftmax(_axis(axis, dim))(convert_to_tensor(logits), name=name)


def _axis(axis: Any, dim: Any) -> int:
    if axis is not None and dim is not None:
        raise ValueError("Cannot specify both 'axis' and 'dim'.")
    given = dim if axis is None else axis
    return -1 if given is None else static_int("axis", given)
