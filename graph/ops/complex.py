"""Complex numbers: made of parts, taken apart, absolute value and angle. Gradients carry d/d(re) + i d/d(im)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, as_dtype, complex64, complex128, float32, float64
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .arithmetic import DivNoNan, Mul, Neg, Unary, numeric
from .broadcasting import sum_to
from .cast import Cast
from .convert import convert_to_tensor, same_dtype
from .fills import ZerosLike
from .transcendental import Reciprocal


@op
class Complex(Op):
    """Complex numbers of their real and imaginary parts."""

    def infer(self, real: TensorLike, imag: TensorLike) -> Spec:
        if real.dtype is not imag.dtype or real.dtype not in (float32, float64):
            raise TypeError(
                f"The `real` and `imag` components have incorrect types: {real.dtype.name} {imag.dtype.name}. "
                "They must be consistent, and one of [float32, float64]"
            )
        return Spec(complex64 if real.dtype is float32 else complex128, shapes.broadcast(real.dims, imag.dims))

    def compute(self, real: Any, imag: Any) -> Any:
        dtype = np.complex64 if np.asarray(real).dtype == np.float32 else np.complex128
        made = np.empty(np.broadcast_shapes(np.shape(real), np.shape(imag)), dtype)
        made.real, made.imag = real, imag
        return made

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        re, im = operation.inputs
        return [sum_to(Real()(dy), re), sum_to(Imag()(dy), im)]


class Part(Unary):
    """Base of functions from complex to real numbers."""

    __slots__ = ()

    def result_dtype(self, dtype: DType) -> DType:
        if not dtype.is_complex:
            raise TypeError(f"{self.type} takes complex numbers, got {dtype.name}")
        return dtype.real_dtype


def as_complex(re: Tensor) -> Tensor:
    """A real tensor as complex numbers."""
    return Cast(complex64 if re.dtype is float32 else complex128)(re)


@op
class Real(Part):
    """The real part."""

    def compute(self, x: Any) -> Any:
        return np.array(np.real(x))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [as_complex(dy)]


@op
class Imag(Part):
    """The imaginary part."""

    def compute(self, x: Any) -> Any:
        return np.array(np.imag(x))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [Complex()(ZerosLike()(dy), dy)]


@op
class ComplexAbs(Part):
    """The absolute value of a complex number."""

    ufunc = np.absolute

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, size = operation.inputs[0], as_complex(operation.outputs[0])
        return [Mul()(as_complex(dy), DivNoNan()(x, size))]


@op
class Angle(Part):
    """The angle of a complex number, in (-pi, pi]."""

    def compute(self, x: Any) -> Any:
        return np.arctan2(np.imag(x), np.real(x))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x = operation.inputs[0]
        turned = Complex()(Imag()(x), Real()(x))
        return [Neg()(Mul()(as_complex(dy), Reciprocal()(turned)))]


def complex(real: Any, imag: Any, name: str | None = None) -> Tensor:
    """real + i imag: complex64 of float32 parts, complex128 of float64. Source: `tf.complex`. Raises TypeError."""
    return Complex()(*same_dtype("Complex", real, imag, name), name=name)


def real(input: Any, name: str | None = None) -> Tensor:
    """The real part; real tensors as they are. Source: `tf.real`. Raises TypeError for no numbers."""
    tensor = _number(input, "Real")
    return Real()(tensor, name=name) if tensor.dtype.is_complex else tensor


def imag(input: Any, name: str | None = None) -> Tensor:
    """The imaginary part; zeros of real tensors. Source: `tf.imag`. Raises TypeError for no numbers."""
    tensor = _number(input, "Imag")
    return (Imag() if tensor.dtype.is_complex else ZerosLike())(tensor, name=name)


def angle(input: Any, name: str | None = None) -> Tensor:
    """The angle in (-pi, pi]; of real numbers 0, or pi below 0. Source: `tf.angle`. Raises TypeError for no numbers."""
    tensor = _number(input, "Angle")
    if not tensor.dtype.is_complex:
        wide = tensor if tensor.dtype in (float32, float64) else Cast(float32)(tensor)
        return Cast(tensor.dtype)(Angle()(as_complex(wide)), name=name)
    return Angle()(tensor, name=name)


def _number(value: Any, op_type: str) -> Tensor:
    tensor = convert_to_tensor(value)
    numeric(op_type, as_dtype(tensor.dtype))
    return tensor
