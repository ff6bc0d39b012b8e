"""Regular numbers: ranges, evenly spaced points, and masks of sequences by their lengths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import DType, as_dtype, boolean, float32, float64, int32, int64
from ..errors import InvalidArgumentError
from ..ir import Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .cast import cast
from .constant import constant_value
from .convert import convert_to_tensor

_NUMBERS = (int32, int64, float32, float64)


@op
class Range(Op):
    """start, start + delta, … up to, but not including, limit."""

    not_differentiable = True

    def infer(self, start: TensorLike, limit: TensorLike, delta: TensorLike) -> Spec:
        for scalar in (start, limit, delta):
            if scalar.dims not in (None, ()):
                raise ValueError(f"start, limit and delta must be scalars, got shape {list(scalar.dims or ())}")
            if scalar.dtype is not start.dtype:
                raise TypeError(
                    f"start, limit and delta must have one type, got {start.dtype.name} and {scalar.dtype.name}"
                )
        a, b, step = start.known, limit.known, delta.known
        if not (isinstance(a, int) and isinstance(b, int) and isinstance(step, int)):
            return Spec(start.dtype, (None,))
        count = range_size(a, b, step)
        return Spec(start.dtype, (count,), tuple(range(a, b, step)) if count <= 64 else None)

    def compute(self, start: Any, limit: Any, delta: Any) -> Any:
        try:
            count = range_size(start.item(), limit.item(), delta.item())
        except ValueError as error:
            raise InvalidArgumentError(None, None, str(error)) from None
        return (start + np.arange(count, dtype=start.dtype) * delta).astype(start.dtype, copy=False)


def range_size(start: float, limit: float, delta: float) -> int:
    """How many numbers a range has. Raises ValueError for a step of 0 or in the wrong direction, as TF does."""
    if delta == 0:
        raise ValueError("Requires delta != 0")
    if (limit - start) * delta < 0:
        relation, sign = ("<=", ">") if delta > 0 else (">=", "<")
        raise ValueError(f"Requires start {relation} limit when delta {sign} 0: {start}/{limit}")
    if isinstance(start, int) and isinstance(limit, int) and isinstance(delta, int):
        return len(range(start, limit, delta))
    return math.ceil(abs((limit - start) / delta))


@op
class LinSpace(Op):
    """`num` evenly spaced numbers from start to stop, both included."""

    not_differentiable = True

    def infer(self, start: TensorLike, stop: TensorLike, num: TensorLike) -> Spec:
        if start.dtype is not stop.dtype or not start.dtype.is_floating:
            raise TypeError(f"start and stop must be floats of one type, got {start.dtype.name} and {stop.dtype.name}")
        if start.dims not in (None, ()) or stop.dims not in (None, ()):
            raise ValueError("start and stop must be scalars")
        if isinstance(num.known, int) and num.known <= 0:
            raise ValueError(f"Requires num > 0: {num.known}")
        return Spec(start.dtype, (num.known if isinstance(num.known, int) else None,))

    def compute(self, start: Any, stop: Any, num: Any) -> Any:
        if num <= 0:
            raise InvalidArgumentError(None, None, f"Requires num > 0: {num}")
        return np.linspace(np.float64(start), np.float64(stop), int(num)).astype(start.dtype)


@op
class SequenceMask(Op):
    """For each length a row of truth values, so many of them true; as long as a second input says, or the longest."""

    not_differentiable = True

    def infer(self, lengths: TensorLike, *maxlen: TensorLike) -> Spec:
        if not lengths.dtype.is_integer:
            raise TypeError(f"the lengths of sequences must be integers, got {lengths.dtype.name}")
        columns = maxlen[0].known if maxlen and isinstance(maxlen[0].known, int) else None
        last = None if columns is None else max(columns, 0)
        return Spec(boolean, None if lengths.dims is None else (*lengths.dims, last))

    def compute(self, lengths: Any, *maxlen: Any) -> Any:
        columns = int(maxlen[0]) if maxlen else int(np.max(lengths, initial=0))
        return np.arange(max(columns, 0)) < lengths[..., None]


# the public functions


def range_(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str = "range") -> Tensor:
    """The numbers from `start` (0 when only one number is given) to `limit`, which is left out, in steps of `delta`.

    Without `dtype`, the widest of int32, int64, float32, float64 among the three. Source: `tf.range`.
    Raises ValueError for a delta of 0 or in the wrong direction, TypeError for other types.
    """
    if limit is None:
        start, limit = 0, start
    wanted = None if dtype is None else as_dtype(dtype)
    scalars = [convert_to_tensor(value, None if isinstance(value, Tensor) else wanted, name=f"{name}/{what}")
               for value, what in ((start, "start"), (limit, "limit"), (delta, "delta"))]  # fmt: skip
    for scalar in scalars:
        if scalar.dtype not in _NUMBERS:
            raise TypeError(f"range takes int32, int64, float32 and float64, got {scalar.dtype.name}")
    common = wanted or max((scalar.dtype for scalar in scalars), key=_NUMBERS.index)
    numbers = Range()(*(cast(scalar, common) for scalar in scalars), name=name)
    values = [constant_value(scalar) for scalar in scalars]
    if common.is_floating and all(value is not None for value in values):
        numbers.set_shape([range_size(*(float(value) for value in values))])
    return numbers


def linspace(start: Any, stop: Any, num: Any, name: str | None = None) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop`, both included; floats of one type. Source: `tf.linspace`.

    Raises ValueError for a `num` below 1, TypeError for other types.
    """
    first = convert_to_tensor(start, preferred_dtype=_preferred(stop))
    last = convert_to_tensor(stop, preferred_dtype=first.dtype)
    return LinSpace()(first, last, convert_to_tensor(num), name=name)


lin_space = linspace


def _preferred(other: Any) -> DType | None:
    return other.dtype if isinstance(other, Tensor) else None


def sequence_mask(lengths: Any, maxlen: Any = None, dtype: Any = boolean, name: str | None = None) -> Tensor:
    """`mask[..., j] = j < lengths[...]` for j below `maxlen` (by default the largest length). Source: `tf.sequence_mask`.

    Raises ValueError when `maxlen` is no scalar.
    """
    counts = convert_to_tensor(lengths)
    columns = () if maxlen is None else (convert_to_tensor(maxlen),)
    if columns and columns[0].dims not in (None, ()):
        raise ValueError("maxlen must be scalar for sequence_mask")
    return cast(SequenceMask()(counts, *columns, name=name), dtype)
