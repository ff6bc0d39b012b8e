"""Joining, splitting and tiling: concat, split, tile, meshgrid."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Known, Spec, TensorLike
from ..shapes import Dims, normal_axis
from .broadcasting import broadcast_to
from .constant import const, known_dims, static_int
from .convert import convert_to_tensor, int_vector, stack
from .getitem import getitem
from .identity import identity
from .reshaping import reshape
from .sizes import shape, size


@op
class ConcatV2(Op):
    """Tensors joined along an axis."""

    axis: int

    def infer(self, *inputs: TensorLike) -> Spec:
        dtype = inputs[0].dtype
        if any(tensor.dtype is not dtype for tensor in inputs):
            names = ", ".join(tensor.dtype.name for tensor in inputs)
            raise TypeError(
                f"Tensors in list passed to 'values' of 'ConcatV2' Op have types [{names}] that don't all match"
            )
        rank = next((len(tensor.dims) for tensor in inputs if tensor.dims is not None), None)
        if rank is None:
            return Spec(dtype, None)
        if rank == 0:
            raise ValueError("Can't concatenate scalars (use stack instead)")
        axis = normal_axis(self.axis, rank)
        others: Dims = (None,) * (rank - 1)
        total: int | None = 0
        for tensor in inputs:
            others, total = _joined(others, total, tensor.dims, axis)
        known = others or ()
        dims = (*known[:axis], total, *known[axis:])
        return Spec(dtype, dims, _joined_known(inputs) if rank == 1 else None)

    def compute(self, *inputs: Any) -> Any:
        return np.concatenate(inputs, self.axis)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        inputs = operation.inputs
        if len(inputs) == 1:
            return [dy]
        return list(SplitV(len(inputs), self.axis).outputs(dy, _sizes(inputs, self.axis)))


def _joined(others: Dims, total: int | None, dims: Dims, axis: int) -> tuple[Dims, int | None]:
    """One more tensor's shape merged into the shape without the axis and the sum along it."""
    if dims is None:
        return others, None
    others = shapes.merge(others, dims[:axis] + dims[axis + 1 :])
    here = dims[axis]
    return others, None if total is None or here is None else total + here


def _joined_known(inputs: tuple[TensorLike, ...]) -> Known:
    parts: list[int | None] = []
    for tensor in inputs:
        length = tensor.dims[0] if tensor.dims is not None else None
        if isinstance(tensor.known, tuple):
            parts += tensor.known
        elif length is None or not tensor.dtype.is_integer:
            return None
        else:
            parts += [None] * length
    return tuple(parts) if len(parts) <= 64 else None


def _sizes(inputs: tuple[Tensor, ...], axis: int) -> Tensor:
    """The inputs' sizes along an axis, as a vector: a constant where they are known."""
    sizes = [None if tensor.dims is None else tensor.dims[axis] for tensor in inputs]
    if None not in sizes:
        return const(np.array(sizes, np.int32), "sizes")
    return stack([getitem(shape(tensor), axis) for tensor in inputs])


@op
class Split(Op):
    """A tensor cut along an axis into `num` equal parts."""

    num: int
    axis: int = 0
    view = True

    def infer(self, value: TensorLike) -> tuple[Spec, ...]:
        if self.num < 1:  # as only a file can say
            raise ValueError(f"Split needs a positive number of pieces, got {self.num}.")
        if value.dims is None:
            return (Spec(value.dtype, None),) * self.num
        axis = normal_axis(self.axis, len(value.dims))
        whole = value.dims[axis]
        if whole is not None and whole % self.num:
            raise ValueError(
                f"Dimension size must be evenly divisible by {self.num} but is {whole}: "
                "Number of ways to split should evenly divide the split dimension"
            )
        part = None if whole is None else whole // self.num
        return (Spec(value.dtype, (*value.dims[:axis], part, *value.dims[axis + 1 :])),) * self.num

    def compute(self, value: Any) -> Any:
        if value.shape[self.axis] % self.num:
            raise InvalidArgumentError(
                None, None,
                "Number of ways to split should evenly divide the split dimension, but got split_dim "
                f"{self.axis} (size = {value.shape[self.axis]}) and num_split {self.num}",
            )  # fmt: skip
        return _cut(value, (value.shape[self.axis] // self.num,) * self.num, self.axis)

    def grad(self, operation: Operation, *dys: Tensor) -> list[Tensor]:
        return [ConcatV2(self.axis)(*dys)]


@op
class SplitV(Op):
    """A tensor cut along an axis into `num` parts of given sizes, one of which may be -1: the rest."""

    num: int
    axis: int = 0
    view = True

    def infer(self, value: TensorLike, sizes: TensorLike) -> tuple[Spec, ...]:
        if not shapes.compatible(sizes.dims, (self.num,)):
            raise ValueError(
                f"sizes of {self.num} parts must be a vector of as many, got shape {shapes.text(sizes.dims)}"
            )
        if value.dims is None:
            return (Spec(value.dtype, None),) * self.num
        axis = normal_axis(self.axis, len(value.dims))
        parts: tuple[int | None, ...] = sizes.known if isinstance(sizes.known, tuple) else (None,) * self.num
        if None not in parts:
            parts = _part_sizes([p for p in parts if p is not None], value.dims[axis])
        return tuple(
            Spec(value.dtype, (*value.dims[:axis], None if part == -1 else part, *value.dims[axis + 1 :]))
            for part in parts
        )

    def compute(self, value: Any, sizes: Any) -> Any:
        try:
            parts = _part_sizes(sizes.tolist(), value.shape[self.axis])
        except ValueError as error:
            raise InvalidArgumentError(None, None, str(error)) from None
        return _cut(value, parts, self.axis)

    def grad(self, operation: Operation, *dys: Tensor) -> list[Tensor | None]:
        return [ConcatV2(self.axis)(*dys), None]


def _cut(value: Any, lengths: tuple[int, ...], axis: int) -> Any:
    """Views of the parts of an array, one after the other along an axis. `np.split` takes several times as long."""
    before, start, parts = (slice(None),) * (axis % value.ndim), 0, []
    for length in lengths:
        parts.append(value[(*before, slice(start, start + length))])
        start += length
    return parts[0] if len(parts) == 1 else tuple(parts)


def _part_sizes(sizes: list[int], whole: int | None) -> tuple[int, ...]:
    """The sizes of the parts with a -1 filled in where `whole` is known. Raises ValueError where they do not add up to it."""
    if sizes.count(-1) > 1 or min(sizes) < -1:
        raise ValueError(f"sizes must be at least 0, and one may be -1, got {sizes}")
    given = sum(part for part in sizes if part != -1)
    if whole is None:
        return tuple(sizes)
    if given > whole or (given < whole and -1 not in sizes):
        raise ValueError(f"can't split axis of size {whole} into pieces of size {sizes}")
    return tuple(whole - given if part == -1 else part for part in sizes)


@op
class Tile(Op):
    """A tensor repeated `multiples[i]` times along each axis i."""

    def infer(self, x: TensorLike, multiples: TensorLike) -> Spec:
        times = _multiples(x, multiples)
        if x.dims is None or times is None:
            rank = times if x.dims is None else x.dims
            return Spec(x.dtype, None if rank is None else (None,) * len(rank))
        return Spec(x.dtype, tuple(_times(d, m) for d, m in zip(x.dims, times, strict=True)))

    def compute(self, x: Any, multiples: Any) -> Any:
        if (multiples < 0).any():
            raise InvalidArgumentError(None, None, f"Expected multiples[i] >= 0, but got {multiples.tolist()}")
        return np.tile(x, tuple(multiples))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        x, multiples = operation.inputs
        return [TileGrad()(dy, multiples, shape(x)), None]


@op
class TileGrad(Op):
    """The adjoint of Tile: the tiles added up, to the shape that one has."""

    def infer(self, dy: TensorLike, multiples: TensorLike, dims: TensorLike) -> Spec:
        return Spec(dy.dtype, known_dims(dims))

    def compute(self, dy: Any, multiples: Any, dims: Any) -> Any:
        split = np.stack([multiples, dims], axis=1).reshape(-1)
        return dy.reshape(split).sum(axis=tuple(range(0, len(split), 2)), dtype=dy.dtype)

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor | None]:
        return [Tile()(ddx, operation.inputs[1]), None, None]


def _multiples(x: TensorLike, multiples: TensorLike) -> Dims:
    if multiples.dims is not None and len(multiples.dims) != 1:
        raise ValueError(f"multiples must be a vector, got shape {shapes.text(multiples.dims)}")
    times = known_dims(multiples)
    if times is not None and x.dims is not None and len(times) != len(x.dims):
        raise ValueError(
            f"Shape must be rank {len(times)} but is rank {len(x.dims)}: multiples says one factor a dimension"
        )
    return times


def _times(dim: int | None, factor: int | None) -> int | None:
    if dim == 0 or factor == 0:
        return 0
    return None if dim is None or factor is None else dim * factor


# the public functions


def concat(values: Any, axis: Any, name: str = "concat") -> Tensor:
    """Tensors of one type joined along `axis` (static); their other dimensions agree. Source: `tf.concat`.

    Raises ValueError for shapes that do not fit and for scalars, TypeError for different types.
    """
    tensors = same_type(values if isinstance(values, (list, tuple)) else [values])
    if np.ndim(axis if not isinstance(axis, Tensor) else 0) != 0:
        raise ValueError(f"the axis to concatenate along must be a scalar, got {axis!r}")
    if not tensors:
        raise ValueError("List argument 'values' to 'ConcatV2' Op with length 0 shorter than minimum length 1")
    along = static_int("axis", axis)
    if len(tensors) == 1:
        return identity(tensors[0], name=name)
    return ConcatV2(along)(*tensors, name=name)


def same_type(values: Any) -> list[Tensor]:
    """Values as tensors, where Python values adopt the type of the first tensor (without any: of the first value)."""
    dtype = next((v.dtype for v in values if isinstance(v, Tensor) or hasattr(v, "_as_tensor")), None)
    tensors: list[Tensor] = []
    for value in values:
        given = isinstance(value, Tensor) or hasattr(value, "_as_tensor")
        tensors.append(convert_to_tensor(value, None if given else dtype))
        dtype = dtype or tensors[0].dtype
    return tensors


def split(
    value: Any, num_or_size_splits: Any, axis: Any = 0, num: int | None = None, name: str = "split"
) -> list[Tensor]:
    """`value` cut along `axis` (static): into so many equal parts, or into parts of the sizes listed (one may be -1).

    `num` says how many parts where a tensor of sizes does not. Source: `tf.split`. Raises ValueError where they do not fit.
    """
    tensor, along = convert_to_tensor(value), static_int("axis", axis)
    if isinstance(num_or_size_splits, (int, np.integer, shapes.Dimension)):
        if int(num_or_size_splits) < 1:
            raise ValueError(f"the number of parts must be positive, got {num_or_size_splits}")
        return list(Split(int(num_or_size_splits), along).outputs(tensor, name=name))
    sizes = int_vector(num_or_size_splits)
    if sizes.dims == ():
        raise ValueError("Rank-0 tensors are not supported as the num_or_size_splits argument to split.")
    count = num if num is not None else (None if sizes.dims is None else sizes.dims[0])
    if count is None:
        raise ValueError(f"Cannot infer argument `num` from shape {sizes.shape}")
    return list(SplitV(int(count), along).outputs(tensor, sizes, name=name))


def tile(input: Any, multiples: Any, name: str | None = None) -> Tensor:
    """`input` repeated `multiples[i]` times along each axis i. Source: `tf.tile`. Raises ValueError for a wrong length."""
    return Tile()(convert_to_tensor(input), int_vector(multiples), name=name)


def meshgrid(*args: Any, indexing: str = "xy", name: str = "meshgrid") -> list[Tensor]:
    """The coordinates of a grid over vectors: for N of them N tensors of rank N. Source: `tf.meshgrid`.

    `indexing`: "xy" (the first vector along axis 1) or "ij". Raises ValueError for another.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"Argument `indexing` parameter must be either 'xy' or 'ij', got '{indexing}'")
    vectors = same_type(args)
    order = list(range(len(vectors)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = [1, 0]
    if not vectors:
        return []
    full = stack([size(vectors[i]) for i in order])
    return [
        broadcast_to(reshape(vector, [-1 if order[axis] == i else 1 for axis in range(len(order))]), full, name=name)
        for i, vector in enumerate(vectors)
    ]
