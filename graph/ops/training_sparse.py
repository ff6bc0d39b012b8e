"""The updates of optimizers whose gradient holds some rows only, in place. Repeated rows are summed before."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import errors, shapes
from ..dtypes import DType
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .rooms import BLOCK, BLOCK_SIZE, Array
from .rows import add_rows, put_rows, repeated, take_rows
from .training import Step, adam_rate, adam_step, momentum_step, on_blocks, rest, shares_memory, update_inputs
from .training_adaptive import adagrad_step, centered_rmsprop_step, rmsprop_step
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


def _row_targets(slots: tuple[Any, ...], indices: Array, grad: Array) -> list[Array]:
    """The slots' memory. Raises InvalidArgumentError for another shape of one or of the gradient, and for indices that are
    out of range or repeat."""
    targets: list[Array] = [slot.read() for slot in slots]
    whole = targets[0].shape
    for slot, target in zip(slots, targets, strict=True):
        if target.shape != whole:
            message = f"variable {slot.name} has shape {shapes.text(target.shape)}, not {shapes.text(whole)}"
            raise errors.InvalidArgumentError(None, None, message)
    if grad.shape != indices.shape + whole[1:]:
        message = (
            f"a gradient of shape {shapes.text(grad.shape)} does not fit {indices.size} rows of {shapes.text(whole)}"
        )
        raise errors.InvalidArgumentError(None, None, message)
    check_rows(indices, targets[0])
    if len(repeated(indices.reshape(-1), len(targets[0]))[1]):
        raise errors.InvalidArgumentError(None, None, "the indices of a sparse update must be distinct: sum equal ones")
    return targets


def on_rows(step: Step, slots: tuple[Any, ...], indices: Array, grad: Array, work: int = 0) -> None:
    """`step(*rows of the slots, rows of the gradient, *work)` in place, on as many rows at a time as make a block.

    The rows come as flat arrays. `work`: how many arrays of memory the step takes.
    """
    targets = _row_targets(slots, indices, grad)
    if not grad.size:
        return
    # A gradient that is a view of a slot itself must not change under the update.
    grad = np.array(grad) if any(shares_memory(grad, target) for target in targets) else grad
    ids, flat, width = indices.reshape(-1), grad.reshape(-1), grad.size // indices.size
    tables = [target.reshape(-1, width, copy=False) for target in targets]
    count = max(1, BLOCK_SIZE // width)
    for start in range(0, ids.size, count):
        chosen, part = ids[start : start + count], flat[start * width : (start + count) * width]
        arrays = BLOCK.vectors(tables[0].dtype, part.size, len(tables) + work)
        rows = [array.reshape(-1, width) for array in arrays[: len(tables)]]
        for table, copied in zip(tables, rows, strict=True):
            take_rows(table, chosen, copied)
        step(*arrays[: len(tables)], part, *arrays[len(tables) :])
        for table, changed in zip(tables, rows, strict=True):
            put_rows(table, chosen, changed)


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
        on_rows(momentum_step(lr, momentum, self.use_nesterov), (var, accum), indices, grad, 1)


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
        on_rows(adagrad_step(lr), (var, accum), indices, grad, 2)


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
        on_rows(rmsprop_step(lr, rho, momentum, epsilon), (var, ms, mom), indices, grad, 2)


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
        step = centered_rmsprop_step(lr, rho, momentum, epsilon)
        on_rows(step, (var, mg, ms, mom), indices, grad, 2)


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
        mean, square = _row_targets((var, m, v), indices, grad)[1:]
        rest1, rest2, ids = rest(beta1), rest(beta2), indices.reshape(-1)
        moved, spread = (change.reshape(ids.size, *mean.shape[1:]) for change in (rest1 * grad, rest2 * (grad * grad)))

        def decay(mean: Array, square: Array) -> None:
            np.multiply(mean, beta1, mean)
            np.multiply(square, beta2, square)

        def step(value: Array, mean: Array, square: Array, work: Array, scale: Array) -> None:
            adam_step(value, mean, square, rate, epsilon, work, scale)

        rate = adam_rate(lr, beta1_power, beta2_power)
        on_blocks(decay, (m, v))
        add_rows(mean, ids, moved)
        add_rows(square, ids, spread)
        on_blocks(step, (var, m, v), None, 2)
