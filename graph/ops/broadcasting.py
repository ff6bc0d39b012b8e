"""Broadcasting and its adjoint, the sum."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import int32
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims, normal_axis
from .constant import axes_tuple, known_dims
from .convert import convert_to_tensor, int_vector
from .reshaping import ExpandDims, Reshape
from .row_sums import sum_over
from .sizes import shape


@op
class BroadcastTo(Op):
    """A tensor repeated along its dimensions of 1 (and new leading ones) to a shape."""

    view = True

    def infer(self, x: TensorLike, shape: TensorLike) -> Spec:
        dims = known_dims(shape)
        if dims is not None and x.dims is not None and len(x.dims) > len(dims):
            raise ValueError(f"cannot broadcast {shapes.text(x.dims)} to the lower rank {shapes.text(dims)}")
        if shapes.is_full(dims) and shapes.is_full(x.dims) and shapes.broadcast(x.dims, dims) != dims:
            raise ValueError(f"cannot broadcast {shapes.text(x.dims)} to {shapes.text(dims)}")
        return Spec(x.dtype, dims)

    def compute(self, x: Any, shape: Any) -> Any:
        return np.broadcast_to(x, tuple(shape))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [sum_to(dy, operation.inputs[0]), None]


@op
class Sum(Op):
    """The sum over some axes (None: all)."""

    axes: tuple[int, ...] | None = None
    keepdims: bool = False

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, reduced_dims(x.dims, self.axes, self.keepdims))

    def compute(self, x: Any) -> Any:
        return sum_over(x, self.axes, self.keepdims)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [spread(dy, operation.inputs[0], self.axes, self.keepdims)]


@op
class SumTo(Op):
    """The adjoint of broadcasting: summed down to a shape that broadcasts to the input's."""

    def infer(self, x: TensorLike, shape: TensorLike) -> Spec:
        dims = known_dims(shape)
        if shapes.is_full(x.dims) and shapes.is_full(dims) and not shapes.broadcasts_to(dims, x.dims):
            raise ValueError(_no_gradient_of(x.dims, dims))
        return Spec(x.dtype, dims)

    def compute(self, x: Any, shape: Any) -> Any:
        dims = tuple(shape.tolist())
        if not shapes.broadcasts_to(dims, np.shape(x)):
            raise InvalidArgumentError(None, None, _no_gradient_of(np.shape(x), dims))
        lead = np.ndim(x) - len(shape)
        axes = (*range(lead), *(lead + i for i, d in enumerate(shape) if d == 1 and np.shape(x)[lead + i] != 1))
        if not axes:
            return np.array(x)  # np.sum would make 0.0 of -0.0
        return sum_over(x, axes).reshape(dims)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [BroadcastTo()(dy, shape(operation.inputs[0])), None]


def _no_gradient_of(given: Dims, wanted: Dims) -> str:
    return (
        "Incompatible shapes between op input and calculated input gradient: "
        f"{shapes.text(wanted)} does not broadcast to {shapes.text(given)}"
    )


@op
class KeptShape(Op):
    """The shape of a tensor with the axes of a reduction set to 1 (for tensors of unknown rank)."""

    axes: tuple[int, ...]
    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(int32, (None if x.dims is None else len(x.dims),), reduced_dims(x.dims, self.axes, True))

    def compute(self, x: Any) -> Any:
        return np.array(reduced_dims(np.shape(x), self.axes, True), np.int32)


def reduced_dims(dims: Dims, axes: tuple[int, ...] | None, keepdims: bool) -> Dims:
    """The shape after a reduction. Raises ValueError for an axis out of range."""
    if dims is None:
        return () if axes is None and not keepdims else None
    gone = set(range(len(dims))) if axes is None else {normal_axis(axis, len(dims)) for axis in axes}
    if keepdims:
        return tuple(1 if axis in gone else d for axis, d in enumerate(dims))
    return tuple(d for axis, d in enumerate(dims) if axis not in gone)


def spread(dy: Tensor, x: Tensor, axes: tuple[int, ...] | None, keepdims: bool) -> Tensor:
    """What a reduction of `x` over `axes` gave, or its gradient, repeated to the shape of `x`."""
    if not keepdims and axes is not None and x.dims is not None:
        for axis in sorted(normal_axis(axis, len(x.dims)) for axis in axes):
            dy = ExpandDims(axis)(dy)
    elif not keepdims and axes is not None:
        dy = Reshape()(dy, KeptShape(axes)(x))
    return BroadcastTo()(dy, shape(x))


def sum_to(dy: Tensor, x: Tensor) -> Tensor:
    """A gradient of a broadcast `x` summed down to the shape of `x`; nothing is added when the shapes are known to agree."""
    if dy.dims == x.dims and shapes.is_full(x.dims):
        return dy
    return SumTo()(dy, shape(x))


def broadcast_to(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """`input` repeated to `shape` by NumPy's rule. Source: `tf.broadcast_to`."""
    return BroadcastTo()(convert_to_tensor(input), int_vector(shape), name=name)


def reduce_sum(input_tensor: Any, axis: Any = None, keepdims: bool | None = None, name: str | None = None,
               reduction_indices: Any = None, keep_dims: bool | None = None) -> Tensor:  # fmt: skip
    """The sum over `axis` (an int, a list, None: all). Source: `tf.reduce_sum`; the last two are TF1's old names."""
    axes = axes_tuple(reduction_indices if axis is None else axis)
    return Sum(axes, bool(keep_dims if keepdims is None else keepdims))(convert_to_tensor(input_tensor), name=name)
