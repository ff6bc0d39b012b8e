"""The updates of Ftrl (follow the regularized leader, proximal) on variables, whole or some rows, in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import DType
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .branchless import keep
from .training import Array, blocks, dense_inputs
from .training_proximal import check_rates
from .training_sparse import on_rows, sparse_inputs


@op
class ResourceApplyFtrl(Op):
    """linear += grad - (new^-lr_power - accum^-lr_power) / lr var, where new = accum + grad^2; accum = new,

    var = (sign(linear) l1 - linear) / (new^-lr_power / lr + 2 l2) where |linear| > l1, else 0.
    Raises InvalidArgumentError for lr <= 0, l1 < 0 or l2 < 0.
    """

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, accum: TensorLike, linear: TensorLike, grad: TensorLike, lr: TensorLike, l1: TensorLike,
        l2: TensorLike, lr_power: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return dense_inputs(self, (var, accum, linear), (lr, l1, l2, lr_power), grad)

    def compute(
        self, state: Any, var: Any, accum: Any, linear: Any, grad: Any, lr: Any, l1: Any, l2: Any, lr_power: Any
    ) -> None:
        check_rates(lr, l1, l2)
        for value, total, line, dy in blocks((var, accum, linear), grad):
            ftrl_step(value, total, line, dy, (lr, l1, l2, None, lr_power))


@op
class ResourceSparseApplyFtrl(Op):
    """ResourceApplyFtrl on the rows that the indices name."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, accum: TensorLike, linear: TensorLike, grad: TensorLike, indices: TensorLike, lr: TensorLike,
        l1: TensorLike, l2: TensorLike, lr_power: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return sparse_inputs(self, (var, accum, linear), (lr, l1, l2, lr_power), grad, indices)

    def compute(
        self, state: Any, var: Any, accum: Any, linear: Any, grad: Any, indices: Any, lr: Any, l1: Any, l2: Any,
        lr_power: Any,
    ) -> None:  # fmt: skip
        check_rates(lr, l1, l2)

        def step(value: Array, total: Array, line: Array, dy: Array) -> None:
            ftrl_step(value, total, line, dy, (lr, l1, l2, None, lr_power))

        on_rows(step, (var, accum, linear), indices, grad)


@op
class ResourceApplyFtrlV2(Op):
    """ResourceApplyFtrl whose linear term gets grad + 2 l2_shrinkage var in place of grad."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, accum: TensorLike, linear: TensorLike, grad: TensorLike, lr: TensorLike, l1: TensorLike,
        l2: TensorLike, l2_shrinkage: TensorLike, lr_power: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return dense_inputs(self, (var, accum, linear), (lr, l1, l2, l2_shrinkage, lr_power), grad)

    def compute(
        self, state: Any, var: Any, accum: Any, linear: Any, grad: Any, lr: Any, l1: Any, l2: Any, l2_shrinkage: Any,
        lr_power: Any,
    ) -> None:  # fmt: skip
        check_rates(lr, l1, l2)
        for value, total, line, dy in blocks((var, accum, linear), grad):
            ftrl_step(value, total, line, dy, (lr, l1, l2, l2_shrinkage, lr_power))


@op
class ResourceSparseApplyFtrlV2(Op):
    """ResourceApplyFtrlV2 on the rows that the indices name."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, accum: TensorLike, linear: TensorLike, grad: TensorLike, indices: TensorLike, lr: TensorLike,
        l1: TensorLike, l2: TensorLike, l2_shrinkage: TensorLike, lr_power: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return sparse_inputs(self, (var, accum, linear), (lr, l1, l2, l2_shrinkage, lr_power), grad, indices)

    def compute(
        self, state: Any, var: Any, accum: Any, linear: Any, grad: Any, indices: Any, lr: Any, l1: Any, l2: Any,
        l2_shrinkage: Any, lr_power: Any,
    ) -> None:  # fmt: skip
        check_rates(lr, l1, l2)

        def step(value: Array, total: Array, line: Array, dy: Array) -> None:
            ftrl_step(value, total, line, dy, (lr, l1, l2, l2_shrinkage, lr_power))

        on_rows(step, (var, accum, linear), indices, grad)


def ftrl_step(value: Array, total: Array, linear: Array, grad: Array, rates: tuple[Any, Any, Any, Any, Any]) -> None:
    """One step of Ftrl on arrays, in place; without shrinkage among the rates, of the first version."""
    lr, l1, l2, shrinkage, lr_power = rates
    before = _to_the(total, -lr_power)
    np.add(total, grad * grad, out=total)
    after = _to_the(total, -lr_power)
    if shrinkage is not None:
        grad = grad + 2 * shrinkage * value
    np.add(linear, grad - (after - before) / lr * value, out=linear)
    leader = (l1 * np.sign(linear) - linear) / (after / lr + 2 * l2)
    value[...] = keep(np.abs(linear) > l1, leader)


def _to_the(x: Array, power: Any) -> Array:
    """`x` to a power; the usual one is a root, which takes less than half the time."""
    return np.asarray(np.sqrt(x) if power == 0.5 else np.power(x, power))
