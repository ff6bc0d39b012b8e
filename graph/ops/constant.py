"""Constants, and what is known of a tensor's value before any run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import eager, shapes
from ..dtypes import DType, as_dtype, string
from ..eager import known_value
from ..ir import Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims, as_dims
from .literal import Literal, to_array


@op
class Const(Op):
    """A constant."""

    value: Literal
    dtype: DType

    def infer(self) -> Spec:
        return Spec(self.dtype, self.value.array.shape, known_value(self.value.array))

    def compute(self) -> Any:
        return self.value.array


def constant(
    value: Any, dtype: Any = None, shape: Any = None, name: str = "Const", verify_shape: bool = False
) -> Tensor:
    """A constant tensor.

    `value`: a Python or NumPy value; with `shape`, a scalar or too short a list is filled up with its last element
    (TF1), unless `verify_shape`. Source: `tf.constant`. Raises TypeError where the value does not fit the type or, with
    `verify_shape`, the shape; ValueError for None, ragged lists, and more elements than the shape has.
    """
    array = to_array(value, None if dtype is None else as_dtype(dtype))
    if shape is not None:
        array = _fill_up(array, as_dims(shape), verify_shape)
    return const(array, name)


def const(array: np.ndarray[Any, Any], name: str = "Const") -> Tensor:
    """A constant tensor of an array that nobody changes any more."""
    return Const(Literal(array), string if array.dtype.hasobject else as_dtype(array.dtype))(name=name)


def _fill_up(array: np.ndarray[Any, Any], dims: Dims, verify: bool) -> np.ndarray[Any, Any]:
    if dims is None or None in dims:
        raise ValueError(f"the shape of a constant must be fully known, got {shapes.text(dims)}")
    full = tuple(d for d in dims if d is not None)
    if array.shape == full:
        return array
    size = int(np.prod(full, dtype=np.int64))
    if verify:
        raise TypeError(f"Expected Tensor's shape: {full}, but got {array.shape}.")
    if size == 0:
        return np.empty(full, array.dtype)
    if array.size > size:
        raise ValueError(f"Too many elements provided. Takes at most {size}, but got {array.size}.")
    if array.size == 0:
        raise ValueError(f"No element to fill a constant of shape {full} with.")
    padded = np.concatenate([array.reshape(-1), np.full(size - array.size, array.reshape(-1)[-1], array.dtype)])
    return padded.reshape(full)


def constant_value(tensor: Tensor) -> Any:
    """The value of a tensor that is known without a run (a constant, or integers that shape inference knows), else None.

    Source: `tf.get_static_value`.
    """
    if isinstance(tensor, eager.EagerTensor):
        return tensor.numpy()
    definition = tensor.op.definition
    if isinstance(definition, Const):
        return definition.value.array
    known = tensor.known
    complete = isinstance(known, int) or (isinstance(known, tuple) and None not in known)
    return np.array(known, tensor.dtype.np) if complete else None


def known_dims(tensor: TensorLike) -> Dims:
    """The static shape that a shape tensor (1-D, integer) stands for, as far as it is known; -1 counts as unknown."""
    if isinstance(tensor.known, tuple):
        return tuple(None if d is None or d < 0 else d for d in tensor.known)
    if tensor.dims is not None and len(tensor.dims) == 1 and tensor.dims[0] is not None:
        return (None,) * tensor.dims[0]
    return None


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
