"""Gradients that follow from the function's own value: those of roots and reciprocals, and the base of all."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import DType
from ..ir import Operation, Tensor
from ..op import op
from .arithmetic import Binary, Mul, Neg, RealDiv, chain, conj, inexact, number
from .branchless import keep


class FromValue(Binary):
    """Base of gradients that follow from the function's own value y: inputs y and dy, of one type."""

    __slots__ = ()

    def result_dtype(self, dtype: DType) -> DType:
        return inexact(self.type, dtype)


class Singular(FromValue):
    """Base of those whose slope is infinite at 0: as in TF a gradient of 0 stays 0 there, where a product would be nan."""

    __slots__ = ()

    def compute(self, x: Any, y: Any) -> Any:
        conjugate = np.conjugate(x) if x.dtype.kind == "c" else x
        return keep(y != 0, np.asarray(self.product(conjugate, y)))

    def product(self, x: Any, y: Any) -> Any:
        """The gradient y times the slope, of which x is the conjugate of the value."""
        raise NotImplementedError(f"{self.type} does not say its product")


@op
class SqrtGrad(Singular):
    """y / (2 x), with the conjugate of x: x is the root, y the gradient that arrived."""

    def product(self, x: Any, y: Any) -> Any:
        return y / (x + x)

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor]:
        x = operation.inputs[0]
        return [Neg()(RealDiv()(Mul()(conj(ddx), operation.outputs[0]), conj(x))), SqrtGrad()(conj(x), ddx)]


@op
class RsqrtGrad(Singular):
    """y times -x^3 / 2, with the conjugate of x: x is the root's reciprocal, y the gradient that arrived."""

    def product(self, x: Any, y: Any) -> Any:
        return y * (x.dtype.type(-0.5) * (x * (x * x)))

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        return [chain(Mul()(Mul()(number(-1.5, x), conj(ddx)), y), Mul()(x, x)), RsqrtGrad()(conj(x), ddx)]


@op
class ReciprocalGrad(Singular):
    """y times -x^2, with the conjugate of x: x is the reciprocal, y the gradient that arrived."""

    def product(self, x: Any, y: Any) -> Any:
        return y * -(x * x)

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        return [chain(Mul()(Mul()(number(-2, x), conj(ddx)), y), x), ReciprocalGrad()(conj(x), ddx)]
