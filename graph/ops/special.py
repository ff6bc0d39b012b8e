"""The sigmoid and the error functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..dtypes import DType
from ..ir import Operation, Tensor
from ..op import op
from .arithmetic import Mul, Neg, chain, conj, floating, number
from .convert import convert_to_tensor
from .from_value import FromValue
from .transcendental import Exp, Smooth, Square, one_minus

Array = np.ndarray[Any, Any]

#: How many elements of an error function are computed at a time.
_BLOCK = 16384


@op
class Sigmoid(Smooth):
    """1 / (1 + exp(-x))."""

    def compute(self, x: Any, out: Any = None) -> Any:
        # Where exp(-x) overflows the sigmoid is below the smallest normal number, and 1 / inf gives 0.
        x = np.asarray(x)
        wide = np.float32 if x.dtype.itemsize == 2 else x.dtype
        y = np.asarray(np.negative(x, out, dtype=wide, order="C"))
        with np.errstate(over="ignore"):
            np.exp(y, out=y)
        np.add(y, 1, out=y)
        return np.reciprocal(y, out=y).astype(x.dtype, copy=False)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [SigmoidGrad()(operation.outputs[0], dy)]


@op
class SigmoidGrad(FromValue):
    """y times x * (1 - x) (its conjugate): x is the sigmoid, y the gradient that arrived."""

    def compute(self, x: Any, y: Any) -> Any:
        return y * np.conjugate(x * (x.dtype.type(1) - x))

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor]:
        y, dy = operation.inputs
        slope = one_minus(Mul()(number(2, y), y))
        return [chain(Mul()(conj(ddx), dy), slope), SigmoidGrad()(conj(y), ddx)]


class ErrorFunction(Smooth):
    """Base of the error functions: floats only, computed in float64."""

    __slots__ = ()

    def result_dtype(self, dtype: DType) -> DType:
        return floating(self.type, dtype)


@op
class Erf(ErrorFunction):
    """The error function."""

    def compute(self, x: Any) -> Any:
        return _by_size(x, _erf_small, lambda far: np.sign(far) * (1 - _erfc_large(np.abs(far))))

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return _bell(x)


@op
class Erfc(ErrorFunction):
    """1 - erf(x), exact where that is near 0."""

    def compute(self, x: Any) -> Any:
        def outside(far: Array) -> Array:
            tail = _erfc_large(np.abs(far))
            return np.where(far < 0, 2 - tail, tail)

        return _by_size(x, lambda near: 1 - _erf_small(near), outside)

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return Neg()(_bell(x))


def _by_size(x: Any, near: Callable[[Array], Array], far: Callable[[Array], Array]) -> Array:
    """One function of the elements within (-1, 1), another of the rest, in blocks that stay in the cache."""
    x = np.asarray(x)
    result = np.empty(x.size, x.dtype)
    for start in range(0, x.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        block = x.reshape(-1)[part].astype(np.float64)
        inside = np.abs(block) < 1
        values = np.empty_like(block)
        values[inside], values[~inside] = near(block[inside]), far(block[~inside])
        result[part] = values
    return result.reshape(x.shape)


def _bell(x: Tensor) -> Tensor:
    """2 / sqrt(pi) exp(-x²), the derivative of erf."""
    return Mul()(number(2 / math.sqrt(math.pi), x), Exp()(Neg()(Square()(x))))


def _erf_small(x: Array) -> Array:
    """erf within [-1, 1]: x times a polynomial in x²."""
    return np.asarray(x * _polynomial(_small_coefficients(), 2 * x * x - 1))


def _erfc_large(x: Array) -> Array:
    """erfc from 1 upwards: exp(-x²) times a polynomial in a variable that maps [1, inf) to [-1, 1)."""
    far = np.clip(x, 1, 30)  # erfc(27) is 0 in float64
    tail = _polynomial(_large_coefficients(), (far - 3) / (far + 1))
    return np.asarray(np.where(np.isnan(x), x, np.exp(-far * far) * tail))


def _polynomial(coefficients: tuple[float, ...], t: Array) -> Array:
    """A polynomial by Horner's rule, in place."""
    total = np.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total *= t
        total += coefficient
    return total


@cache
def _small_coefficients() -> tuple[float, ...]:
    def ratio(t: float) -> float:
        x = math.sqrt((t + 1) / 2)
        return math.erf(x) / x

    return _interpolate(ratio, 16)


@cache
def _large_coefficients() -> tuple[float, ...]:
    def scaled(t: float) -> float:
        x = (3 + t) / (1 - t)
        return math.erfc(x) * math.exp(x * x) if x < 20 else _scaled_tail(x)

    return _interpolate(scaled, 32)


def _scaled_tail(x: float) -> float:
    """erfc(x) exp(x²) for large x, by its asymptotic series."""
    total, term = 1.0, 1.0
    for k in range(1, 12):
        term *= -(2 * k - 1) / (2 * x * x)
        total += term
    return total / (x * math.sqrt(math.pi))


def _interpolate(function: Callable[[float], float], degree: int) -> tuple[float, ...]:
    """The coefficients of the polynomial that meets a function at the Chebyshev points of [-1, 1]."""
    points = np.polynomial.chebyshev.chebpts1(degree + 1)
    values = np.array([function(float(point)) for point in points])
    series = np.polynomial.chebyshev.chebfit(points, values, degree)
    return tuple(np.polynomial.chebyshev.cheb2poly(series).tolist())


def sigmoid(x: Any, name: str | None = None) -> Tensor:
    """1 / (1 + exp(-x)), elementwise. Source: `tf.sigmoid`. Raises TypeError for integers."""
    return Sigmoid()(convert_to_tensor(x), name=name)


def erf(x: Any, name: str | None = None) -> Tensor:
    """The error function, elementwise. Source: `tf.erf`. Raises TypeError for types that are not floating."""
    return Erf()(convert_to_tensor(x), name=name)


def erfc(x: Any, name: str | None = None) -> Tensor:
    """1 - erf(x), elementwise, without loss for large x. Source: `tf.erfc`. Raises TypeError as `erf`."""
    return Erfc()(convert_to_tensor(x), name=name)
