"""Values that enter the graph: constants and placeholders, and what turns Python values into tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import context, eager, shapes
from ..dtypes import DType, as_dtype, int32, int64, string
from ..eager import known_value
from ..ir import Tensor
from ..op import Op, op
from ..opdef import Known, Spec, TensorLike
from ..shapes import Dims, TensorShape, as_dims


class Literal:
    """A read-only array that compares and hashes by content, so that it can be an attribute."""

    __slots__ = ("_digest", "array")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        array.flags.writeable = False
        self.array = array
        self._digest: bytes | None = None

    @property
    def digest(self) -> bytes:
        if self._digest is None:
            data = repr(self.array.tolist()).encode() if self.array.dtype.hasobject else self.array.tobytes()
            self._digest = hashlib.blake2b(data, digest_size=16).digest()
        return self._digest

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Literal):
            return NotImplemented
        same_kind = (self.array.dtype, self.array.shape) == (other.array.dtype, other.array.shape)
        return self is other or (same_kind and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash((self.array.dtype.str, self.array.shape, self.digest))

    def __repr__(self) -> str:
        return f"Literal({self.array.dtype}{list(self.array.shape)})"


@op
class Const(Op):
    """A constant."""

    value: Literal
    dtype: DType

    def infer(self) -> Spec:
        return Spec(self.dtype, self.value.array.shape, known_value(self.value.array))

    def compute(self) -> Any:
        return self.value.array


@op
class Placeholder(Op):
    """A value that every run must feed."""

    dtype: DType
    shape: Dims = None
    stateful = True
    not_differentiable = True

    def infer(self) -> Spec:
        return Spec(self.dtype, self.shape)


@op
class PlaceholderWithDefault(Op):
    """A value that a run may feed; its input otherwise."""

    shape: Dims = None
    view = True
    passes_slices = True

    def infer(self, default: TensorLike) -> Spec:
        if not shapes.compatible(default.dims, self.shape):
            raise ValueError(
                f"the default value has shape {shapes.text(default.dims)}, the placeholder {shapes.text(self.shape)}"
            )
        return Spec(default.dtype, self.shape)

    def compute(self, default: Any) -> Any:
        return default

    def grad(self, operation: Any, dy: Tensor) -> list[Tensor]:
        return [dy]


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
        return tuple(np.moveaxis(value, self.axis, 0))

    def grad(self, operation: Any, *dys: Tensor) -> list[Tensor]:
        return [Pack(self.axis)(*dys)]


def _known_scalar(known: Known) -> int | None:
    return known if isinstance(known, int) else None


def normal_axis(axis: int, rank: int) -> int:
    """An axis counted from the front. Raises ValueError outside of [-rank, rank)."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for rank {rank}: expected [{-rank}, {rank})")
    return axis % rank


# values to arrays


def to_array(value: Any, dtype: DType | None = None) -> np.ndarray[Any, Any]:
    """A Python or NumPy value as an array of `dtype`, or of the type TF infers. Raises TypeError where it does not fit.

    Python floats become float32, ints int32 (int64 where too large), str and bytes string; arrays keep their type.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return _cast_array(np.asarray(value), dtype)
    if isinstance(value, TensorShape):
        if not value.is_fully_defined():
            raise ValueError(f"Cannot convert a partially known TensorShape to a Tensor: {value}")
        value = value.as_list()
        dtype = dtype or int32
    try:
        array = np.array(value)
    except ValueError:
        raise ValueError(f"Can't convert non-rectangular Python sequence to Tensor: {_short(value)}") from None
    if dtype is not None:
        return _python_as(array, value, dtype)
    return _infer_python(array, value)


def _infer_python(array: np.ndarray[Any, Any], value: Any) -> np.ndarray[Any, Any]:
    kind = array.dtype.kind
    if array.size == 0 and not _holds_arrays(value):
        return array.astype(np.float32)
    if kind == "f" and not _holds_arrays(value):
        return array.astype(np.float32)
    if kind == "i" and not _holds_arrays(value):
        small = array.astype(np.int32)
        return small if np.array_equal(small, array) else array
    if kind in "USO":
        return _as_strings(array, value)
    as_dtype(array.dtype)  # raises TypeError for what weft has no type for
    return array


def _holds_arrays(value: Any) -> bool:
    """Whether a (nested) list holds NumPy values, whose type counts."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, (np.ndarray, np.generic))


def _python_as(array: np.ndarray[Any, Any], value: Any, dtype: DType) -> np.ndarray[Any, Any]:
    if dtype is string:
        return _as_strings(array, value)
    rank = "biufcUSO"
    allowed = {"b": "b", "i": "iu", "u": "iu", "f": "iuf", "V": "iuf", "c": "iufc"}[dtype.np.kind]
    kind = array.dtype.kind if array.size else allowed[-1]
    if kind not in allowed or kind not in rank:
        raise TypeError(f"Expected {dtype.name}, got {_short(value)} of type '{type(value).__name__}' instead.")
    converted = array.astype(dtype.np)
    if dtype.is_integer and not np.array_equal(converted, array):
        raise TypeError(f"Expected {dtype.name}, but {_short(value)} does not fit into it.")
    return converted


def _cast_array(array: np.ndarray[Any, Any], dtype: DType | None) -> np.ndarray[Any, Any]:
    if array.dtype.kind in "USO":
        if dtype not in (None, string):
            raise TypeError(f"Expected {dtype.name}, got an array of {array.dtype} instead.")
        return _as_strings(array, array)
    if dtype is None:
        as_dtype(array.dtype)
        return array.copy()
    if dtype is string or (array.dtype.kind == "c" and not dtype.is_complex):
        raise TypeError(f"Expected {dtype.name}, got an array of {array.dtype} instead.")
    return array.astype(dtype.np)


def _as_strings(array: np.ndarray[Any, Any], value: Any) -> np.ndarray[Any, Any]:
    """Strings as an array of bytes objects."""
    result = np.array(value, dtype=object) if array.dtype.kind != "O" else array.copy()
    flat = result.reshape(-1)
    for index, item in enumerate(flat):
        if isinstance(item, str):
            flat[index] = item.encode()
        elif not isinstance(item, bytes):
            raise TypeError(f"Cannot convert {_short(value)} of type '{type(item).__name__}' to a Tensor.")
    return flat.reshape(result.shape)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# values to tensors


def constant(
    value: Any, dtype: Any = None, shape: Any = None, name: str = "Const", verify_shape: bool = False
) -> Tensor:
    """A constant tensor.

    `value`: a Python or NumPy value; with `shape`, a scalar or too short a list is filled up with its last element
    (TF1), unless `verify_shape`. Source: `tf.constant`. Raises TypeError, ValueError where the value does not fit.
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
    if verify or array.size > size or array.size == 0:
        raise ValueError(f"a value of shape {array.shape} does not make a constant of shape {full}")
    padded = np.concatenate([array.reshape(-1), np.full(size - array.size, array.reshape(-1)[-1], array.dtype)])
    return padded.reshape(full)


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
        second = convert_to_tensor(y)
        first = convert_to_tensor(x, second.dtype, name=f"{name}/x")
    else:
        first = convert_to_tensor(x, name=f"{name}/x")
        second = convert_to_tensor(y, None if _is_tensor(y) else first.dtype, name=f"{name}/y")
    if first.dtype is not second.dtype:
        raise TypeError(
            f"Input 'y' of '{op_type}' Op has type {second.dtype.name} "
            f"that does not match type {first.dtype.name} of argument 'x'."
        )
    return first, second


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


def known_dims(tensor: TensorLike) -> Dims:
    """The static shape that a shape tensor (1-D, integer) stands for, as far as it is known; -1 counts as unknown."""
    if isinstance(tensor.known, tuple):
        return tuple(None if d is None or d < 0 else d for d in tensor.known)
    if tensor.dims is not None and len(tensor.dims) == 1 and tensor.dims[0] is not None:
        return (None,) * tensor.dims[0]
    return None


def constant_value(tensor: Tensor) -> Any:
    """The value of a tensor that is known without a run (a constant, or integers that shape inference knows), else None."""
    if isinstance(tensor, eager.EagerTensor):
        return tensor.numpy()
    definition = tensor.op.definition
    if isinstance(definition, Const):
        return definition.value.array
    known = tensor.known
    complete = isinstance(known, int) or (isinstance(known, tuple) and None not in known)
    return np.array(known, tensor.dtype.np) if complete else None


# placeholders


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor that every run must feed, of `shape` (None: any; a None inside: any dimension). Source: `tf.placeholder`.

    Raises RuntimeError in eager execution.
    """
    if context.executing_eagerly():
        raise RuntimeError("wf.placeholder() is not compatible with eager execution.")
    return Placeholder(as_dtype(dtype), as_dims(shape))(name=name)


def placeholder_with_default(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """A tensor that a run may feed and that is `input` otherwise. Source: `tf.placeholder_with_default`."""
    return PlaceholderWithDefault(as_dims(shape))(convert_to_tensor(input), name=name)


def stack(values: Any, axis: int = 0, name: str = "stack") -> Tensor:
    """Tensors of one shape and type stacked along a new `axis`. Source: `tf.stack`. Raises ValueError, TypeError."""
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
