"""Reductions over axes: mean, product, extrema, all and any, and the positions of extrema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, as_dtype, int32, int64
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..record import record
from .arithmetic import FloorDiv, Masked, Mul, RealDiv, chain, number, numeric, real
from .broadcasting import KeptShape, Sum, reduced_dims, spread
from .cast import Cast
from .compare import Equal, logical
from .constant import axes_tuple, const, static_int
from .convert import convert_to_tensor
from .math import Maximum
from .reshaping import Reshape, like
from .row_sums import sum_over
from .scan import Cumprod
from .sizes import Size

Axes = tuple[int, ...] | None


@record
class Reduction(Op):
    """Base of reductions over some axes (None: all) to one element each."""

    axes: tuple[int, ...] | None = None
    keepdims: bool = False

    def infer(self, x: TensorLike) -> Spec:
        return Spec(self.result_dtype(x.dtype), reduced_dims(x.dims, self.axes, self.keepdims))

    def result_dtype(self, dtype: DType) -> DType:
        """The output's type. Raises TypeError for a type that the operation does not take."""
        return numeric(self.type, dtype)


@op
class Mean(Reduction):
    """The mean; of integers cut off to an integer."""

    def compute(self, x: Any) -> Any:
        x = np.asarray(x)
        narrow = x.dtype.itemsize == 2 and x.dtype.kind not in "iu"
        total = sum_over(x.astype(np.float32) if narrow else x, self.axes, self.keepdims)
        count = x.size // max(np.size(total), 1)
        if x.dtype.kind in "iu":
            return (np.sign(total) * (np.abs(total) // max(count, 1))).astype(x.dtype)
        with np.errstate(invalid="ignore"):  # the mean of nothing is nan
            return np.true_divide(total, np.array(count, total.dtype)).astype(x.dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs[0], operation.outputs[0]
        total = spread(dy, x, self.axes, self.keepdims)
        return [RealDiv()(total, _ratio(x, y))]


def _ratio(x: Tensor, y: Tensor) -> Tensor:
    """How many elements of x make one of y, in the type of x."""
    whole, parts = Size(int64)(x), Size(int64)(y)
    if isinstance(whole.known, int) and isinstance(parts.known, int):
        return number(whole.known // max(parts.known, 1), x)
    return Cast(x.dtype)(FloorDiv()(whole, Maximum()(parts, number(1, parts))))


@op
class Prod(Reduction):
    """The product."""

    def compute(self, x: Any) -> Any:
        return np.prod(x, axis=self.axes, keepdims=self.keepdims, dtype=np.asarray(x).dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        # The product of all other factors, without a division, so right where some are 0; one axis after the other.
        x = operation.inputs[0]
        if self.axes is None:
            flat, flat_dy = (Reshape()(tensor, const(np.array([-1], np.int32))) for tensor in (x, dy))
            return [like(_others(flat, flat_dy, 0), x)]
        partial = [x]
        for axis in self.axes[:-1]:
            partial.append(Prod((axis,), True)(partial[-1]))
        if not self.keepdims:
            dy = Reshape()(dy, KeptShape(self.axes)(x))
        for factors, axis in zip(reversed(partial), reversed(self.axes), strict=False):
            dy = _others(factors, dy, axis)
        return [dy]


def _others(x: Tensor, dy: Tensor, axis: int) -> Tensor:
    """The gradient of a product along one axis, which `dy` has as a dimension of 1: dy times all others."""
    return chain(dy, Mul()(Cumprod(axis, True)(x), Cumprod(axis, True, True)(x)))


@record
class Extreme(Reduction):
    """Base of Max and Min: equal extrema share the gradient."""

    def result_dtype(self, dtype: DType) -> DType:
        return real(self.type, dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs[0], operation.outputs[0]
        taken = Equal()(x, spread(y, x, self.axes, self.keepdims))
        count = Sum(self.axes, self.keepdims)(Cast(x.dtype)(taken))
        return [Masked()(taken, spread(RealDiv()(dy, count), x, self.axes, self.keepdims))]


@op
class Max(Extreme):
    """The largest element; -inf, or the smallest integer, of none."""

    def compute(self, x: Any) -> Any:
        x = np.asarray(x)
        lowest = as_dtype(x.dtype).min if x.dtype.kind in "iu" else -np.inf
        return np.max(x, axis=self.axes, keepdims=self.keepdims, initial=x.dtype.type(lowest))


@op
class Min(Extreme):
    """The smallest element; inf, or the largest integer, of none."""

    def compute(self, x: Any) -> Any:
        x = np.asarray(x)
        highest = as_dtype(x.dtype).max if x.dtype.kind in "iu" else np.inf
        return np.min(x, axis=self.axes, keepdims=self.keepdims, initial=x.dtype.type(highest))


@op
class All(Reduction):
    """Whether all are true."""

    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        return logical(self.type, dtype)

    def compute(self, x: Any) -> Any:
        return np.all(x, axis=self.axes, keepdims=self.keepdims)


@op
class Any_(Reduction):
    """Whether any is true."""

    type = "Any"
    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        return logical(self.type, dtype)

    def compute(self, x: Any) -> Any:
        return np.any(x, axis=self.axes, keepdims=self.keepdims)


@record
class Position(Op):
    """Base of ArgMax and ArgMin: where along an axis the extreme element is, of equal ones the first."""

    axis: int = 0
    output_type: DType = int64
    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        real(self.type, x.dtype)
        if self.output_type not in (int32, int64):
            raise TypeError(f"{self.type} gives int32 or int64, not {self.output_type.name}")
        return Spec(self.output_type, reduced_dims(x.dims, (self.axis,), False))

    def find(self, position: Callable[..., Any], x: Any) -> Any:
        """What `np.argmax` or `np.argmin` says, in the output's type."""
        x = np.asarray(x)
        if x.shape[self.axis] == 0:
            message = f"Reduction axis {self.axis} is empty in shape {shapes.text(x.shape)}"
            raise InvalidArgumentError(None, None, message)
        return np.asarray(position(x, axis=self.axis)).astype(self.output_type.np)


@op
class ArgMax(Position):
    """The position of the largest element along an axis."""

    def compute(self, x: Any) -> Any:
        return self.find(np.argmax, x)


@op
class ArgMin(Position):
    """The position of the smallest element along an axis."""

    def compute(self, x: Any) -> Any:
        return self.find(np.argmin, x)


# the public functions


def reduce_options(axis: Any, keepdims: bool | None, old_axis: Any, old_keepdims: bool | None) -> tuple[Axes, bool]:
    """Axes and keepdims, each under its name or TF1's older one. Raises ValueError when both are given."""
    if axis is not None and old_axis is not None:
        raise ValueError("Cannot specify both 'reduction_indices' and 'axis'.")
    if keepdims is not None and old_keepdims is not None:
        raise ValueError("Cannot specify both 'keep_dims' and 'keepdims'.")
    return axes_tuple(old_axis if axis is None else axis), bool(old_keepdims if keepdims is None else keepdims)


def reduce_mean(input_tensor: Any, axis: Any = None, keepdims: bool | None = None, name: str | None = None,
                reduction_indices: Any = None, keep_dims: bool | None = None) -> Tensor:  # fmt: skip
    """The mean over `axis` (an int, a list, None: all); of integers cut off to an integer.

    Source: `tf.reduce_mean`. Raises TypeError for other types, ValueError for an axis out of range.
    """
    axes, keep = reduce_options(axis, keepdims, reduction_indices, keep_dims)
    return Mean(axes, keep)(convert_to_tensor(input_tensor), name=name)


def reduce_prod(input_tensor: Any, axis: Any = None, keepdims: bool | None = None, name: str | None = None,
                reduction_indices: Any = None, keep_dims: bool | None = None) -> Tensor:  # fmt: skip
    """The product over `axis` (an int, a list, None: all).

    Source: `tf.reduce_prod`. Raises TypeError for other types, ValueError for an axis out of range.
    """
    axes, keep = reduce_options(axis, keepdims, reduction_indices, keep_dims)
    return Prod(axes, keep)(convert_to_tensor(input_tensor), name=name)


def reduce_max(input_tensor: Any, axis: Any = None, keepdims: bool | None = None, name: str | None = None,
               reduction_indices: Any = None, keep_dims: bool | None = None) -> Tensor:  # fmt: skip
    """The largest element over `axis` (an int, a list, None: all).

    Source: `tf.reduce_max`. Raises TypeError for other types, ValueError for an axis out of range.
    """
    axes, keep = reduce_options(axis, keepdims, reduction_indices, keep_dims)
    return Max(axes, keep)(convert_to_tensor(input_tensor), name=name)


def reduce_min(input_tensor: Any, axis: Any = None, keepdims: bool | None = None, name: str | None = None,
               reduction_indices: Any = None, keep_dims: bool | None = None) -> Tensor:  # fmt: skip
    """The smallest element over `axis` (an int, a list, None: all).

    Source: `tf.reduce_min`. Raises TypeError for other types, ValueError for an axis out of range.
    """
    axes, keep = reduce_options(axis, keepdims, reduction_indices, keep_dims)
    return Min(axes, keep)(convert_to_tensor(input_tensor), name=name)


def reduce_all(input_tensor: Any, axis: Any = None, keepdims: bool | None = None, name: str | None = None,
               reduction_indices: Any = None, keep_dims: bool | None = None) -> Tensor:  # fmt: skip
    """Whether all bools over `axis` (an int, a list, None: all) are true.

    Source: `tf.reduce_all`. Raises TypeError for other types, ValueError for an axis out of range.
    """
    axes, keep = reduce_options(axis, keepdims, reduction_indices, keep_dims)
    return All(axes, keep)(convert_to_tensor(input_tensor), name=name)


def reduce_any(input_tensor: Any, axis: Any = None, keepdims: bool | None = None, name: str | None = None,
               reduction_indices: Any = None, keep_dims: bool | None = None) -> Tensor:  # fmt: skip
    """Whether any bool over `axis` (an int, a list, None: all) is true.

    Source: `tf.reduce_any`. Raises TypeError for other types, ValueError for an axis out of range.
    """
    axes, keep = reduce_options(axis, keepdims, reduction_indices, keep_dims)
    return Any_(axes, keep)(convert_to_tensor(input_tensor), name=name)


def argmax(
    input: Any, axis: Any = None, name: str | None = None, dimension: Any = None, output_type: Any = int64
) -> Tensor:
    """The position of the largest element along `axis` (0 by default; `dimension` is its old name), of equal ones the first.

    Source: `tf.argmax`. Raises ValueError for an axis out of range; a run raises InvalidArgumentError for an empty axis.
    """
    return ArgMax(_one_axis(axis, dimension), as_dtype(output_type))(convert_to_tensor(input), name=name)


def argmin(
    input: Any, axis: Any = None, name: str | None = None, dimension: Any = None, output_type: Any = int64
) -> Tensor:
    """The position of the smallest element along `axis`; see `argmax`. Source: `tf.argmin`."""
    return ArgMin(_one_axis(axis, dimension), as_dtype(output_type))(convert_to_tensor(input), name=name)


def _one_axis(axis: Any, dimension: Any) -> int:
    if axis is not None and dimension is not None:
        raise ValueError("Cannot specify both 'dimension' and 'axis'.")
    given = dimension if axis is None else axis
    return 0 if given is None else static_int("axis", given)
