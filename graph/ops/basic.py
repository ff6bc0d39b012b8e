"""The operations everything else leans on: identity, shape questions, reshapes, fills, broadcasting and its adjoint, sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, as_dtype, int32
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .constant import const, constant_value, convert_to_tensor, int_vector, known_dims, normal_axis


@op
class Identity(Op):
    """The input itself."""

    view = True
    passes_slices = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, x.dims, x.known)

    def compute(self, x: Any) -> Any:
        return x

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [dy]


@op
class StopGradient(Op):
    """The input itself, through which no gradient flows."""

    view = True
    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, x.dims, x.known)

    def compute(self, x: Any) -> Any:
        return x


@op
class NoOp(Op):
    """Nothing: something to hang control dependencies on."""

    stateful = True

    def infer(self) -> tuple[Spec, ...]:
        return ()

    def compute(self, state: Any) -> None:
        return None


@op
class Shape(Op):
    """The shape of a tensor, as a vector."""

    out_type: DType = int32
    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(self.out_type, (None if x.dims is None else len(x.dims),), x.dims)

    def compute(self, x: Any) -> Any:
        return np.array(np.shape(x), self.out_type.np)


@op
class Size(Op):
    """The number of elements of a tensor."""

    out_type: DType = int32
    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(self.out_type, (), shapes.count(x.dims))

    def compute(self, x: Any) -> Any:
        return np.array(np.size(x), self.out_type.np)


@op
class Rank(Op):
    """The number of dimensions of a tensor."""

    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(int32, (), None if x.dims is None else len(x.dims))

    def compute(self, x: Any) -> Any:
        return np.array(np.ndim(x), np.int32)


@op
class Reshape(Op):
    """The same elements in another shape; one dimension may be -1."""

    view = True

    def infer(self, x: TensorLike, shape: TensorLike) -> Spec:
        dims = known_dims(shape)
        if dims is None or not isinstance(shape.known, tuple):
            return Spec(x.dtype, dims)
        count = shapes.count(x.dims)
        if shape.known.count(-1) > 1:
            raise ValueError(f"only one dimension may be -1, got {list(shape.known)}")
        if count is not None and None not in shape.known:
            dims = _resolve(count, shape.known)
        return Spec(x.dtype, dims, x.known if dims == x.dims else None)

    def compute(self, x: Any, shape: Any) -> Any:
        return np.reshape(x, shape)

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
        return np.expand_dims(x, self.axis)

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


@op
class Fill(Op):
    """A tensor of a shape, every element the same."""

    def infer(self, shape: TensorLike, value: TensorLike) -> Spec:
        if value.dims not in (None, ()):
            raise ValueError(f"the value to fill with must be a scalar, got shape {shapes.text(value.dims)}")
        return Spec(value.dtype, known_dims(shape))

    def compute(self, shape: Any, value: Any) -> Any:
        return np.full(tuple(shape), value, np.asarray(value).dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [None, reduce_sum(dy)]


@op
class ZerosLike(Op):
    """Zeros (empty strings, False) in the shape and type of a tensor."""

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, x.dims)

    def compute(self, x: Any) -> Any:
        x = np.asarray(x)
        return np.full(x.shape, b"", object) if x.dtype.hasobject else np.zeros(x.shape, x.dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [None]


@op
class OnesLike(Op):
    """Ones in the shape and type of a tensor."""

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, x.dims)

    def compute(self, x: Any) -> Any:
        x = np.asarray(x)
        return np.ones(x.shape, x.dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [None]


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
        return np.sum(x, axis=self.axes, keepdims=self.keepdims, dtype=np.asarray(x).dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [spread(dy, operation.inputs[0], self.axes, self.keepdims)]


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


@op
class KeptShape(Op):
    """The shape of a tensor with the axes of a reduction set to 1 (for tensors of unknown rank)."""

    axes: tuple[int, ...]
    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(int32, (None if x.dims is None else len(x.dims),), reduced_dims(x.dims, self.axes, True))

    def compute(self, x: Any) -> Any:
        return np.array(reduced_dims(np.shape(x), self.axes, True), np.int32)


@op
class SumTo(Op):
    """The adjoint of broadcasting: summed down to a shape that broadcasts to the input's."""

    def infer(self, x: TensorLike, shape: TensorLike) -> Spec:
        return Spec(x.dtype, known_dims(shape))

    def compute(self, x: Any, shape: Any) -> Any:
        lead = np.ndim(x) - len(shape)
        axes = (*range(lead), *(lead + i for i, d in enumerate(shape) if d == 1 and np.shape(x)[lead + i] != 1))
        return np.sum(x, axis=axes, keepdims=True, dtype=np.asarray(x).dtype).reshape(tuple(shape))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [BroadcastTo()(dy, shape(operation.inputs[0])), None]


def sum_to(dy: Tensor, x: Tensor) -> Tensor:
    """A gradient of a broadcast `x` summed down to the shape of `x`; nothing is added when the shapes are known to agree."""
    if dy.dims == x.dims and shapes.is_full(x.dims):
        return dy
    return SumTo()(dy, shape(x))


def like(dy: Tensor, x: Tensor) -> Tensor:
    """`dy` reshaped to the shape of `x`."""
    return Reshape()(dy, shape(x))


# the public functions


def identity(input: Any, name: str | None = None) -> Tensor:
    """The same value as a new tensor. Source: `tf.identity`."""
    return Identity()(convert_to_tensor(input), name=name)


def stop_gradient(input: Any, name: str | None = None) -> Tensor:
    """The same value, a constant to `gradients`. Source: `tf.stop_gradient`."""
    return StopGradient()(convert_to_tensor(input), name=name)


def no_op(name: str | None = None) -> Operation:
    """An operation that does nothing. Source: `tf.no_op`."""
    return NoOp().node(name=name)


def shape(input: Any, name: str | None = None, out_type: Any = int32) -> Tensor:
    """The shape as a 1-D tensor of `out_type` (int32 or int64): a constant where it is known. Source: `tf.shape`."""
    tensor = convert_to_tensor(input)
    dtype = as_dtype(out_type)
    if shapes.is_full(tensor.dims):
        return const(np.array(tensor.dims, dtype.np), name or "Shape")
    return Shape(dtype)(tensor, name=name)


def size(input: Any, name: str | None = None, out_type: Any = int32) -> Tensor:
    """The number of elements, a scalar of `out_type`. Source: `tf.size`."""
    return Size(as_dtype(out_type))(convert_to_tensor(input), name=name)


def rank(input: Any, name: str | None = None) -> Tensor:
    """The number of dimensions, an int32 scalar. Source: `tf.rank`."""
    return Rank()(convert_to_tensor(input), name=name)


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


def fill(dims: Any, value: Any, name: str | None = None) -> Tensor:
    """A tensor of shape `dims`, each element `value` (a scalar). Source: `tf.fill`."""
    return Fill()(int_vector(dims), convert_to_tensor(value), name=name)


def zeros(shape: Any, dtype: Any = "float32", name: str = "zeros") -> Tensor:
    """Zeros of a shape. Source: `tf.zeros`."""
    return _filled(shape, as_dtype(dtype), 0, name)


def ones(shape: Any, dtype: Any = "float32", name: str = "ones") -> Tensor:
    """Ones of a shape. Source: `tf.ones`."""
    return _filled(shape, as_dtype(dtype), 1, name)


def _filled(shape: Any, dtype: DType, value: int, name: str) -> Tensor:
    scalar = np.array(b"", object) if dtype.np.hasobject else np.array(value, dtype.np)
    dims = int_vector(shapes.TensorShape(shape) if isinstance(shape, shapes.TensorShape) else shape)
    full = known_dims(dims)
    if full is not None and shapes.is_full(full) and (shapes.count(full) or 0) <= 1000:
        return const(np.full([d for d in full if d is not None], scalar, scalar.dtype), name)
    return Fill()(dims, const(scalar), name=name)


def zeros_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Zeros in the shape of `tensor`, in its type or `dtype`. Source: `tf.zeros_like`."""
    x = convert_to_tensor(tensor)
    if dtype is None or as_dtype(dtype) is x.dtype:
        return ZerosLike()(x, name=name)
    return _filled_like(x, as_dtype(dtype), 0, name or "zeros_like")


def ones_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Ones in the shape of `tensor`, in its type or `dtype`. Source: `tf.ones_like`."""
    x = convert_to_tensor(tensor)
    if dtype is None or as_dtype(dtype) is x.dtype:
        return OnesLike()(x, name=name)
    return _filled_like(x, as_dtype(dtype), 1, name or "ones_like")


def _filled_like(x: Tensor, dtype: DType, value: int, name: str) -> Tensor:
    return Fill()(shape(x), const(np.array(value, dtype.np)), name=name)


def broadcast_to(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """`input` repeated to `shape` by NumPy's rule. Source: `tf.broadcast_to`."""
    return BroadcastTo()(convert_to_tensor(input), int_vector(shape), name=name)


def reduce_sum(input_tensor: Any, axis: Any = None, keepdims: bool | None = None, name: str | None = None,
               reduction_indices: Any = None, keep_dims: bool | None = None) -> Tensor:  # fmt: skip
    """The sum over `axis` (an int, a list, None: all). Source: `tf.reduce_sum`; the last two are TF1's old names."""
    axes = axes_tuple(reduction_indices if axis is None else axis)
    return Sum(axes, bool(keep_dims if keepdims is None else keepdims))(convert_to_tensor(input_tensor), name=name)


def axes_tuple(value: Any, what: str = "axis") -> tuple[int, ...] | None:
    """Axes as ints: from an int, a sequence, or a tensor whose value is known. Raises ValueError when it is not."""
    if value is None:
        return None
    if isinstance(value, Tensor):
        value = _static(what, value)
    if isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim):
        return tuple(static_int(what, item) for item in value)
    return (int(value),)


def static_int(what: str, value: Any) -> int:
    """An int that must be known when the graph is built. Raises ValueError when it is not."""
    return int(_static(what, value) if isinstance(value, Tensor) else value)


def _static(what: str, tensor: Tensor) -> Any:
    value = constant_value(tensor)
    if value is None:
        raise ValueError(f"{what} must be known when the graph is built, got {tensor!r}")
    return value
