"""Elementwise arithmetic: the bases Unary and Binary, the four operations, remainders, negation and sums of many."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, float32, float64
from ..errors import InvalidArgumentError
from ..indexed_slices import IndexedSlices
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..operators import operator
from .branchless import keep
from .broadcasting import sum_to
from .cast import Cast
from .constant import const
from .convert import convert_to_tensor, same_dtype


class Unary(Op):
    """Base of elementwise operations on one tensor: same shape, same type, one ufunc."""

    __slots__ = ()

    def infer(self, x: TensorLike) -> Spec:
        return Spec(self.result_dtype(x.dtype), x.dims)

    def result_dtype(self, dtype: DType) -> DType:
        """The output's type. Raises TypeError for a type that the operation does not take."""
        return numeric(self.type, dtype)

    def compute(self, x: Any) -> Any:
        return type(self).ufunc(x)  # type: ignore[misc]


class Binary(Op):
    """Base of elementwise operations on two tensors that broadcast: one type, one ufunc."""

    __slots__ = ()

    def infer(self, x: TensorLike, y: TensorLike) -> Spec:
        if x.dtype is not y.dtype:
            raise TypeError(f"expected two tensors of one type, got {x.dtype.name} and {y.dtype.name}")
        return Spec(self.result_dtype(x.dtype), shapes.broadcast(x.dims, y.dims))

    def result_dtype(self, dtype: DType) -> DType:
        """The output's type. Raises TypeError for a type that the operation does not take."""
        return numeric(self.type, dtype)

    def compute(self, x: Any, y: Any) -> Any:
        return type(self).ufunc(x, y)  # type: ignore[misc]


def numeric(op_type: str, dtype: DType) -> DType:
    """`dtype` if it is a number type. Raises TypeError otherwise."""
    return _of_kind(op_type, dtype, dtype.is_numeric, "numbers")


def real(op_type: str, dtype: DType) -> DType:
    """`dtype` if it is an integer or floating type. Raises TypeError otherwise."""
    return _of_kind(op_type, dtype, dtype.is_numeric and not dtype.is_complex, "real numbers")


def floating(op_type: str, dtype: DType) -> DType:
    """`dtype` if it is a floating type. Raises TypeError otherwise."""
    return _of_kind(op_type, dtype, dtype.is_floating, "floating-point numbers")


def inexact(op_type: str, dtype: DType) -> DType:
    """`dtype` if it is a floating or complex type. Raises TypeError otherwise."""
    return _of_kind(op_type, dtype, dtype.is_floating or dtype.is_complex, "floating-point or complex numbers")


def _of_kind(op_type: str, dtype: DType, fits: bool, kind: str) -> DType:
    if not fits:
        raise TypeError(f"{op_type} takes {kind}, got {dtype.name}")
    return dtype


def number(value: float, like: Tensor) -> Tensor:
    """A scalar constant in the type of a tensor."""
    return const(np.array(value, like.dtype.np))


@op
class AddV2(Binary):
    """x + y."""

    ufunc = np.add
    passes_slices = True

    def grad(self, operation: Operation, dy: Any) -> list[Any]:
        x, y = operation.inputs
        if isinstance(dy, IndexedSlices):
            return [_rows_to(dy, x, operation), _rows_to(dy, y, operation)]
        return [sum_to(dy, x), sum_to(dy, y)]


@op
class Sub(Binary):
    """x - y."""

    ufunc = np.subtract
    passes_slices = True

    def grad(self, operation: Operation, dy: Any) -> list[Any]:
        x, y = operation.inputs
        if isinstance(dy, IndexedSlices):
            return [_rows_to(dy, x, operation), _rows_to(dy.map(Neg()), y, operation)]
        return [sum_to(dy, x), sum_to(Neg()(dy), y)]


def _rows_to(dy: IndexedSlices, x: Tensor, operation: Operation) -> Any:
    """The gradient of an x that the operation may broadcast: the rows themselves where all shapes are known and it does not.

    With another input of unknown shape the rows could stay, too, but become dense in TensorFlow.
    """
    if x.dims == operation.outputs[0].dims and all(shapes.is_full(tensor.dims) for tensor in operation.inputs):
        return dy
    return sum_to(convert_to_tensor(dy), x)


@op
class Mul(Binary):
    """x * y."""

    ufunc = np.multiply

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        return [sum_to(chain(dy, y), x), sum_to(chain(dy, x), y)]


@op
class Neg(Unary):
    """-x."""

    ufunc = np.negative
    passes_slices = True

    def grad(self, operation: Operation, dy: Any) -> list[Any]:
        return [dy.map(Neg()) if isinstance(dy, IndexedSlices) else Neg()(dy)]


@op
class Conj(Unary):
    """The complex conjugate."""

    ufunc = np.conjugate

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [conj(dy)]


def conj(x: Any, name: str | None = None) -> Tensor:
    """The complex conjugate; real tensors as they are. Source: `tf.conj`. Raises TypeError for no numbers."""
    tensor = convert_to_tensor(x)
    numeric("Conj", tensor.dtype)
    return Conj()(tensor, name=name) if tensor.dtype.is_complex else tensor


def chain(dy: Tensor, slope: Tensor) -> Tensor:
    """The gradient through a function with that derivative: for complex numbers TF multiplies by the conjugate."""
    return Mul()(dy, conj(slope))


@op
class RealDiv(Binary):
    """x / y."""

    ufunc = np.true_divide

    def result_dtype(self, dtype: DType) -> DType:
        return inexact(self.type, dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        dx = RealDiv()(dy, conj(y))
        return [sum_to(dx, x), sum_to(Neg()(chain(dx, operation.outputs[0])), y)]


@op
class DivNoNan(Binary):
    """x / y, and 0 where y is 0."""

    def result_dtype(self, dtype: DType) -> DType:
        return inexact(self.type, dtype)

    def compute(self, x: Any, y: Any) -> Any:
        y = np.asarray(y)
        none = y == 0
        quotient = np.asarray(x / np.where(none, np.ones((), y.dtype), y))
        return np.where(none, np.zeros((), y.dtype), quotient)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        dx = DivNoNan()(dy, conj(y))
        return [sum_to(dx, x), sum_to(Neg()(chain(dx, operation.outputs[0])), y)]


@op
class FloorDiv(Binary):
    """floor(x / y)."""

    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        return real(self.type, dtype)

    def compute(self, x: Any, y: Any) -> Any:
        if not _integer_divisor(y):
            return np.floor(np.true_divide(x, y))
        return np.floor_divide(x, y)


@op
class FloorMod(Binary):
    """x - y * floor(x / y): it has the sign of y."""

    def result_dtype(self, dtype: DType) -> DType:
        return real(self.type, dtype)

    def compute(self, x: Any, y: Any) -> Any:
        _integer_divisor(y)
        return np.remainder(x, y)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        return [sum_to(dy, x), sum_to(Neg()(Mul()(dy, FloorDiv()(x, y))), y)]


def _integer_divisor(y: Any) -> bool:
    """Whether the divisor is an integer. Raises InvalidArgumentError for an integer 0."""
    y = np.asarray(y)
    if y.dtype.kind not in "iu":
        return False
    if not y.all():
        raise InvalidArgumentError(None, None, "Integer division by zero")
    return True


@op
class Masked(Op):
    """x where the mask holds, 0 elsewhere. Gradients use it: unlike a product it keeps no inf or nan of the rest."""

    def infer(self, mask: TensorLike, x: TensorLike) -> Spec:
        if not mask.dtype.is_bool:
            raise TypeError(f"the mask must be bool, got {mask.dtype.name}")
        return Spec(numeric(self.type, x.dtype), shapes.broadcast(mask.dims, x.dims))

    def compute(self, mask: Any, x: Any) -> Any:
        return keep(mask, np.asarray(x))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        mask, x = operation.inputs
        return [None, sum_to(Masked()(mask, dy), x)]


@op
class AddN(Op):
    """The sum of several tensors of one shape and type, added from left to right."""

    passes_slices = True

    def infer(self, *inputs: TensorLike) -> Spec:
        dims = None
        for tensor in inputs:
            dims = shapes.merge(dims, tensor.dims)
            if tensor.dtype is not inputs[0].dtype:
                raise TypeError(f"add_n takes tensors of one type, got {inputs[0].dtype.name} and {tensor.dtype.name}")
        return Spec(numeric("AddN", inputs[0].dtype), dims)

    def compute(self, *inputs: Any) -> Any:
        total = np.array(inputs[0])
        for tensor in inputs[1:]:
            np.add(total, tensor, out=total)
        return total

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [dy] * len(operation.inputs)


def add(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x + y, elementwise with broadcasting. Source: `tf.add`. Raises TypeError for two types, ValueError for shapes."""
    return AddV2()(*same_dtype("AddV2", x, y, name or "Add"), name=name or "Add")


def subtract(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x - y, elementwise with broadcasting. Source: `tf.subtract`. Raises TypeError for two types, ValueError for shapes."""
    return Sub()(*same_dtype("Sub", x, y, name), name=name)


def multiply(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x * y, elementwise with broadcasting. Source: `tf.multiply`. Raises TypeError for two types, ValueError for shapes."""
    return Mul()(*same_dtype("Mul", x, y, name), name=name)


@operator("truediv")
def truediv(x: Any, y: Any, name: str = "truediv") -> Tensor:
    """x / y; ints are cast: of 8 and 16 bits to float32, of 32 and 64 to float64. Source: `tf.truediv`. Raises TypeError."""
    first, second = same_dtype("RealDiv", x, y, name)
    if first.dtype.is_integer:
        wanted = float32 if first.dtype.size <= 2 else float64
        first, second = Cast(wanted)(first), Cast(wanted)(second)
    return RealDiv()(first, second, name=name)


def divide(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y with Python's meaning of `/`, see `truediv`. Source: `tf.divide`."""
    return truediv(x, y, name or "truediv")


def realdiv(x: Any, y: Any, name: str = "RealDiv") -> Tensor:
    """x / y of floats or complex numbers. Source: `tf.realdiv`. Raises TypeError for ints."""
    return RealDiv()(*same_dtype("RealDiv", x, y, name), name=name)


def div(x: Any, y: Any, name: str = "div") -> Tensor:
    """x / y with Python 2's meaning: of ints the floor. Source: `tf.div`. Raises as `add`."""
    first, second = same_dtype("Div", x, y, name)
    return (FloorDiv() if first.dtype.is_integer else RealDiv())(first, second, name=name)


def div_no_nan(x: Any, y: Any, name: str = "div_no_nan") -> Tensor:
    """x / y, and 0 where y is 0, of floats and complex numbers. Source: `tf.div_no_nan`. Raises as `add`."""
    return DivNoNan()(*same_dtype("DivNoNan", x, y, name), name=name)


@operator("floordiv")
def floordiv(x: Any, y: Any, name: str = "floordiv") -> Tensor:
    """floor(x / y). Source: `tf.floordiv`. A run raises InvalidArgumentError for an integer division by zero."""
    return FloorDiv()(*same_dtype("FloorDiv", x, y, name), name=name)


def floormod(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The rest of a floor division, with the sign of y. Source: `tf.floormod`, `tf.mod`. Errors as `floordiv`."""
    return FloorMod()(*same_dtype("FloorMod", x, y, name), name=name)


mod = floormod

# The operators name what they make after themselves, the functions after the kind of operation, as in TensorFlow.
operator("add")(partial(add, name="add"))
operator("sub")(partial(subtract, name="sub"))
operator("mul")(partial(multiply, name="mul"))
operator("mod")(partial(floormod, name="mod"))


@operator("neg")
def negative(x: Any, name: str | None = None) -> Tensor:
    """-x, of the shape and type of `x`. Source: `tf.negative`. Raises TypeError for bool and string."""
    return Neg()(convert_to_tensor(x), name=name)


def add_n(inputs: Any, name: str | None = None) -> Tensor:
    """The sum of a list of tensors of one shape and type. Source: `tf.add_n`. Raises ValueError for an empty list."""
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise ValueError("inputs must be a list of at least one Tensor/IndexedSlices with the same dtype and shape")
    tensors = [convert_to_tensor(item) for item in inputs]
    return tensors[0] if len(tensors) == 1 and name is None else AddN()(*tensors, name=name)
