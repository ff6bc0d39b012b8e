"""Ftrl: follow the regularized leader, with l1 and l2 regularization inside the step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.ir import Operation, Tensor
from ...graph.ops import training_ftrl as ftrl
from ...graph.ops.cast import cast
from ...graph.shapes import as_dims
from ...graph.variable import Variable
from .optimizer import Optimizer, as_type


class FtrlOptimizer(Optimizer):
    """FTRL-Proximal (McMahan and others); slots "accum", from `initial_accumulator_value`, and "linear", from zero.

    `learning_rate` is a number, scalar tensor or function, above zero at every step; the other hyperparameters are
    numbers. `l2_shrinkage_regularization_strength` adds to the gradient as a loss on the weights would, where
    `l2_regularization_strength` only stabilizes. `beta` is added to the root of the accumulator. `accum_name` and
    `linear_name` name the slots' variables. Source: `tf.train.FtrlOptimizer`. Raises ValueError for an initial value or
    strength below zero and for a `learning_rate_power` above zero.
    """

    def __init__(
        self, learning_rate: Any, learning_rate_power: float = -0.5, initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0, l2_regularization_strength: float = 0.0, use_locking: bool = False,
        name: str = "Ftrl", accum_name: str | None = None, linear_name: str | None = None,
        l2_shrinkage_regularization_strength: float = 0.0, beta: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(use_locking, name)
        for label, number in (
            ("initial_accumulator_value", initial_accumulator_value),
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
        ):
            if number < 0.0:
                raise ValueError(f"{label} {number} needs to be positive or zero")
        if learning_rate_power > 0.0:
            raise ValueError(f"learning_rate_power {learning_rate_power} needs to be negative or zero")
        self._learning_rate = learning_rate
        self._learning_rate_power = learning_rate_power
        self._initial_accumulator_value = initial_accumulator_value
        self._l1_regularization_strength = l1_regularization_strength
        self._l2_regularization_strength = l2_regularization_strength
        self._l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self._beta = beta or 0.0
        self._accum_name = accum_name
        self._linear_name = linear_name

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for var in var_list:
            self._filled_slot(var, self._initial_accumulator_value, "accum", self._accum_name or self._name)
            self._zeros_slot(var, "linear", self._linear_name or self._name)

    def _prepare(self) -> None:
        rate = self._hyperparameter(self._learning_rate, "learning_rate")
        l2 = self._hyperparameter(self._l2_regularization_strength, "l2_regularization_strength")
        if self._beta:
            l2 = l2 + cast(self._beta / (2.0 * rate), l2.dtype)
        self._rates = [rate, self._hyperparameter(self._l1_regularization_strength, "l1_regularization_strength"), l2]
        if self._shrinks:
            name = "l2_shrinkage_regularization_strength"
            self._rates.append(self._hyperparameter(self._l2_shrinkage_regularization_strength, name))
        self._rates.append(self._hyperparameter(self._learning_rate_power, "learning_rate_power"))

    @property
    def _shrinks(self) -> bool:
        return self._l2_shrinkage_regularization_strength > 0.0

    def _slots_of(self, var: Variable) -> list[Tensor]:
        return [var.handle, *(self._slots[name][var.handle].handle for name in ("accum", "linear"))]

    def _scalars(self, var: Variable) -> list[Tensor]:
        return [as_type(rate, var) for rate in self._rates]

    def _resource_apply_dense(self, grad: Tensor, handle: Variable) -> Operation:
        kind = ftrl.ResourceApplyFtrlV2 if self._shrinks else ftrl.ResourceApplyFtrl
        update = kind(handle.dtype, as_dims(handle.shape))
        return update.node(*self._slots_of(handle), grad, *self._scalars(handle))

    def _resource_apply_sparse(self, grad: Tensor, handle: Variable, indices: Tensor) -> Operation:
        kind = ftrl.ResourceSparseApplyFtrlV2 if self._shrinks else ftrl.ResourceSparseApplyFtrl
        update = kind(handle.dtype, as_dims(handle.shape))
        return update.node(*self._slots_of(handle), grad, indices, *self._scalars(handle))
