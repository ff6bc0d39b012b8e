"""Comparisons, logic on bools, bits of integers, and questions about nan and inf."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import DType, boolean
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import op
from ..operators import operator
from .arithmetic import Binary, Unary, floating, real
from .convert import convert_to_tensor, same_dtype


class Comparison(Binary):
    """Base of comparisons of real numbers."""

    __slots__ = ()
    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        real(self.type, dtype)
        return boolean


class Logic(Binary):
    """Base of logical operations on two bools."""

    __slots__ = ()
    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        return logical(self.type, dtype)


class Bits(Binary):
    """Base of operations on the bits of two integers."""

    __slots__ = ()
    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        return integer(self.type, dtype)


class Question(Unary):
    """Base of questions about floating-point numbers."""

    __slots__ = ()
    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        floating(self.type, dtype)
        return boolean


def logical(op_type: str, dtype: DType) -> DType:
    """`dtype` if it is bool. Raises TypeError otherwise."""
    if not dtype.is_bool:
        raise TypeError(f"{op_type} takes bools, got {dtype.name}")
    return dtype


def integer(op_type: str, dtype: DType) -> DType:
    """`dtype` if it is an integer type. Raises TypeError otherwise."""
    if not dtype.is_integer:
        raise TypeError(f"{op_type} takes integers, got {dtype.name}")
    return dtype


@op
class Equal(Binary):
    """x == y, of any type."""

    ufunc = np.equal
    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        return boolean


@op
class NotEqual(Binary):
    """x != y, of any type."""

    ufunc = np.not_equal
    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        return boolean


@op
class Less(Comparison):
    """x < y."""

    ufunc = np.less


@op
class LessEqual(Comparison):
    """x <= y."""

    ufunc = np.less_equal


@op
class Greater(Comparison):
    """x > y."""

    ufunc = np.greater


@op
class GreaterEqual(Comparison):
    """x >= y."""

    ufunc = np.greater_equal


@op
class LogicalAnd(Logic):
    """x and y."""

    ufunc = np.logical_and


@op
class LogicalOr(Logic):
    """x or y."""

    ufunc = np.logical_or


@op
class LogicalNot(Unary):
    """not x."""

    ufunc = np.logical_not
    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        return logical(self.type, dtype)


@op
class BitwiseAnd(Bits):
    """The bits that both integers have."""

    ufunc = np.bitwise_and


@op
class BitwiseOr(Bits):
    """The bits that either integer has."""

    ufunc = np.bitwise_or


@op
class BitwiseXor(Bits):
    """The bits that just one of the integers has."""

    ufunc = np.bitwise_xor


@op
class Invert(Unary):
    """The bits that an integer does not have."""

    ufunc = np.invert
    not_differentiable = True

    def result_dtype(self, dtype: DType) -> DType:
        return integer(self.type, dtype)


@op
class IsNan(Question):
    """Whether a number is nan."""

    ufunc = np.isnan


@op
class IsInf(Question):
    """Whether a number is inf or -inf."""

    ufunc = np.isinf


@op
class IsFinite(Question):
    """Whether a number is neither nan nor infinite."""

    ufunc = np.isfinite


@op
class CheckNumerics(Unary):
    """The input, if all of it is finite; the gradient is checked as well."""

    message: str
    view = True

    def result_dtype(self, dtype: DType) -> DType:
        return floating(self.type, dtype)

    def compute(self, x: Any) -> Any:
        if not np.isfinite(x).all():
            found = [text for text, test in (("Inf", np.isinf), ("NaN", np.isnan)) if test(x).any()]
            raise InvalidArgumentError(None, None, f"{self.message} : Tensor had {' and '.join(found)} values")
        return x

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        about = "Not a number (NaN) or infinity (Inf) values detected in gradient."
        return [CheckNumerics(f"{about} {self.message}")(dy)]


# the public functions


def equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x == y elementwise with broadcasting, a bool tensor, of any one type. Source: `tf.equal`. Raises as `add`."""
    return Equal()(*same_dtype("Equal", x, y, name), name=name)


def not_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x != y elementwise with broadcasting, a bool tensor, of any one type. Source: `tf.not_equal`. Raises as `add`."""
    return NotEqual()(*same_dtype("NotEqual", x, y, name), name=name)


@operator("less")
def less(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x < y elementwise with broadcasting, a bool tensor, of real numbers. Source: `tf.less`. Raises as `add`."""
    return Less()(*same_dtype("Less", x, y, name), name=name)


@operator("less_equal")
def less_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x <= y elementwise with broadcasting, a bool tensor, of real numbers. Source: `tf.less_equal`. Raises as `add`."""
    return LessEqual()(*same_dtype("LessEqual", x, y, name), name=name)


@operator("greater")
def greater(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x > y elementwise with broadcasting, a bool tensor, of real numbers. Source: `tf.greater`. Raises as `add`."""
    return Greater()(*same_dtype("Greater", x, y, name), name=name)


@operator("greater_equal")
def greater_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x >= y elementwise with broadcasting, a bool tensor, of real numbers. Source: `tf.greater_equal`. Raises as `add`."""
    return GreaterEqual()(*same_dtype("GreaterEqual", x, y, name), name=name)


def logical_and(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Where both bools are true. Source: `tf.logical_and`. Raises TypeError for other types."""
    return LogicalAnd()(*same_dtype("LogicalAnd", x, y, name), name=name)


def logical_or(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Where either bool is true. Source: `tf.logical_or`. Raises TypeError for other types."""
    return LogicalOr()(*same_dtype("LogicalOr", x, y, name), name=name)


def logical_not(x: Any, name: str | None = None) -> Tensor:
    """Where a bool is false. Source: `tf.logical_not`. Raises TypeError for other types."""
    return LogicalNot()(convert_to_tensor(x), name=name)


def logical_xor(x: Any, y: Any, name: str = "LogicalXor") -> Tensor:
    """Where just one of the bools is true. Source: `tf.logical_xor`. Raises TypeError for other types."""
    first, second = same_dtype("LogicalXor", x, y, name)
    logical("LogicalXor", first.dtype)
    return NotEqual()(first, second, name=name)


@operator("and")
def and_(x: Any, y: Any, name: str = "and") -> Tensor:
    """`x & y`: of bools, or of the bits of integers. Raises TypeError for other types."""
    first, second = same_dtype("LogicalAnd", x, y, name)
    return (BitwiseAnd() if first.dtype.is_integer else LogicalAnd())(first, second, name=name)


@operator("or")
def or_(x: Any, y: Any, name: str = "or") -> Tensor:
    """`x | y`: of bools, or of the bits of integers. Raises TypeError for other types."""
    first, second = same_dtype("LogicalOr", x, y, name)
    return (BitwiseOr() if first.dtype.is_integer else LogicalOr())(first, second, name=name)


@operator("xor")
def xor(x: Any, y: Any, name: str = "xor") -> Tensor:
    """`x ^ y`: of bools, or of the bits of integers. Raises TypeError for other types."""
    first, second = same_dtype("LogicalXor", x, y, name)
    return BitwiseXor()(first, second, name=name) if first.dtype.is_integer else logical_xor(first, second, name)


@operator("invert")
def invert(x: Any, name: str | None = None) -> Tensor:
    """`~x`: of bools, or of the bits of integers. Raises TypeError for other types."""
    tensor = convert_to_tensor(x)
    return (Invert() if tensor.dtype.is_integer else LogicalNot())(tensor, name=name)


def is_nan(x: Any, name: str | None = None) -> Tensor:
    """Where a float is nan. Source: `tf.is_nan`. Raises TypeError for other types."""
    return IsNan()(convert_to_tensor(x), name=name)


def is_inf(x: Any, name: str | None = None) -> Tensor:
    """Where a float is inf or -inf. Source: `tf.is_inf`. Raises TypeError for other types."""
    return IsInf()(convert_to_tensor(x), name=name)


def is_finite(x: Any, name: str | None = None) -> Tensor:
    """Where a float is neither nan nor infinite. Source: `tf.is_finite`. Raises TypeError for other types."""
    return IsFinite()(convert_to_tensor(x), name=name)


def check_numerics(tensor: Any, message: str, name: str | None = None) -> Tensor:
    """The tensor itself; a run raises InvalidArgumentError with `message` when it holds nan or inf, as does its gradient.

    Source: `tf.check_numerics`. Raises TypeError for types that are not floating.
    """
    return CheckNumerics(message)(convert_to_tensor(tensor), name=name)
