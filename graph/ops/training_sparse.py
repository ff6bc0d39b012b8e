"""The updates of optimizers whose gradient holds some rows only, in place. Repeated rows are summed before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import errors, shapes
from ..dtypes import DType
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .training import BLOCK, Array, adam_rate, adam_step, momentum_step, update_inputs
from .training_adaptive import adagrad_step, rmsprop_step
from .variable_rows import check_indices, check_rows


def sparse_inputs(
    definition: Any, handles: tuple[TensorLike, ...], scalars: tuple[TensorLike, ...], grad: TensorLike, indices: TensorLike
) -> tuple[Spec, ...]:  # fmt: skip
    """No outputs. Raises TypeError, ValueError for what does not fit the definition's type and shape."""
    update_inputs(definition, handles, scalars, grad)
    check_indices(indices)
    if definition.shape == ():
        raise ValueError("a scalar variable has no rows")
    if definition.shape is not None and indices.dims is not None:
        shapes.merge(indices.dims + definition.shape[1:], grad.dims)
    return ()


def _distinct(indices: Array, targets: list[Array]) -> Array:
    """The indices, checked. Raises InvalidArgumentError out of range or where one repeats."""
    check_rows(indices, targets[0])
    ordered = np.sort(indices)
    if (ordered[1:] == ordered[:-1]).any():
        raise errors.InvalidArgumentError(None, None, "the indices of a sparse update must be distinct: sum equal ones")
    return indices


def on_rows(step: Callable[..., None], slots: tuple[Any, ...], indices: Array, grad: Array) -> None:
    """`step(*rows of the slots, rows of the gradient)` in place."""
    targets = [slot.read() for slot in slots]
    chosen = _distinct(indices, targets)
    rows = [target[chosen] for target in targets]
    step(*rows, grad)
    for target, row in zip(targets, rows, strict=True):
        target[chosen] = row


@op
class ResourceSparseApplyMomentum(Op):
    """ResourceApplyMomentum on the rows that the indices name; other rows and their accumulators stay."""

    dtype: DType
    shape: Dims
    use_nesterov: bool = False
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, accum: TensorLike, lr: TensorLike, grad: TensorLike, indices: TensorLike, momentum: TensorLike
    ) -> tuple[Spec, ...]:  # fmt: skip
        return sparse_inputs(self, (var, accum), (lr, momentum), grad, indices)

    def compute(self, state: Any, var: Any, accum: Any, lr: Any, grad: Any, indices: Any, momentum: Any) -> None:
        def step(value: Array, total: Array, dy: Array) -> None:
            momentum_step(value, total, dy, lr, momentum, self.use_nesterov)

        on_rows(step, (var, accum), indices, grad)


@op
class ResourceSparseApplyAdagrad(Op):
    """ResourceApplyAdagrad on the rows that the indices name."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, accum: TensorLike, lr: TensorLike, grad: TensorLike, indices: TensorLike
    ) -> tuple[Spec, ...]:
        return sparse_inputs(self, (var, accum), (lr,), grad, indices)

    def compute(self, state: Any, var: Any, accum: Any, lr: Any, grad: Any, indices: Any) -> None:
        on_rows(lambda value, total, dy: adagrad_step(value, total, dy, lr), (var, accum), indices, grad)


@op
class ResourceSparseApplyRMSProp(Op):
    """ResourceApplyRMSProp on the rows that the indices name."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, ms: TensorLike, mom: TensorLike, lr: TensorLike, rho: TensorLike, momentum: TensorLike,
        epsilon: TensorLike, grad: TensorLike, indices: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return sparse_inputs(self, (var, ms, mom), (lr, rho, momentum, epsilon), grad, indices)

    def compute(
        self, state: Any, var: Any, ms: Any, mom: Any, lr: Any, rho: Any, momentum: Any, epsilon: Any, grad: Any,
        indices: Any,
    ) -> None:  # fmt: skip
        def step(value: Array, square: Array, moment: Array, dy: Array) -> None:
            rmsprop_step(value, (None, square, moment), dy, (lr, rho, momentum, epsilon))

        on_rows(step, (var, ms, mom), indices, grad)


@op
class ResourceSparseApplyCenteredRMSProp(Op):
    """ResourceApplyCenteredRMSProp on the rows that the indices name."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, mg: TensorLike, ms: TensorLike, mom: TensorLike, lr: TensorLike, rho: TensorLike,
        momentum: TensorLike, epsilon: TensorLike, grad: TensorLike, indices: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return sparse_inputs(self, (var, mg, ms, mom), (lr, rho, momentum, epsilon), grad, indices)

    def compute(
        self, state: Any, var: Any, mg: Any, ms: Any, mom: Any, lr: Any, rho: Any, momentum: Any, epsilon: Any,
        grad: Any, indices: Any,
    ) -> None:  # fmt: skip
        def step(value: Array, mean: Array, square: Array, moment: Array, dy: Array) -> None:
            rmsprop_step(value, (mean, square, moment), dy, (lr, rho, momentum, epsilon))

        on_rows(step, (var, mg, ms, mom), indices, grad)


@op
class ResourceSparseApplyAdam(Op):
    """ResourceApplyAdam with a gradient of zero in the rows that are not named: all rows of m and v decay, all of var move."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, m: TensorLike, v: TensorLike, beta1_power: TensorLike, beta2_power: TensorLike,
        lr: TensorLike, beta1: TensorLike, beta2: TensorLike, epsilon: TensorLike, grad: TensorLike, indices: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return sparse_inputs(self, (var, m, v), (beta1_power, beta2_power, lr, beta1, beta2, epsilon), grad, indices)

    def compute(
        self, state: Any, var: Any, m: Any, v: Any, beta1_power: Any, beta2_power: Any, lr: Any, beta1: Any, beta2: Any,
        epsilon: Any, grad: Any, indices: Any,
    ) -> None:  # fmt: skip
        value, mean, square = (slot.read() for slot in (var, m, v))
        chosen = _distinct(indices, [value, mean, square])
        np.multiply(mean, beta1, out=mean)
        mean[chosen] += (1 - beta1) * grad
        np.multiply(square, beta2, out=square)
        square[chosen] += (1 - beta2) * (grad * grad)
        rate = adam_rate(lr, beta1_power, beta2_power)
        rows = max(1, BLOCK // max(1, value[:1].size))
        for start in range(0, len(value), rows):
            part = slice(start, start + rows)
            adam_step(value[part], mean[part], square[part], rate, epsilon)
