"""The updates of optimizers on whole variables, in place: each as one operation on the variable and its slots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .variables import check_handle, updatable

Array = np.ndarray[Any, Any]

#: How many elements an update works on at a time: what a step needs of them stays in the cache.
BLOCK = 32_768


def blocks(slots: tuple[Any, ...], grad: Any) -> Iterator[tuple[Array, ...]]:
    """The variables and the gradient cut into the same flat blocks; those of variables are their own memory.

    Raises FailedPreconditionError for an uninitialized variable, InvalidArgumentError for a gradient of another shape.
    """
    flat = [updatable(slot, grad).reshape(-1, copy=False) for slot in slots]
    # A gradient that is a view of the variable itself must not change under the update.
    grad = np.array(grad) if any(np.may_share_memory(grad, target) for target in flat) else grad
    flat.append(np.reshape(grad, -1))
    for start in range(0, flat[0].size, BLOCK):
        yield tuple(array[start : start + BLOCK] for array in flat)


def update_inputs(
    definition: Any, handles: tuple[TensorLike, ...], scalars: tuple[TensorLike, ...], grad: TensorLike
) -> None:
    """Raises TypeError, ValueError where handles, hyperparameters and gradient do not fit the definition's type and shape."""
    for handle in handles:
        check_handle(handle)
    for tensor in (*scalars, grad):
        if tensor.dtype is not definition.dtype:
            raise TypeError(f"the variable holds {definition.dtype.name}, got a tensor of {tensor.dtype.name}")
    for tensor in scalars:
        if not shapes.compatible(tensor.dims, ()):
            raise ValueError(f"hyperparameters are scalars, got shape {shapes.text(tensor.dims)}")


def dense_inputs(
    definition: Any, handles: tuple[TensorLike, ...], scalars: tuple[TensorLike, ...], grad: TensorLike
) -> tuple[Spec, ...]:
    """No outputs. Raises as `update_inputs`, and ValueError for a gradient of another shape than the definition's."""
    update_inputs(definition, handles, scalars, grad)
    shapes.merge(definition.shape, grad.dims)
    return ()


@op
class ResourceApplyGradientDescent(Op):
    """var -= alpha * delta."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(self, var: TensorLike, alpha: TensorLike, delta: TensorLike) -> tuple[Spec, ...]:
        return dense_inputs(self, (var,), (alpha,), delta)

    def compute(self, state: Any, var: Any, alpha: Any, delta: Any) -> None:
        for value, grad in blocks((var,), delta):
            np.subtract(value, alpha * grad, out=value)


@op
class ResourceApplyMomentum(Op):
    """accum = momentum * accum + grad, then var -= lr * accum (Nesterov: var -= lr * (grad + momentum * accum))."""

    dtype: DType
    shape: Dims
    use_nesterov: bool = False
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, accum: TensorLike, lr: TensorLike, grad: TensorLike, momentum: TensorLike
    ) -> tuple[Spec, ...]:
        return dense_inputs(self, (var, accum), (lr, momentum), grad)

    def compute(self, state: Any, var: Any, accum: Any, lr: Any, grad: Any, momentum: Any) -> None:
        for value, total, dy in blocks((var, accum), grad):
            momentum_step(value, total, dy, lr, momentum, self.use_nesterov)


def momentum_step(value: Array, total: Array, grad: Array, lr: Any, momentum: Any, nesterov: bool) -> None:
    """One step of momentum on arrays, in place."""
    np.multiply(total, momentum, out=total)
    np.add(total, grad, out=total)
    step = total * momentum + grad if nesterov else total
    np.subtract(value, step * lr, out=value)


@op
class ResourceApplyAdam(Op):
    """m = beta1 m + (1 - beta1) grad, v = beta2 v + (1 - beta2) grad^2, var -= lr_t m / (sqrt(v) + epsilon).

    lr_t = lr sqrt(1 - beta2_power) / (1 - beta1_power); Nesterov takes beta1 m + (1 - beta1) grad for the last m.
    """

    dtype: DType
    shape: Dims
    use_nesterov: bool = False
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, m: TensorLike, v: TensorLike, beta1_power: TensorLike, beta2_power: TensorLike,
        lr: TensorLike, beta1: TensorLike, beta2: TensorLike, epsilon: TensorLike, grad: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return dense_inputs(self, (var, m, v), (beta1_power, beta2_power, lr, beta1, beta2, epsilon), grad)

    def compute(
        self, state: Any, var: Any, m: Any, v: Any, beta1_power: Any, beta2_power: Any, lr: Any, beta1: Any, beta2: Any,
        epsilon: Any, grad: Any,
    ) -> None:  # fmt: skip
        rate = adam_rate(lr, beta1_power, beta2_power)
        for value, mean, square, dy in blocks((var, m, v), grad):
            work = (1 - beta1) * dy
            np.multiply(mean, beta1, out=mean)
            np.add(mean, work, out=mean)
            step = mean * beta1 + work if self.use_nesterov else mean
            np.multiply(dy, dy, out=work)
            np.multiply(work, 1 - beta2, out=work)
            np.multiply(square, beta2, out=square)
            np.add(square, work, out=square)
            adam_step(value, step, square, rate, epsilon)


def adam_rate(lr: Any, beta1_power: Any, beta2_power: Any) -> Any:
    """Adam's learning rate with the correction of the first steps' bias."""
    return lr * np.sqrt(1 - beta2_power) / (1 - beta1_power)


def adam_step(value: Array, mean: Array, square: Array, rate: Any, epsilon: Any) -> None:
    """value -= rate * mean / (sqrt(square) + epsilon), in place."""
    scale = np.sqrt(square)
    np.add(scale, epsilon, out=scale)
    step = rate * mean
    np.divide(step, scale, out=step)
    np.subtract(value, step, out=value)
