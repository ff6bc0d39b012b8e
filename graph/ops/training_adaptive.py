"""The updates of Adagrad and RMSProp on whole variables, in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .training import Array, blocks, update_inputs


@op
class ResourceApplyAdagrad(Op):
    """accum += grad^2, var -= lr * grad / sqrt(accum)."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(self, var: TensorLike, accum: TensorLike, lr: TensorLike, grad: TensorLike) -> tuple[Spec, ...]:
        update_inputs(self, (var, accum), (lr,), grad)
        shapes.merge(self.shape, grad.dims)
        return ()

    def compute(self, state: Any, var: Any, accum: Any, lr: Any, grad: Any) -> None:
        for value, total, dy in blocks((var, accum), grad):
            adagrad_step(value, total, dy, lr)


def adagrad_step(value: Array, total: Array, grad: Array, lr: Any) -> None:
    """One step of Adagrad on arrays, in place."""
    np.add(total, grad * grad, out=total)
    step = lr * grad
    np.divide(step, np.sqrt(total), out=step)
    np.subtract(value, step, out=value)


@op
class ResourceApplyRMSProp(Op):
    """ms = rho ms + (1 - rho) grad^2, mom = momentum mom + lr grad / sqrt(ms + epsilon), var -= mom."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, ms: TensorLike, mom: TensorLike, lr: TensorLike, rho: TensorLike, momentum: TensorLike,
        epsilon: TensorLike, grad: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        update_inputs(self, (var, ms, mom), (lr, rho, momentum, epsilon), grad)
        shapes.merge(self.shape, grad.dims)
        return ()

    def compute(
        self, state: Any, var: Any, ms: Any, mom: Any, lr: Any, rho: Any, momentum: Any, epsilon: Any, grad: Any
    ) -> None:
        for value, square, moment, dy in blocks((var, ms, mom), grad):
            rmsprop_step(value, (None, square, moment), dy, (lr, rho, momentum, epsilon))


@op
class ResourceApplyCenteredRMSProp(Op):
    """As RMSProp, with the mean gradient's square subtracted under the root: mg = rho mg + (1 - rho) grad."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, mg: TensorLike, ms: TensorLike, mom: TensorLike, lr: TensorLike, rho: TensorLike,
        momentum: TensorLike, epsilon: TensorLike, grad: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        update_inputs(self, (var, mg, ms, mom), (lr, rho, momentum, epsilon), grad)
        shapes.merge(self.shape, grad.dims)
        return ()

    def compute(
        self, state: Any, var: Any, mg: Any, ms: Any, mom: Any, lr: Any, rho: Any, momentum: Any, epsilon: Any, grad: Any
    ) -> None:  # fmt: skip
        for value, mean, square, moment, dy in blocks((var, mg, ms, mom), grad):
            rmsprop_step(value, (mean, square, moment), dy, (lr, rho, momentum, epsilon))


def rmsprop_step(
    value: Array, slots: tuple[Array | None, Array, Array], grad: Array, rates: tuple[Any, Any, Any, Any]
) -> None:
    """One step of RMSProp on arrays, in place; with a mean gradient among the slots it is centered."""
    mean, square, moment = slots
    lr, rho, momentum, epsilon = rates
    np.multiply(square, rho, out=square)
    np.add(square, (1 - rho) * (grad * grad), out=square)
    spread = square + epsilon
    if mean is not None:
        np.multiply(mean, rho, out=mean)
        np.add(mean, (1 - rho) * grad, out=mean)
        np.subtract(spread, mean * mean, out=spread)
    np.multiply(moment, momentum, out=moment)
    np.add(moment, lr * grad / np.sqrt(spread), out=moment)
    np.subtract(value, moment, out=value)
