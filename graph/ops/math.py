"""Elementwise functions with corners: powers, absolute values, signs, extrema, clipping and rounding."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from ..dtypes import DType, as_dtype
from ..errors import InvalidArgumentError
from ..indexed_slices import IndexedSlices
from ..ir import Operation, Tensor
from ..op import op
from ..operators import operator
from ..shapes import compatible
from .arithmetic import (  # fmt: skip
    AddV2,
    Binary,
    DivNoNan,
    Masked,
    Mul,
    Neg,
    Sub,
    Unary,
    chain,
    floating,
    number,
    real,
)
from .broadcasting import sum_to
from .cast import Cast, cast
from .compare import Greater, GreaterEqual, LessEqual, LogicalNot, NotEqual
from .complex import ComplexAbs, Real, as_complex
from .constant import const
from .convert import convert_to_tensor, same_dtype
from .fills import ZerosLike
from .transcendental import Log


@op
class Pow(Binary):
    """x to the power of y."""

    def compute(self, x: Any, y: Any) -> Any:
        y = np.asarray(y)
        if y.dtype.kind == "i" and (y < 0).any():
            raise InvalidArgumentError(None, None, "Integers to negative integer powers are not allowed")
        if y.ndim == 0 and y == 2:
            return np.square(x)
        if y.ndim == 0 and y == 3:  # pow() itself takes a hundred times as long
            return np.square(x) * x
        return np.power(x, y)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        slope_x = Mul()(y, Pow()(x, Sub()(y, number(1, y))))
        slope_y = Mul()(operation.outputs[0], _log_or_zero(x))
        return [sum_to(chain(dy, slope_x), x), sum_to(chain(dy, slope_y), y)]


def _log_or_zero(x: Tensor) -> Tensor:
    """log(x), and 0 where there is none; so is its gradient, which a mask after the logarithm would make nan."""
    fits = (NotEqual() if x.dtype.is_complex else Greater())(x, number(0, x))
    return Log()(AddV2()(Masked()(fits, x), Cast(x.dtype)(LogicalNot()(fits))))


@op
class SquaredDifference(Binary):
    """(x - y) squared; of complex numbers the square of its absolute value."""

    def compute(self, x: Any, y: Any) -> Any:
        difference = np.subtract(x, y)
        return difference * np.conjugate(difference)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        if dy.dtype.is_complex:  # the value is real
            dy = as_complex(Real()(dy))
        dx = Mul()(Mul()(number(2, dy), dy), Sub()(x, y))
        return [sum_to(dx, x), sum_to(Neg()(dx), y)]


class Extremum(Binary):
    """Base of the larger and the smaller of two: the gradient goes to the one that was taken, of equal ones to x."""

    __slots__ = ()

    def result_dtype(self, dtype: DType) -> DType:
        return real(self.type, dtype)

    def takes_x(self, x: Tensor, y: Tensor) -> Tensor:
        """Where the value is x."""
        raise NotImplementedError(f"{self.type} does not say which input it takes")

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        first = self.takes_x(x, y)
        return [sum_to(Masked()(first, dy), x), sum_to(Masked()(LogicalNot()(first), dy), y)]


@op
class Maximum(Extremum):
    """The larger of x and y; nan where one is."""

    ufunc = np.maximum

    def takes_x(self, x: Tensor, y: Tensor) -> Tensor:
        return GreaterEqual()(x, y)


@op
class Minimum(Extremum):
    """The smaller of x and y; nan where one is."""

    ufunc = np.minimum

    def takes_x(self, x: Tensor, y: Tensor) -> Tensor:
        return LessEqual()(x, y)


@op
class Abs(Unary):
    """The absolute value of a real number."""

    ufunc = np.absolute

    def result_dtype(self, dtype: DType) -> DType:
        return real(self.type, dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [Mul()(dy, Sign()(operation.inputs[0]))]


@op
class Sign(Unary):
    """-1, 0 or 1 by the sign of a real number."""

    ufunc = np.sign

    def result_dtype(self, dtype: DType) -> DType:
        return real(self.type, dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [ZerosLike()(operation.inputs[0])]


class Rounding(Unary):
    """Base of roundings to whole numbers: no gradient."""

    __slots__ = ()
    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        return floating(self.type, dtype)


@op
class Floor(Rounding):
    """The next whole number below."""

    ufunc = np.floor


@op
class Ceil(Rounding):
    """The next whole number above."""

    ufunc = np.ceil


@op
class Round(Rounding):
    """The nearest whole number, of two the even one."""

    ufunc = np.rint


@op
class Rint(Rounding):
    """The nearest whole number, of two the even one."""

    ufunc = np.rint


# the public functions


def pow(x: Any, y: Any, name: str = "Pow") -> Tensor:
    """x to the power of y, elementwise with broadcasting. Source: `tf.pow`.

    A run raises InvalidArgumentError for an integer to a negative power.
    """
    return Pow()(*same_dtype("Pow", x, y, name), name=name)


@operator("pow")
def _pow_operator(x: Any, y: Any) -> Tensor:
    return pow(x, y, "pow")


def squared_difference(x: Any, y: Any, name: str | None = None) -> Tensor:
    """(x - y) squared, elementwise with broadcasting. Source: `tf.squared_difference`."""
    return SquaredDifference()(*same_dtype("SquaredDifference", x, y, name), name=name)


def maximum(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The larger of two real numbers, elementwise with broadcasting. Source: `tf.maximum`. Raises TypeError."""
    return Maximum()(*same_dtype("Maximum", x, y, name), name=name)


def minimum(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The smaller of two real numbers, elementwise with broadcasting. Source: `tf.minimum`. Raises TypeError."""
    return Minimum()(*same_dtype("Minimum", x, y, name), name=name)


@operator("abs")
def abs(x: Any, name: str | None = None) -> Tensor:
    """The absolute value; of complex numbers a real one. Source: `tf.abs`."""
    tensor = convert_to_tensor(x)
    return (ComplexAbs() if tensor.dtype.is_complex else Abs())(tensor, name=name)


def sign(x: Any, name: str | None = None) -> Tensor:
    """-1, 0 or 1; of complex numbers x / |x|, or 0. Source: `tf.sign`. Raises TypeError for no numbers."""
    tensor = convert_to_tensor(x)
    if tensor.dtype.is_complex:
        return DivNoNan()(tensor, Cast(tensor.dtype)(ComplexAbs()(tensor)), name=name)
    return Sign()(tensor, name=name)


def floor(x: Any, name: str | None = None) -> Tensor:
    """The next whole number below, of floats. Source: `tf.floor`. Raises TypeError for other types."""
    return Floor()(convert_to_tensor(x), name=name)


def ceil(x: Any, name: str | None = None) -> Tensor:
    """The next whole number above, of floats. Source: `tf.ceil`. Raises TypeError for other types."""
    return Ceil()(convert_to_tensor(x), name=name)


def round(x: Any, name: str | None = None) -> Tensor:
    """The nearest whole number, of two the even one; integers as they are. Source: `tf.round`. Raises TypeError."""
    tensor = convert_to_tensor(x)
    return tensor if tensor.dtype.is_integer else Round()(tensor, name=name)


def rint(x: Any, name: str | None = None) -> Tensor:
    """The nearest whole number, of two the even one, of floats. Source: `tf.rint`. Raises TypeError for other types."""
    return Rint()(convert_to_tensor(x), name=name)


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    """`t` limited to [clip_value_min, clip_value_max], which broadcast to it. Source: `tf.clip_by_value`.

    Of IndexedSlices the rows that they hold are limited, and they stay IndexedSlices. Raises ValueError where a limit
    would give another shape than that of `t`.
    """
    if isinstance(t, IndexedSlices):
        return IndexedSlices(clip_by_value(t.values, clip_value_min, clip_value_max, name), t.indices, t.dense_shape)
    tensor = convert_to_tensor(t)
    limited = minimum(tensor, clip_value_max)
    clipped = maximum(limited, clip_value_min, name=name or "clip_by_value")
    for result in (limited, clipped):
        if not compatible(tensor.dims, result.dims):
            raise ValueError(f"Shapes {tensor.shape} and {result.shape} are incompatible")
    return clipped


def saturate_cast(value: Any, dtype: Any, name: str | None = None) -> Tensor:
    """`value` cast to `dtype`, what lies outside of its range to its nearest end. Source: `tf.saturate_cast`."""
    tensor, wanted = convert_to_tensor(value), as_dtype(dtype)
    if float(wanted.min) > float(tensor.dtype.min):
        tensor = maximum(tensor, _end(wanted.min, tensor.dtype))
    if float(wanted.max) < float(tensor.dtype.max):
        tensor = minimum(tensor, _end(wanted.max, tensor.dtype))
    return cast(tensor, wanted, name or "saturate_cast")


def _end(limit: Any, dtype: DType) -> Tensor:
    """The end of a range in a type: rounded towards 0, lest casting it back overflows."""
    exact = int(limit)  # the ends of the floating types are whole numbers as well
    value = np.array(float(exact) if dtype.is_floating else exact).astype(dtype.np)
    if builtins.abs(int(value.astype(np.float64))) > builtins.abs(exact):
        value = np.nextafter(value, np.zeros((), dtype.np))
    return const(np.asarray(value))
