"""The updates of Adagrad and RMSProp on whole variables, in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType
from ..op import op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .rooms import Array
from .training import DenseUpdate, Step, rest, update_inputs


@op
class ResourceApplyAdagrad(DenseUpdate):
    """accum += grad^2, var -= lr * grad / sqrt(accum)."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    slots = 2

    def infer(self, var: TensorLike, accum: TensorLike, lr: TensorLike, grad: TensorLike) -> tuple[Spec, ...]:
        update_inputs(self, (var, accum), (lr,), grad)
        shapes.merge(self.shape, grad.dims)
        return ()

    def step(self, lr: Any, grad: Any) -> Step:
        return adagrad_step(lr)


def adagrad_step(lr: Any) -> Step:
    """A step of Adagrad on the variable and its accumulator."""

    def step(value: Array, total: Array, grad: Array, work: Array, scale: Array) -> None:
        np.multiply(grad, grad, work)
        np.add(total, work, total)
        np.multiply(lr, grad, work)
        np.sqrt(total, scale)
        np.divide(work, scale, work)
        np.subtract(value, work, value)

    return step


@op
class ResourceApplyRMSProp(DenseUpdate):
    """ms = rho ms + (1 - rho) grad^2, mom = momentum mom + lr grad / sqrt(ms + epsilon), var -= mom."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    slots = 3

    def infer(
        self, var: TensorLike, ms: TensorLike, mom: TensorLike, lr: TensorLike, rho: TensorLike, momentum: TensorLike,
        epsilon: TensorLike, grad: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        update_inputs(self, (var, ms, mom), (lr, rho, momentum, epsilon), grad)
        shapes.merge(self.shape, grad.dims)
        return ()

    def step(self, lr: Any, rho: Any, momentum: Any, epsilon: Any, grad: Any) -> Step:
        return rmsprop_step(lr, rho, momentum, epsilon)


@op
class ResourceApplyCenteredRMSProp(DenseUpdate):
    """As RMSProp, with the mean gradient's square subtracted under the root: mg = rho mg + (1 - rho) grad."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    slots = 4

    def infer(
        self, var: TensorLike, mg: TensorLike, ms: TensorLike, mom: TensorLike, lr: TensorLike, rho: TensorLike,
        momentum: TensorLike, epsilon: TensorLike, grad: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        update_inputs(self, (var, mg, ms, mom), (lr, rho, momentum, epsilon), grad)
        shapes.merge(self.shape, grad.dims)
        return ()

    def step(self, lr: Any, rho: Any, momentum: Any, epsilon: Any, grad: Any) -> Step:
        return centered_rmsprop_step(lr, rho, momentum, epsilon)


def rmsprop_step(lr: Any, rho: Any, momentum: Any, epsilon: Any) -> Step:
    """A step of RMSProp on the variable, the mean square and the momentum."""
    left = rest(rho)

    def step(value: Array, square: Array, moment: Array, grad: Array, work: Array, spread: Array) -> None:
        _spread(square, grad, (rho, left, epsilon), work, spread)
        _moved(value, moment, grad, (lr, momentum), work, spread)

    return step


def centered_rmsprop_step(lr: Any, rho: Any, momentum: Any, epsilon: Any) -> Step:
    """A step of centered RMSProp on the variable, the mean, the mean square and the momentum."""
    left = rest(rho)

    def step(value: Array, mean: Array, square: Array, moment: Array, grad: Array, work: Array, spread: Array) -> None:
        _spread(square, grad, (rho, left, epsilon), work, spread)
        np.multiply(mean, rho, mean)
        np.multiply(left, grad, work)
        np.add(mean, work, mean)
        np.multiply(mean, mean, work)
        np.subtract(spread, work, spread)
        _moved(value, moment, grad, (lr, momentum), work, spread)

    return step


def _spread(square: Array, grad: Array, rates: tuple[Any, Any, Any], work: Array, spread: Array) -> None:
    """square = rho square + (1 - rho) grad^2, spread = square + epsilon."""
    rho, left, epsilon = rates
    np.multiply(square, rho, square)
    np.multiply(grad, grad, work)
    np.multiply(left, work, work)
    np.add(square, work, square)
    np.add(square, epsilon, spread)


def _moved(value: Array, moment: Array, grad: Array, rates: tuple[Any, Any], work: Array, spread: Array) -> None:
    """moment = momentum moment + lr grad / sqrt(spread), value -= moment."""
    lr, momentum = rates
    np.multiply(moment, momentum, moment)
    np.multiply(lr, grad, work)
    np.sqrt(spread, spread)
    np.divide(work, spread, work)
    np.add(moment, work, moment)
    np.subtract(value, moment, value)
