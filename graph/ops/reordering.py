"""The same elements in another order: reverse, reverse_sequence, roll, space_to_depth, invert_permutation."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import int32, int64
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import normal_axis
from .arithmetic import Neg
from .constant import axes_tuple, static_int
from .convert import convert_to_tensor
from .rows import check_range


@op
class ReverseV2(Op):
    """A tensor turned round along some axes."""

    axes: tuple[int, ...]
    view = True

    def infer(self, x: TensorLike) -> Spec:
        if x.dims is not None:
            axes = [normal_axis(axis, len(x.dims)) for axis in self.axes]
            for axis in axes:
                if axes.count(axis) > 1:
                    raise ValueError(f"axis {axis} specified more than once.")
        known = x.known[::-1] if isinstance(x.known, tuple) and self.axes else x.known
        return Spec(x.dtype, x.dims, known)

    def compute(self, x: Any) -> Any:
        return np.flip(x, self.axes)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [ReverseV2(self.axes)(dy)]


@op
class ReverseSequence(Op):
    """For each entry of the batch axis, its first `seq_lengths[i]` elements along the sequence axis turned round."""

    seq_axis: int
    batch_axis: int = 0

    def infer(self, x: TensorLike, seq_lengths: TensorLike) -> Spec:
        if seq_lengths.dtype not in (int32, int64):
            raise TypeError(f"seq_lengths must be int32 or int64, got {seq_lengths.dtype.name}")
        vector = shapes.merge(seq_lengths.dims, (None,))
        if x.dims is None:
            return Spec(x.dtype, None)
        sequence, batch = (normal_axis(axis, len(x.dims)) for axis in (self.seq_axis, self.batch_axis))
        if sequence == batch:
            raise ValueError(f"seq_axis and batch_axis must differ, both are {batch}")
        merged = shapes.merge(vector, (x.dims[batch],))
        return Spec(x.dtype, (*x.dims[:batch], *(merged or ()), *x.dims[batch + 1 :]))

    def compute(self, x: Any, seq_lengths: Any) -> Any:
        if seq_lengths.shape != (x.shape[self.batch_axis],):
            raise InvalidArgumentError(
                None, None, f"there are {seq_lengths.size} seq_lengths for a batch of {x.shape[self.batch_axis]}"
            )
        steps = x.shape[self.seq_axis]
        check_range(seq_lengths, steps + 1, "seq_lengths")
        lengths = seq_lengths.astype(np.int64)[:, None]
        time = np.arange(steps)
        places = np.where(time < lengths, lengths - 1 - time, time)
        by_batch = np.moveaxis(x, (self.batch_axis, self.seq_axis), (0, 1))
        turned = by_batch[np.arange(lengths.size)[:, None], places]
        return np.ascontiguousarray(np.moveaxis(turned, (0, 1), (self.batch_axis, self.seq_axis)))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [ReverseSequence(self.seq_axis, self.batch_axis)(dy, operation.inputs[1]), None]


@op
class Roll(Op):
    """A tensor shifted along some axes; what leaves at one end comes back at the other."""

    axes: tuple[int, ...]

    def infer(self, x: TensorLike, shift: TensorLike) -> Spec:
        if shift.dims is not None and shift.dims not in ((), (len(self.axes),)):
            raise ValueError(
                f"shift and axis must have the same size, got {shapes.text(shift.dims)} and {list(self.axes)}"
            )
        if x.dims is not None:
            for axis in self.axes:
                normal_axis(axis, len(x.dims))
        return Spec(x.dtype, x.dims)

    def compute(self, x: Any, shift: Any) -> Any:
        return np.roll(x, tuple(shift.reshape(-1).tolist()), self.axes)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [Roll(self.axes)(dy, Neg()(operation.inputs[1])), None]


def _block_dims(x: TensorLike, block_size: int) -> tuple[int | None, int | None, int | None, int | None]:
    if block_size < 2:
        raise ValueError(f"block_size must be at least 2, got {block_size}")
    dims = shapes.merge(x.dims, (None,) * 4) or (None,) * 4
    return dims[0], dims[1], dims[2], dims[3]


def _divided(dim: int | None, by: int, what: str) -> int | None:
    if dim is not None and dim % by:
        raise ValueError(f"the {what} {dim} must be divisible by {by}")
    return None if dim is None else dim // by


@op
class SpaceToDepth(Op):
    """Blocks of height and width moved into the channels; [batch, height, width, channels]."""

    block_size: int

    def infer(self, x: TensorLike) -> Spec:
        b, h, w, c = _block_dims(x, self.block_size)
        n = self.block_size
        return Spec(x.dtype, (b, _divided(h, n, "height"), _divided(w, n, "width"), None if c is None else c * n * n))

    def compute(self, x: Any) -> Any:
        b, h, w, c = x.shape
        n = self.block_size
        _check_blocks(h % n or w % n, x)
        blocks = x.reshape(b, h // n, n, w // n, n, c).transpose(0, 1, 3, 2, 4, 5)
        return np.array(blocks.reshape(b, h // n, w // n, n * n * c))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [DepthToSpace(self.block_size)(dy)]


@op
class DepthToSpace(Op):
    """The inverse of SpaceToDepth: channels moved into blocks of height and width."""

    block_size: int

    def infer(self, x: TensorLike) -> Spec:
        b, h, w, c = _block_dims(x, self.block_size)
        n = self.block_size
        return Spec(
            x.dtype, (b, None if h is None else h * n, None if w is None else w * n, _divided(c, n * n, "channels"))
        )

    def compute(self, x: Any) -> Any:
        b, h, w, c = x.shape
        n = self.block_size
        _check_blocks(c % (n * n), x)
        blocks = x.reshape(b, h, w, n, n, c // (n * n)).transpose(0, 1, 3, 2, 4, 5)
        return np.array(blocks.reshape(b, h * n, w * n, c // (n * n)))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [SpaceToDepth(self.block_size)(dy)]


def _check_blocks(rest: int, x: Any) -> None:
    if rest:
        raise InvalidArgumentError(None, None, f"a tensor of shape {list(x.shape)} does not divide into the blocks")


@op
class InvertPermutation(Op):
    """y with y[x[i]] = i, for a permutation x of 0, 1, …"""

    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        if x.dtype not in (int32, int64):
            raise TypeError(f"invert_permutation takes int32 or int64, got {x.dtype.name}")
        known = None
        if isinstance(x.known, tuple) and sorted(i for i in x.known if i is not None) == list(range(len(x.known))):
            known = tuple(x.known.index(i) for i in range(len(x.known)))
        return Spec(x.dtype, shapes.merge(x.dims, (None,)), known)

    def compute(self, x: Any) -> Any:
        check_range(x, x.size, "x")
        out = np.full(x.size, -1, x.dtype)
        out[x] = np.arange(x.size, dtype=x.dtype)
        if (out < 0).any():
            raise InvalidArgumentError(None, None, f"{int(np.argmin(out))} is missing: the input is no permutation")
        return out


# the public functions


def reverse(tensor: Any, axis: Any, name: str | None = None) -> Tensor:
    """`tensor` turned round along the axes in the list `axis` (static). Source: `tf.reverse`.

    Raises ValueError for an axis out of range or named twice.
    """
    return ReverseV2(axes_tuple(axis) or ())(convert_to_tensor(tensor), name=name)


def reverse_sequence(input: Any, seq_lengths: Any, seq_axis: Any = None, batch_axis: Any = None, name: str | None = None,
                     seq_dim: Any = None, batch_dim: Any = None) -> Tensor:  # fmt: skip
    """The first `seq_lengths[i]` elements along `seq_axis` turned round, for each i of `batch_axis` (0).

    `seq_dim` and `batch_dim` are the old names. Source: `tf.reverse_sequence`. Raises ValueError where shapes do not fit.
    """
    sequence = seq_dim if seq_axis is None else seq_axis
    if sequence is None:
        raise ValueError("reverse_sequence needs seq_axis")
    batch = batch_dim if batch_axis is None else batch_axis
    turn = ReverseSequence(static_int("seq_axis", sequence), static_int("batch_axis", 0 if batch is None else batch))
    return turn(convert_to_tensor(input), convert_to_tensor(seq_lengths), name=name)


def roll(input: Any, shift: Any, axis: Any, name: str | None = None) -> Tensor:
    """`input` shifted by `shift` elements along `axis` (static, each an int or a list), round the end. Source: `tf.roll`."""
    return Roll(axes_tuple(axis) or ())(convert_to_tensor(input), convert_to_tensor(shift), name=name)


def space_to_depth(input: Any, block_size: int, name: str | None = None, data_format: str = "NHWC") -> Tensor:
    """Blocks of [batch, height, width, channels] moved into the channels. Source: `tf.space_to_depth`.

    Raises ValueError where the blocks do not divide the image and for another `data_format`.
    """
    _check_format(data_format)
    return SpaceToDepth(int(block_size))(convert_to_tensor(input), name=name)


def depth_to_space(input: Any, block_size: int, name: str | None = None, data_format: str = "NHWC") -> Tensor:
    """Channels of [batch, height, width, channels] moved into blocks of the image. Source: `tf.depth_to_space`."""
    _check_format(data_format)
    return DepthToSpace(int(block_size))(convert_to_tensor(input), name=name)


def _check_format(data_format: str) -> None:
    if data_format != "NHWC":
        raise ValueError(f"only the data format NHWC is supported, got {data_format}")


def invert_permutation(x: Any, name: str | None = None) -> Tensor:
    """y with y[x[i]] = i. What is no permutation is an InvalidArgumentError of the run. Source: `tf.invert_permutation`."""
    return InvertPermutation()(convert_to_tensor(x), name=name)
