"""Smooth functions of one tensor: roots, exponentials, logarithms, trigonometric and hyperbolic functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import DType
from ..ir import Operation, Tensor
from ..op import op
from .arithmetic import AddV2, Binary, Mul, Neg, RealDiv, Sub, Unary, chain, conj, floating, inexact, number, numeric
from .broadcasting import sum_to
from .convert import convert_to_tensor, same_dtype
from .from_value import FromValue, ReciprocalGrad, RsqrtGrad, SqrtGrad


class Smooth(Unary):
    """Base of differentiable functions of floats and complex numbers."""

    __slots__ = ()

    def result_dtype(self, dtype: DType) -> DType:
        return inexact(self.type, dtype)

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        """The derivative at x, where the value is y."""
        raise NotImplementedError(f"{self.type} says neither its slope nor its gradient")

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [chain(dy, self.slope(operation.inputs[0], operation.outputs[0]))]


class SmoothInverse(Smooth):
    """Base of functions whose derivative is 1 over something simple, which `slope` gives."""

    __slots__ = ()

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [RealDiv()(dy, conj(self.slope(operation.inputs[0], operation.outputs[0])))]


def one_plus(x: Tensor) -> Tensor:
    """1 + x."""
    return AddV2()(number(1, x), x)


def one_minus(x: Tensor) -> Tensor:
    """1 - x."""
    return Sub()(number(1, x), x)


@op
class Square(Smooth):
    """x * x."""

    ufunc = np.square

    def result_dtype(self, dtype: DType) -> DType:
        return numeric(self.type, dtype)

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return Mul()(number(2, x), x)


@op
class Sqrt(Smooth):
    """The square root."""

    ufunc = np.sqrt

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [SqrtGrad()(operation.outputs[0], dy)]


@op
class Reciprocal(Smooth):
    """1 / x."""

    ufunc = np.reciprocal

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [ReciprocalGrad()(operation.outputs[0], dy)]


@op
class Rsqrt(Smooth):
    """1 / sqrt(x)."""

    def compute(self, x: Any) -> Any:
        return np.reciprocal(np.sqrt(x))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [RsqrtGrad()(operation.outputs[0], dy)]


@op
class Exp(Smooth):
    """e to the power of x."""

    ufunc = np.exp

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return y


@op
class Expm1(Smooth):
    """exp(x) - 1, exact near 0."""

    ufunc = np.expm1

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return Exp()(x)


@op
class Log(SmoothInverse):
    """The natural logarithm."""

    ufunc = np.log

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return x


@op
class Log1p(SmoothInverse):
    """log(1 + x), exact near 0."""

    ufunc = np.log1p

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return one_plus(x)


@op
class Sin(Smooth):
    """The sine."""

    ufunc = np.sin

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return Cos()(x)


@op
class Cos(Smooth):
    """The cosine."""

    ufunc = np.cos

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return Neg()(Sin()(x))


@op
class Tan(Smooth):
    """The tangent."""

    ufunc = np.tan

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return one_plus(Square()(y))


@op
class Asin(SmoothInverse):
    """The inverse sine."""

    ufunc = np.arcsin

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return Sqrt()(one_minus(Square()(x)))


@op
class Acos(SmoothInverse):
    """The inverse cosine."""

    ufunc = np.arccos

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return Neg()(Sqrt()(one_minus(Square()(x))))


@op
class Atan(SmoothInverse):
    """The inverse tangent."""

    ufunc = np.arctan

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return one_plus(Square()(x))


@op
class Sinh(Smooth):
    """The hyperbolic sine."""

    ufunc = np.sinh

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return Cosh()(x)


@op
class Cosh(Smooth):
    """The hyperbolic cosine."""

    ufunc = np.cosh

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return Sinh()(x)


@op
class Tanh(Smooth):
    """The hyperbolic tangent."""

    ufunc = np.tanh

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [TanhGrad()(operation.outputs[0], dy)]


@op
class TanhGrad(FromValue):
    """y times 1 - x * x (its conjugate): x is the hyperbolic tangent, y the gradient that arrived."""

    def compute(self, x: Any, y: Any) -> Any:
        return y * np.conjugate(x.dtype.type(1) - x * x)

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor]:
        y, dy = operation.inputs
        return [chain(Mul()(Mul()(number(-2, y), conj(ddx)), dy), y), TanhGrad()(conj(y), ddx)]


@op
class Asinh(SmoothInverse):
    """The inverse hyperbolic sine."""

    ufunc = np.arcsinh

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return Cosh()(y)


@op
class Acosh(SmoothInverse):
    """The inverse hyperbolic cosine, from 1 upwards."""

    ufunc = np.arccosh

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return Sinh()(y)


@op
class Atanh(SmoothInverse):
    """The inverse hyperbolic tangent."""

    ufunc = np.arctanh

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return one_minus(Square()(x))


@op
class Atan2(Binary):
    """The angle of the point (x, y), in (-pi, pi]; the first input is y."""

    ufunc = np.arctan2

    def result_dtype(self, dtype: DType) -> DType:
        return floating(self.type, dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        y, x = operation.inputs
        scaled = RealDiv()(dy, AddV2()(Square()(x), Square()(y)))
        return [sum_to(Mul()(x, scaled), y), sum_to(Neg()(Mul()(y, scaled)), x)]


# the public functions


def square(x: Any, name: str | None = None) -> Tensor:
    """x * x, elementwise. Source: `tf.square`."""
    return Square()(convert_to_tensor(x), name=name)


def sqrt(x: Any, name: str | None = None) -> Tensor:
    """The square root, elementwise. Source: `tf.sqrt`. Raises TypeError for integers."""
    return Sqrt()(convert_to_tensor(x), name=name)


def reciprocal(x: Any, name: str | None = None) -> Tensor:
    """1 / x, elementwise. Source: `tf.reciprocal`. Raises TypeError for integers."""
    return Reciprocal()(convert_to_tensor(x), name=name)


def rsqrt(x: Any, name: str | None = None) -> Tensor:
    """1 / sqrt(x), elementwise. Source: `tf.rsqrt`. Raises TypeError for integers."""
    return Rsqrt()(convert_to_tensor(x), name=name)


def exp(x: Any, name: str | None = None) -> Tensor:
    """e to the power of x, elementwise. Source: `tf.exp`. Raises TypeError for integers."""
    return Exp()(convert_to_tensor(x), name=name)


def expm1(x: Any, name: str | None = None) -> Tensor:
    """exp(x) - 1, exact near 0, elementwise. Source: `tf.expm1`. Raises TypeError for integers."""
    return Expm1()(convert_to_tensor(x), name=name)


def log(x: Any, name: str | None = None) -> Tensor:
    """The natural logarithm, elementwise. Source: `tf.log`. Raises TypeError for integers."""
    return Log()(convert_to_tensor(x), name=name)


def log1p(x: Any, name: str | None = None) -> Tensor:
    """log(1 + x), exact near 0, elementwise. Source: `tf.log1p`. Raises TypeError for integers."""
    return Log1p()(convert_to_tensor(x), name=name)


def sin(x: Any, name: str | None = None) -> Tensor:
    """The sine, elementwise. Source: `tf.sin`. Raises TypeError for integers."""
    return Sin()(convert_to_tensor(x), name=name)


def cos(x: Any, name: str | None = None) -> Tensor:
    """The cosine, elementwise. Source: `tf.cos`. Raises TypeError for integers."""
    return Cos()(convert_to_tensor(x), name=name)


def tan(x: Any, name: str | None = None) -> Tensor:
    """The tangent, elementwise. Source: `tf.tan`. Raises TypeError for integers."""
    return Tan()(convert_to_tensor(x), name=name)


def asin(x: Any, name: str | None = None) -> Tensor:
    """The inverse sine, elementwise. Source: `tf.asin`. Raises TypeError for integers."""
    return Asin()(convert_to_tensor(x), name=name)


def acos(x: Any, name: str | None = None) -> Tensor:
    """The inverse cosine, elementwise. Source: `tf.acos`. Raises TypeError for integers."""
    return Acos()(convert_to_tensor(x), name=name)


def atan(x: Any, name: str | None = None) -> Tensor:
    """The inverse tangent, elementwise. Source: `tf.atan`. Raises TypeError for integers."""
    return Atan()(convert_to_tensor(x), name=name)


def sinh(x: Any, name: str | None = None) -> Tensor:
    """The hyperbolic sine, elementwise. Source: `tf.sinh`. Raises TypeError for integers."""
    return Sinh()(convert_to_tensor(x), name=name)


def cosh(x: Any, name: str | None = None) -> Tensor:
    """The hyperbolic cosine, elementwise. Source: `tf.cosh`. Raises TypeError for integers."""
    return Cosh()(convert_to_tensor(x), name=name)


def tanh(x: Any, name: str | None = None) -> Tensor:
    """The hyperbolic tangent, elementwise. Source: `tf.tanh`. Raises TypeError for integers."""
    return Tanh()(convert_to_tensor(x), name=name)


def asinh(x: Any, name: str | None = None) -> Tensor:
    """The inverse hyperbolic sine, elementwise. Source: `tf.asinh`. Raises TypeError for integers."""
    return Asinh()(convert_to_tensor(x), name=name)


def acosh(x: Any, name: str | None = None) -> Tensor:
    """The inverse hyperbolic cosine, from 1 upwards, elementwise. Source: `tf.acosh`. Raises TypeError for integers."""
    return Acosh()(convert_to_tensor(x), name=name)


def atanh(x: Any, name: str | None = None) -> Tensor:
    """The inverse hyperbolic tangent, elementwise. Source: `tf.atanh`. Raises TypeError for integers."""
    return Atanh()(convert_to_tensor(x), name=name)


def atan2(y: Any, x: Any, name: str | None = None) -> Tensor:
    """The angle of the point (x, y), in (-pi, pi], elementwise. Source: `tf.atan2`. Raises TypeError for integers."""
    return Atan2()(*same_dtype("Atan2", y, x, name), name=name)
