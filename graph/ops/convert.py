"""Values that become tensors: convert_to_tensor and its kin, and the stacking that a list of tensors needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, as_dtype, int32, int64
from ..errors import InvalidArgumentError
from ..ir import Tensor, get_default_graph
from ..op import Op, op
from ..opdef import Known, Spec, TensorLike
from ..shapes import Dims, normal_axis
from .constant import const
from .literal import to_array


@op
class Pack(Op):
    """Equal-shaped tensors stacked along a new axis."""

    axis: int = 0

    def infer(self, *inputs: TensorLike) -> Spec:
        dims: Dims = None
        for tensor in inputs:
            if tensor.dtype is not inputs[0].dtype:
                raise TypeError(
                    f"Tensors to stack have different types: {inputs[0].dtype.name} and {tensor.dtype.name}"
                )
            dims = shapes.merge(dims, tensor.dims)
        if dims is None:
            return Spec(inputs[0].dtype, None)
        axis = normal_axis(self.axis, len(dims) + 1)
        known = tuple(_known_scalar(t.known) for t in inputs) if dims == () and inputs[0].dtype.is_integer else None
        return Spec(inputs[0].dtype, (*dims[:axis], len(inputs), *dims[axis:]), known)

    def compute(self, *inputs: Any) -> Any:
        return np.stack(inputs, self.axis)

    def grad(self, operation: Any, dy: Tensor) -> list[Tensor]:
        return list(Unpack(len(operation.inputs), self.axis).outputs(dy))


@op
class Unpack(Op):
    """A tensor cut into `num` slices along an axis, which disappears."""

    num: int
    axis: int = 0
    view = True

    def infer(self, value: TensorLike) -> tuple[Spec, ...]:
        if value.dims is None:
            return (Spec(value.dtype, None),) * self.num
        axis = normal_axis(self.axis, len(value.dims))
        if value.dims[axis] not in (None, self.num):
            raise ValueError(f"cannot unstack {self.num} slices of axis {axis} of shape {shapes.text(value.dims)}")
        return (Spec(value.dtype, value.dims[:axis] + value.dims[axis + 1 :]),) * self.num

    def compute(self, value: Any) -> Any:
        slices = np.moveaxis(value, self.axis, 0)
        if len(slices) != self.num:
            raise InvalidArgumentError(
                None,
                None,
                f"cannot unstack {self.num} slices of axis {self.axis} of shape {shapes.text(np.shape(value))}",
            )
        return np.asarray(slices[0]) if self.num == 1 else tuple(slices)

    def grad(self, operation: Any, *dys: Tensor) -> list[Tensor]:
        return [Pack(self.axis)(*dys)]


def _known_scalar(known: Known) -> int | None:
    return known if isinstance(known, int) else None


def convert_to_tensor(
    value: Any, dtype: Any = None, name: str | None = None, preferred_dtype: Any = None, dtype_hint: Any = None
) -> Tensor:
    """A Tensor of `value`: tensors and variables as they are, lists that hold tensors stacked, other values constants.

    `dtype` must fit (no implicit cast); `preferred_dtype` is taken where it can be. Source: `tf.convert_to_tensor`.
    Raises TypeError where the type does not fit, ValueError where the tensor has another type than `dtype`.
    """
    wanted = None if dtype is None else as_dtype(dtype)
    hint = preferred_dtype if dtype_hint is None else dtype_hint
    if isinstance(value, Tensor):
        return _checked(value, wanted)
    convert = getattr(value, "_as_tensor", None)
    if convert is not None:
        return _checked(convert(name), wanted)
    if isinstance(value, (list, tuple)) and _has_tensor(value):
        return _stack_mixed(value, wanted, name)
    if hint is not None and wanted is None:
        try:
            return const(to_array(value, as_dtype(hint)), name or "Const")
        except (TypeError, ValueError):
            pass
    return const(to_array(value, wanted), name or "Const")


def _checked(tensor: Tensor, wanted: DType | None) -> Tensor:
    if wanted is not None and tensor.dtype is not wanted:
        raise ValueError(
            f"Tensor conversion requested dtype {wanted.name} for Tensor with dtype {tensor.dtype.name}: {tensor!r}"
        )
    return tensor


def _has_tensor(value: Any) -> bool:
    return any(
        isinstance(item, Tensor)
        or hasattr(item, "_as_tensor")
        or (isinstance(item, (list, tuple)) and _has_tensor(item))
        for item in value
    )


def _stack_mixed(value: Sequence[Any], wanted: DType | None, name: str | None) -> Tensor:
    dtype = wanted or _first_dtype(value)
    for item in value:
        if _is_tensor(item) and item.dtype is not dtype:
            raise TypeError(
                f"Cannot convert a list containing a tensor of dtype {item.dtype.name} to {dtype.name if dtype else None}: "
                f"{item!r}"
            )
    return Pack(0)(*(convert_to_tensor(item, dtype) for item in value), name=name or "packed")


def _first_dtype(value: Sequence[Any]) -> DType | None:
    for item in value:
        if isinstance(item, Tensor) or hasattr(item, "_as_tensor"):
            dtype: DType = item.dtype
            return dtype
        if isinstance(item, (list, tuple)) and (found := _first_dtype(item)) is not None:
            return found
    return None


def same_dtype(op_type: str, x: Any, y: Any, name: str | None = None) -> tuple[Tensor, Tensor]:
    """Two operands as tensors of one type: a Python or NumPy value adopts the tensor's, as a constant `name/x` or `name/y`.

    Raises TypeError for tensors of different types, as TF words it.
    """
    name = name or op_type
    if not _is_tensor(x) and _is_tensor(y):
        second = convert_to_tensor(y, name=f"{name}/y")
        first = convert_to_tensor(x, second.dtype, _inner(name, "x"))
    else:
        first = convert_to_tensor(x, name=f"{name}/x" if _is_tensor(x) else _inner(name, "x"))
        is_like = _is_tensor(y)
        second = convert_to_tensor(y, None if is_like else first.dtype, f"{name}/y" if is_like else _inner(name, "y"))
    if first.dtype is not second.dtype:
        raise TypeError(
            f"Input 'y' of '{op_type}' Op has type {second.dtype.name} "
            f"that does not match type {first.dtype.name} of argument 'x'."
        )
    return first, second


def _inner(name: str, role: str) -> str:
    """What a constant is called that is an operand of the operation that gets this name next: `mul_1/y`."""
    graph = get_default_graph()
    scope = graph.get_name_scope()
    unique = graph.unique_name(name, mark_as_used=False)
    return f"{unique[len(scope) + 1 :] if scope else unique}/{role}"


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or hasattr(value, "_as_tensor")


def int_vector(value: Any, name: str | None = None) -> Tensor:
    """A shape or an index vector as an int32 tensor, or int64 where it is given so. Raises TypeError for other types."""
    if isinstance(value, (int, np.integer, shapes.Dimension)) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, (list, tuple)) and not _has_tensor(value):
        value = [int(item) for item in value]
    if isinstance(value, (list, tuple)) and not value:
        return const(np.zeros((0,), np.int32), name or "Const")
    tensor = convert_to_tensor(value, name=name)
    if tensor.dtype not in (int32, int64):
        raise TypeError(f"a shape must be int32 or int64, got {tensor.dtype.name}")
    return tensor


def stack(values: Any, axis: int = 0, name: str = "stack") -> Tensor:
    """N tensors of one shape [A, B] and type as one of [N, A, B], or with N at another `axis`. Source: `tf.stack`.

    Raises ValueError for no tensors, shapes that differ and an axis out of range, TypeError for types that differ.
    """
    if not isinstance(values, (list, tuple)):
        values = unstack(values)
    if not values:
        raise ValueError("stack needs at least one tensor")
    dtype = _first_dtype(values) or as_dtype(to_array(values[0]).dtype)
    return Pack(int(axis))(*(convert_to_tensor(value, dtype) for value in values), name=name)


def unstack(value: Any, num: int | None = None, axis: int = 0, name: str = "unstack") -> list[Tensor]:
    """A tensor cut along `axis` into tensors of one rank less. Source: `tf.unstack`.

    Raises ValueError when `num` is not given and the dimension is unknown.
    """
    tensor = convert_to_tensor(value)
    if num is None:
        if tensor.dims is None or tensor.dims[normal_axis(axis, len(tensor.dims))] is None:
            raise ValueError(f"Cannot infer argument `num` from shape {tensor.shape}")
        num = tensor.dims[axis]
    return list(Unpack(int(num or 0), int(axis)).outputs(tensor, name=name))
