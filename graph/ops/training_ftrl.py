"""The updates of Ftrl (follow the regularized leader, proximal) on variables, whole or some rows, in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import DType
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .branchless import keep
from .rooms import Array
from .training import Step, dense_inputs, on_blocks
from .training_proximal import check_rates
from .training_sparse import on_rows, sparse_inputs


class DenseFtrl(Op):
    """Base of Ftrl on whole variables: after the gradient come lr, l1, l2, the second version's shrinkage, and lr_power."""

    __slots__ = ()

    def infer(
        self, var: TensorLike, accum: TensorLike, linear: TensorLike, grad: TensorLike, *rates: TensorLike
    ) -> tuple[Spec, ...]:
        _check_count(self, rates)
        return dense_inputs(self, (var, accum, linear), rates, grad)

    def compute(self, state: Any, var: Any, accum: Any, linear: Any, grad: Any, *rates: Any) -> None:
        check_rates(*rates[:3])
        on_blocks(ftrl_step(rates), (var, accum, linear), grad)


class SparseFtrl(Op):
    """Base of Ftrl on the rows that the indices name."""

    __slots__ = ()

    def infer(
        self, var: TensorLike, accum: TensorLike, linear: TensorLike, grad: TensorLike, indices: TensorLike,
        *rates: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        _check_count(self, rates)
        return sparse_inputs(self, (var, accum, linear), rates, grad, indices)

    def compute(self, state: Any, var: Any, accum: Any, linear: Any, grad: Any, indices: Any, *rates: Any) -> None:
        check_rates(*rates[:3])
        on_rows(ftrl_step(rates), (var, accum, linear), indices, grad)


def _check_count(definition: Any, rates: tuple[TensorLike, ...]) -> None:
    if len(rates) != definition.rates:
        raise TypeError(f"{definition.type} takes {definition.rates} hyperparameters, got {len(rates)}")


@op
class ResourceApplyFtrl(DenseFtrl):
    """linear += grad - (new^-lr_power - accum^-lr_power) / lr var, where new = accum + grad^2; accum = new,

    var = (sign(linear) l1 - linear) / (new^-lr_power / lr + 2 l2) where |linear| > l1, else 0.
    Raises InvalidArgumentError for lr <= 0, l1 < 0 or l2 < 0.
    """

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    rates = 4


@op
class ResourceSparseApplyFtrl(SparseFtrl):
    """ResourceApplyFtrl on the rows that the indices name."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    rates = 4


@op
class ResourceApplyFtrlV2(DenseFtrl):
    """ResourceApplyFtrl whose linear term gets grad + 2 l2_shrinkage var in place of grad."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    rates = 5


@op
class ResourceSparseApplyFtrlV2(SparseFtrl):
    """ResourceApplyFtrlV2 on the rows that the indices name."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    rates = 5


def ftrl_step(rates: tuple[Any, ...]) -> Step:
    """A step of Ftrl on the variable and its slots; without shrinkage among the rates, of the first version."""
    lr, l1, l2, *shrinkage, lr_power = rates

    def step(value: Array, total: Array, linear: Array, grad: Array) -> None:
        before = _to_the(total, -lr_power)
        np.add(total, grad * grad, out=total)
        after = _to_the(total, -lr_power)
        if shrinkage:
            grad = grad + 2 * shrinkage[0] * value
        np.add(linear, grad - (after - before) / lr * value, out=linear)
        leader = (l1 * np.sign(linear) - linear) / (after / lr + 2 * l2)
        value[...] = keep(np.abs(linear) > l1, leader)

    return step


def _to_the(x: Array, power: Any) -> Array:
    """`x` to a power; the usual one is a root, which takes less than half the time."""
    return np.asarray(np.sqrt(x) if power == 0.5 else np.power(x, power))
