"""Padding: with a constant or with the tensor mirrored at its borders, and the adjoint of that."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from .. import shapes
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .constant import constant_value
from .convert import convert_to_tensor, int_vector
from .getitem import getitem
from .reshaping import reshape
from .rows import summed_rows
from .sizes import shape
from .slicing import Slice

#: Paddings reach the operations as one vector, before and after of each axis in turn, since shape inference knows vectors.
Mode = Literal["REFLECT", "SYMMETRIC"]


@op
class Pad(Op):
    """A tensor with zeros (empty strings) before and after it on each axis."""

    def infer(self, x: TensorLike, paddings: TensorLike) -> Spec:
        return Spec(x.dtype, padded_dims(x.dims, paddings, 1))

    def compute(self, x: Any, paddings: Any) -> Any:
        return _padded(x, paddings, b"" if x.dtype.hasobject else 0)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [_unpadded(operation, dy), None]


@op
class PadV2(Op):
    """A tensor with a constant before and after it on each axis. As in TF, no gradient reaches the constant."""

    def infer(self, x: TensorLike, paddings: TensorLike, value: TensorLike) -> Spec:
        if value.dtype is not x.dtype:
            raise TypeError(f"the constant to pad with has type {value.dtype.name}, the tensor {x.dtype.name}")
        return Spec(x.dtype, padded_dims(x.dims, paddings, 1))

    def compute(self, x: Any, paddings: Any, value: Any) -> Any:
        return _padded(x, paddings, value)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [_unpadded(operation, dy), None, None]


@op
class MirrorPad(Op):
    """A tensor continued by its mirror image: without the border element (REFLECT) or with it (SYMMETRIC)."""

    mode: Mode

    def infer(self, x: TensorLike, paddings: TensorLike) -> Spec:
        return Spec(x.dtype, padded_dims(x.dims, paddings, 1))

    def compute(self, x: Any, paddings: Any) -> Any:
        pairs = _pairs(paddings, x.ndim)
        for axis, (before, after) in enumerate(pairs):
            _check_mirror(self.mode, x.shape[axis], before, after)
        return np.pad(x, pairs, "reflect" if self.mode == "REFLECT" else "symmetric")

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [MirrorPadGrad(self.mode)(dy, operation.inputs[1]), None]


@op
class MirrorPadGrad(Op):
    """The adjoint of MirrorPad: what lies in the mirror images added to what they show."""

    mode: Mode

    def infer(self, dy: TensorLike, paddings: TensorLike) -> Spec:
        return Spec(dy.dtype, padded_dims(dy.dims, paddings, -1))

    def compute(self, dy: Any, paddings: Any) -> Any:
        for axis, (before, after) in enumerate(_pairs(paddings, dy.ndim)):
            size = dy.shape[axis] - before - after
            _check_mirror(self.mode, size, before, after)
            if before or after:
                seen = np.pad(np.arange(size), (before, after), "reflect" if self.mode == "REFLECT" else "symmetric")
                dy = np.moveaxis(summed_rows(size, seen, np.moveaxis(dy, axis, 0)), 0, axis)
        return np.array(dy)

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor | None]:
        return [MirrorPad(self.mode)(ddx, operation.inputs[1]), None]


def padded_dims(dims: Dims, paddings: TensorLike, sign: int) -> Dims:
    """The shape with (`sign` 1) or without (-1) the paddings. Raises ValueError for paddings of another rank or below 0."""
    known = paddings.known
    length = paddings.dims[0] if paddings.dims is not None and len(paddings.dims) == 1 else None
    if length is not None and (length % 2 or (dims is not None and length != 2 * len(dims))):
        raise ValueError(
            f"paddings must be a pair for each of the dimensions {shapes.text(dims)}, got {length} numbers"
        )
    if dims is None:
        dims = None if length is None else (None,) * (length // 2)
    if dims is None or not isinstance(known, tuple):
        return None if dims is None else (None,) * len(dims)
    if any(pad is not None and pad < 0 for pad in known):
        raise ValueError(f"Paddings must be non-negative: {list(known)}")
    pairs = zip(dims, known[::2], known[1::2], strict=True)
    return tuple(None if d is None or a is None or b is None else d + sign * (a + b) for d, a, b in pairs)


def _pairs(paddings: Any, rank: int) -> list[tuple[int, int]]:
    if paddings.size != 2 * rank or (paddings < 0).any():
        raise InvalidArgumentError(
            None,
            None,
            f"paddings must be non-negative and a pair for each of {rank} dimensions, got {paddings.tolist()}",
        )
    return [(int(before), int(after)) for before, after in paddings.reshape(-1, 2)]


def _padded(x: Any, paddings: Any, value: Any) -> Any:
    pairs = _pairs(paddings, x.ndim)
    out = np.full([before + d + after for d, (before, after) in zip(x.shape, pairs, strict=True)], value, x.dtype)
    out[tuple(slice(before, before + d) for d, (before, _) in zip(x.shape, pairs, strict=True))] = x
    return out


def _check_mirror(mode: str, size: int, before: int, after: int) -> None:
    most = size - 1 if mode == "REFLECT" else size
    if max(before, after) > most and (before or after):
        than = "less than" if mode == "REFLECT" else "no greater than"
        raise InvalidArgumentError(
            None, None, f"paddings must be {than} the dimension size: {before}, {after} and {size}"
        )


def _unpadded(operation: Operation, dy: Tensor) -> Tensor:
    x, paddings = operation.inputs[:2]
    return Slice()(dy, getitem(paddings, slice(0, None, 2)), shape(x))


def pad(
    tensor: Any, paddings: Any, mode: str = "CONSTANT", name: str | None = None, constant_values: Any = 0
) -> Tensor:
    """`tensor` with `paddings[i] = (before, after)` elements more on each axis i. Source: `tf.pad`.

    `mode` (any case): "CONSTANT" (`constant_values`, a scalar), "REFLECT" or "SYMMETRIC". Raises ValueError for another
    mode and for paddings that do not fit.
    """
    x = convert_to_tensor(tensor)
    vector = _as_vector(paddings)
    match mode.upper():
        case "CONSTANT":
            if not isinstance(constant_values, Tensor) and np.ndim(constant_values) == 0 and constant_values == 0:
                return Pad()(x, vector, name=name)
            return PadV2()(x, vector, convert_to_tensor(constant_values, x.dtype), name=name)
        case "REFLECT":
            return MirrorPad("REFLECT")(x, vector, name=name)
        case "SYMMETRIC":
            return MirrorPad("SYMMETRIC")(x, vector, name=name)
    raise ValueError(
        f'Value of argument `mode` expected to be one of "CONSTANT", "REFLECT", or "SYMMETRIC", got {mode}'
    )


def _as_vector(paddings: Any) -> Tensor:
    table = convert_to_tensor(paddings)
    if table.dims is not None and (len(table.dims) != 2 or table.dims[1] not in (None, 2)):
        raise ValueError(f"paddings must be a matrix of shape [rank, 2], got shape {table.shape}")
    value = constant_value(table)
    return int_vector(reshape(table, [-1]) if value is None else value.reshape(-1))
