"""Rows for the elementwise functions: arithmetic.py, cast.py, math.py, transcendental.py, special.py, complex.py, scan.py."""

import math as std
from collections.abc import Callable
from typing import Any

import numpy as np
from case import Case, floats, ints
from weft.graph.ir import Tensor
from weft.graph.ops import arithmetic, cast, complex, from_value, math, scan, special, transcendental

X, Y, ROW = floats(2, 3), floats(2, 3, seed=1), floats(3)
POSITIVE, OTHER = floats(2, 3, low=0.5), floats(2, 3, seed=1, low=0.5)
UNIT = floats(2, 3, low=-0.9, high=0.9)
BLOCK, COLUMN, ONE = floats(2, 1, 3, low=0.5), floats(2, 1, low=0.5), np.array(1.5)
Z, W = X + 1j * Y, Y - 1j * X
MASK = np.array([[True, False, True], [False, True, True]])
WITH_ZEROS = np.array([[2.0, 0.0, 3.0, -1.0], [0.0, 1.5, 0.0, 2.0], [1.0, 2.0, 3.0, 4.0]])


def smooth(op: str, values: np.ndarray[Any, Any], numpy_says: Callable[..., Any] | None = None) -> Case:
    function = getattr(transcendental, op.lower())
    return Case(op, function, (values,), expected=numpy_says or getattr(np, op.lower()))


def elementwise(function: Callable[[float], float]) -> Callable[..., Any]:
    return lambda x: np.vectorize(function)(x)


def of_complex(op: str, function: Callable[[Tensor], Tensor]) -> Case:
    """A row for the gradient by a complex number: real and imaginary part of the function, by both parts of its argument."""

    def parts(x: Tensor, y: Tensor) -> list[Tensor]:
        value = function(complex.complex(x, y))
        return [complex.real(value), complex.imag(value)]

    return Case(op, parts, (POSITIVE, UNIT), label="of complex", exact_shape=False)


HOLOMORPHIC = (
    transcendental.Square(), transcendental.Sqrt(), transcendental.Rsqrt(), transcendental.Reciprocal(),
    transcendental.Exp(), transcendental.Expm1(), transcendental.Log(), transcendental.Log1p(), transcendental.Sin(),
    transcendental.Cos(), transcendental.Tan(), transcendental.Asin(), transcendental.Acos(), transcendental.Atan(),
    transcendental.Sinh(), transcendental.Cosh(), transcendental.Tanh(), transcendental.Asinh(), transcendental.Acosh(),
    transcendental.Atanh(), special.Sigmoid(),
)  # fmt: skip

CASES = [
    Case("Conj", arithmetic.conj, (Z,), expected=np.conj),
    Case("RealDiv", arithmetic.truediv, (X, OTHER), expected=lambda x, y: x / y),
    Case("RealDiv", lambda x, y: x / y, (ROW, BLOCK), label="broadcast", expected=lambda x, y: x / y),
    Case("RealDiv", lambda x, y: x / y, (ONE, COLUMN), label="scalar", expected=lambda x, y: x / y),
    Case("RealDiv", arithmetic.divide, (ints(3), ints(3, low=1)), label="ints", expected=lambda x, y: x / y),
    Case("RealDiv", arithmetic.realdiv, (Z, W), label="complex", expected=lambda x, y: x / y),
    Case("RealDiv", arithmetic.div, (X, ROW), label="div", expected=lambda x, y: x / y),
    Case("DivNoNan", arithmetic.div_no_nan, (X, POSITIVE[:1]), expected=lambda x, y: x / y),
    Case("DivNoNan", arithmetic.div_no_nan, (ROW, np.zeros(3)), label="zeros", grad=(0,), expected=lambda x, y: y),
    Case("FloorDiv", lambda x, y: x // y, (X, Y), expected=lambda x, y: np.floor(x / y), order=0),
    Case("FloorDiv", arithmetic.div, (ints(3) - 9, ints(3, low=1)), label="ints", expected=lambda x, y: x // y),
    Case("FloorMod", lambda x, y: x % y, (X, OTHER), expected=lambda x, y: x - y * np.floor(x / y)),
    Case("FloorMod", arithmetic.mod, (ints(3) - 9, ints(3, low=1)), label="ints", expected=lambda x, y: x % y),
    Case("Masked", lambda x, m: arithmetic.Masked()(m, x), (X, MASK), expected=lambda x, m: x * m),
    Case("Masked", lambda x, m: arithmetic.Masked()(m, x), (ROW, MASK), label="broadcast", expected=lambda x, m: x * m),
    Case("Cast", lambda x: cast.cast(cast.cast(x, "complex128"), "float64"), (X,), expected=lambda x: x),
    Case("Cast", lambda x: cast.cast(x, "int8"), (X,), label="cut", expected=np.trunc, order=0),
    Case("Cast", cast.to_float, (MASK,), label="bools", expected=lambda x: x * 1.0),
    Case("Cast", lambda x: math.saturate_cast(x, "uint8"), (X * 200,), label="saturate", order=0,
         expected=lambda x: np.trunc(np.clip(x, 0, 255))),
    Case("Pow", math.pow, (POSITIVE, Y), expected=lambda x, y: x**y),
    Case("Pow", lambda x: x**2, (X,), label="square", expected=lambda x: x * x),
    Case("Pow", lambda x: x**3.0, (X,), label="cube", expected=lambda x: x * x * x),
    Case("Pow", lambda y: 2.0**y, (ROW,), label="exponent", expected=lambda y: np.exp2(y)),
    Case("Pow", math.pow, (BLOCK, COLUMN), label="broadcast", expected=lambda x, y: x**y),
    Case("Pow", math.pow, (ints(3), ints(3)), label="ints", expected=lambda x, y: x**y),
    Case("SquaredDifference", math.squared_difference, (X, ROW), expected=lambda x, y: (x - y) ** 2),
    Case("Maximum", math.maximum, (X, Y), expected=lambda x, y: np.where(x > y, x, y)),
    Case("Maximum", math.maximum, (ROW, BLOCK), label="broadcast", expected=lambda x, y: np.where(x > y, x, y)),
    Case("Minimum", math.minimum, (X, Y), expected=lambda x, y: np.where(x < y, x, y)),
    Case("Minimum", lambda x: math.clip_by_value(x, -1.0, 1.0), (X,), label="clip", expected=lambda x: np.clip(x, -1, 1)),
    Case("Abs", abs, (X,), expected=lambda x: np.where(x > 0, x, -x)),
    Case("Abs", math.abs, (ints(3) - 2,), label="ints", expected=lambda x: np.where(x > 0, x, -x)),
    Case("Sign", math.sign, (X,), expected=lambda x: np.where(x > 0, 1.0, -1.0)),
    Case("DivNoNan", math.sign, (Z,), label="complex sign", expected=lambda z: z / abs(z)),
    Case("Floor", math.floor, (X,), expected=lambda x: -np.ceil(-x), order=0),
    Case("Ceil", math.ceil, (X,), expected=lambda x: -np.floor(-x), order=0),
    Case("Round", math.round, (np.array([0.5, 1.5, -0.5, 2.4]),), expected=lambda x: np.array([0, 2, 0, 2]), order=0),
    Case("Rint", math.rint, (np.array([0.5, 1.5, -1.5]),), expected=lambda x: np.array([0, 2, -2]), order=0),
    # smooth functions
    smooth("Square", X), smooth("Square", ints(3)), smooth("Sqrt", POSITIVE), smooth("Reciprocal", OTHER),
    smooth("Rsqrt", POSITIVE, lambda x: x**-0.5), smooth("Exp", X), smooth("Expm1", X), smooth("Log", POSITIVE),
    smooth("Log1p", UNIT), smooth("Sin", X), smooth("Cos", X), smooth("Tan", UNIT), smooth("Asin", UNIT, np.arcsin),
    smooth("Acos", UNIT, np.arccos), smooth("Atan", X, np.arctan), smooth("Sinh", X), smooth("Cosh", X), smooth("Tanh", X),
    smooth("Asinh", X, np.arcsinh), smooth("Acosh", POSITIVE + 1, np.arccosh), smooth("Atanh", UNIT, np.arctanh),
    Case("Atan2", transcendental.atan2, (X, ROW), expected=lambda y, x: np.angle(x + 1j * y)),
    Case("TanhGrad", lambda y, dy: transcendental.TanhGrad()(y, dy), (X, Y), expected=lambda y, dy: dy * (1 - y * y)),
    Case("SigmoidGrad", lambda y, dy: special.SigmoidGrad()(y, dy), (X, Y), expected=lambda y, dy: dy * y * (1 - y)),
    Case("SqrtGrad", lambda y, dy: from_value.SqrtGrad()(y, dy), (OTHER, X), expected=lambda y, dy: dy / y / 2),
    Case("RsqrtGrad", lambda y, dy: from_value.RsqrtGrad()(y, dy), (OTHER, X), expected=lambda y, dy: -dy / 2 * y**3),
    Case("ReciprocalGrad", lambda y, dy: from_value.ReciprocalGrad()(y, dy), (OTHER, X), expected=lambda y, dy: -dy * y * y),
    Case("Sigmoid", special.sigmoid, (X,), expected=lambda x: (1 + np.tanh(x / 2)) / 2),
    Case("Sigmoid", special.sigmoid, (np.array([-800.0, 800.0]),), label="far", expected=lambda x: np.array([0, 1])),
    Case("Erf", special.erf, (2 * X,), expected=elementwise(std.erf)),
    Case("Erfc", special.erfc, (2 * X,), expected=elementwise(std.erfc)),
    # complex numbers
    Case("Complex", complex.complex, (X, ROW), expected=lambda x, y: x + 1j * y, grad=()),
    Case("Real", complex.real, (Z,), expected=lambda z: (z + z.conj()) / 2),
    Case("Imag", complex.imag, (Z,), expected=lambda z: (z.conj() - z) * 0.5j),
    Case("ComplexAbs", abs, (Z,), expected=lambda z: np.sqrt((z * z.conj()).real)),
    Case("Angle", complex.angle, (Z,), expected=lambda z: np.log(z).imag),
    Case("Angle", complex.angle, (X,), label="real", expected=lambda x: np.where(x < 0, np.pi, 0), grad=()),
    of_complex("Complex", lambda z: z), of_complex("Conj", arithmetic.conj),
    of_complex("Mul", lambda z: z * arithmetic.conj(z) * z),
    of_complex("RealDiv", lambda z: 1 / z), of_complex("DivNoNan", math.sign), of_complex("Pow", lambda z: z**z),
    of_complex("Angle", lambda z: complex.as_complex(complex.angle(z))), of_complex("ComplexAbs", lambda z: abs(z) / abs(1 + z)),
    of_complex("SquaredDifference", lambda z: math.squared_difference(z, 2 - 1j)),
    of_complex("Cast", lambda z: cast.cast(z, "float64")), of_complex("Cumprod", scan.cumprod),
    *(of_complex(type(function).__name__, function) for function in HOLOMORPHIC),
    # scans
    Case("Cumsum", scan.cumsum, (X,), expected=lambda x: np.cumsum(x, 0)),
    Case("Cumsum", lambda x: scan.cumsum(x, -1, exclusive=True, reverse=True), (X,), label="exclusive",
         expected=lambda x: np.stack([x[:, 1] + x[:, 2], x[:, 2], 0 * x[:, 0]], 1)),
    Case("Cumprod", scan.cumprod, (WITH_ZEROS,), expected=lambda x: np.cumprod(x, 0)),
    Case("Cumprod", lambda x: scan.cumprod(x, 1, reverse=True), (WITH_ZEROS,), label="reverse",
         expected=lambda x: np.cumprod(x[:, ::-1], 1)[:, ::-1]),
    Case("Cumprod", lambda x: scan.cumprod(x, -2, exclusive=True), (WITH_ZEROS,), label="exclusive",
         expected=lambda x: np.stack([np.ones(4), x[0], x[0] * x[1]])),
    Case("Shift", lambda x: scan.Shift(1)(x), (X,), expected=lambda x: np.stack([0 * x[:, 0], x[:, 0], x[:, 1]], 1)),
    Case("Recurrence", lambda a, b: scan.Recurrence(1)(a, b), (X, Y), expected=lambda a, b: np.stack(
        [b[:, 0], a[:, 1] * b[:, 0] + b[:, 1], a[:, 2] * (a[:, 1] * b[:, 0] + b[:, 1]) + b[:, 2]], 1)),
    Case("Recurrence", lambda a, b: scan.Recurrence(0, True)(a, b), (WITH_ZEROS, floats(3, 4)), label="reverse",
         expected=lambda a, b: np.stack([a[0] * (a[1] * b[2] + b[1]) + b[0], a[1] * b[2] + b[1], b[2]])),
]  # fmt: skip
