"""The same elements in another shape or order: reshape, expand_dims, squeeze, transpose."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims, normal_axis
from .constant import axes_tuple, known_dims, static_int
from .convert import convert_to_tensor, int_vector
from .sizes import shape


@op
class Reshape(Op):
    """The same elements in another shape; one dimension may be -1."""

    view = True

    def infer(self, x: TensorLike, shape: TensorLike) -> Spec:
        dims = known_dims(shape)
        if dims is None or not isinstance(shape.known, tuple):
            return Spec(x.dtype, dims)
        count, wanted = shapes.count(x.dims), shape.known
        if wanted.count(-1) > 1:
            raise ValueError(f"only one dimension may be -1, got {list(wanted)}")
        if wanted.count(None) == 1 and not {-1, 0} & {*wanted}:
            wanted = tuple(-1 if dim is None else dim for dim in wanted)  # the number of elements tells it
        if count is not None and None not in wanted:
            dims = _resolve(count, wanted)
        return Spec(x.dtype, dims, x.known if dims == x.dims else None)

    def compute(self, x: Any, shape: Any) -> Any:
        return x.reshape(shape.tolist())

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [like(dy, operation.inputs[0]), None]


def _resolve(count: int, wanted: tuple[int | None, ...]) -> Dims:
    """The wanted shape with its -1 filled in. Raises ValueError when the elements do not fit."""
    rest = 1
    for dim in wanted:
        rest *= 1 if dim in (-1, None) else dim or 0
    fits = rest != 0 and count % rest == 0 if -1 in wanted else count == rest
    if not fits and not (rest == 0 and count == 0):
        raise ValueError(f"Cannot reshape a tensor with {count} elements to shape {shapes.text(wanted)}")
    return tuple((count // rest if rest else 0) if dim == -1 else dim for dim in wanted)


@op
class ExpandDims(Op):
    """A dimension of 1 put in at an axis."""

    axis: int
    view = True

    def infer(self, x: TensorLike) -> Spec:
        if x.dims is None:
            return Spec(x.dtype, None)
        axis = normal_axis(self.axis, len(x.dims) + 1)
        known = (x.known,) if isinstance(x.known, int) else None
        return Spec(x.dtype, (*x.dims[:axis], 1, *x.dims[axis:]), known)

    def compute(self, x: Any) -> Any:
        return x[..., None] if self.axis in (-1, x.ndim) else np.expand_dims(x, self.axis)  # a tenth of the time

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [like(dy, operation.inputs[0])]


@op
class Squeeze(Op):
    """Dimensions of 1 taken out: those named, or all."""

    axes: tuple[int, ...] = ()
    view = True

    def infer(self, x: TensorLike) -> Spec:
        if x.dims is None:
            return Spec(x.dtype, None)
        if not self.axes:
            return Spec(x.dtype, None if None in x.dims else tuple(d for d in x.dims if d != 1))
        axes = {normal_axis(axis, len(x.dims)) for axis in self.axes}
        for axis in axes:
            if x.dims[axis] not in (None, 1):
                raise ValueError(f"Can not squeeze dim[{axis}], expected a dimension of 1, got {x.dims[axis]}")
        return Spec(x.dtype, tuple(d for axis, d in enumerate(x.dims) if axis not in axes))

    def compute(self, x: Any) -> Any:
        return np.squeeze(x, self.axes or None)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [like(dy, operation.inputs[0])]


@op
class Transpose(Op):
    """The dimensions in another order; `perm=None` reverses them."""

    perm: tuple[int, ...] | None = None
    view = True

    def infer(self, x: TensorLike) -> Spec:
        if x.dims is None:
            return Spec(x.dtype, None if self.perm is None else (None,) * len(self.perm))
        perm = self.perm if self.perm is not None else tuple(reversed(range(len(x.dims))))
        if sorted(perm) != list(range(len(x.dims))):
            raise ValueError(f"perm {list(perm)} is no permutation of the {len(x.dims)} dimensions")
        return Spec(x.dtype, tuple(x.dims[axis] for axis in perm))

    def compute(self, x: Any) -> Any:
        return np.transpose(x, self.perm)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        perm = self.perm
        return [Transpose(None if perm is None else tuple(perm.index(axis) for axis in range(len(perm))))(dy)]


def like(dy: Tensor, x: Tensor) -> Tensor:
    """`dy` reshaped to the shape of `x`."""
    return Reshape()(dy, shape(x))


def reshape(tensor: Any, shape: Any, name: str | None = None) -> Tensor:
    """The elements of `tensor` in `shape` (one dimension may be -1). Source: `tf.reshape`. Raises ValueError, TypeError."""
    return Reshape()(convert_to_tensor(tensor), int_vector(shape, "Reshape/shape"), name=name)


def expand_dims(input: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """A dimension of 1 put in at `axis` (static; `dim` is its old name). Source: `tf.expand_dims`."""
    return ExpandDims(static_int("axis", dim if axis is None else axis))(convert_to_tensor(input), name=name)


def squeeze(input: Any, axis: Any = None, name: str | None = None, squeeze_dims: Any = None) -> Tensor:
    """Dimensions of 1 taken out: those of `axis`, or all. Source: `tf.squeeze`."""
    return Squeeze(axes_tuple(squeeze_dims if axis is None else axis) or ())(convert_to_tensor(input), name=name)


def transpose(a: Any, perm: Any = None, name: str = "transpose", conjugate: bool = False) -> Tensor:
    """The dimensions in the order of `perm` (static; None reverses). Source: `tf.transpose`."""
    tensor = convert_to_tensor(a)
    if conjugate and tensor.dtype.is_complex:
        raise NotImplementedError("transpose(conjugate=True)")
    return Transpose(axes_tuple(perm, "perm"))(tensor, name=name)
