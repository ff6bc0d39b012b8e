"""AdagradDA: Adagrad by dual averaging, where each step sets the variable from the sums of all gradients so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.dtypes import int64
from ...graph.ir import Operation, Tensor
from ...graph.ops.cast import cast
from ...graph.ops.convert import convert_to_tensor
from ...graph.ops.training_adagrad_da import ResourceApplyAdagradDA, ResourceSparseApplyAdagradDA
from ...graph.shapes import as_dims
from ...graph.variable import Variable
from .optimizer import Optimizer, as_type


class AdagradDAOptimizer(Optimizer):
    """Adagrad dual averaging (Duchi, Hazan and Singer), for sparse linear models: l1 makes elements exactly zero.

    `global_step`: an integer scalar variable or tensor, which the regularization grows with (the first step counts as
    one). Slots "gradient_accumulator" and "gradient_squared_accumulator", which starts at the value given. Only what the
    gradients said counts: the variable's initial value is forgotten at the first step. Source:
    `tf.train.AdagradDAOptimizer`. Raises ValueError for an initial value that is not positive.
    """

    def __init__(
        self, learning_rate: Any, global_step: Any, initial_gradient_squared_accumulator_value: float = 0.1,
        l1_regularization_strength: Any = 0.0, l2_regularization_strength: Any = 0.0, use_locking: bool = False,
        name: str = "AdagradDA",
    ) -> None:  # fmt: skip
        if initial_gradient_squared_accumulator_value <= 0.0:
            raise ValueError(
                "initial_gradient_squared_accumulator_value must be positive: "
                f"{initial_gradient_squared_accumulator_value}"
            )
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._global_step = global_step
        self._initial_gradient_squared_accumulator_value = initial_gradient_squared_accumulator_value
        self._l1_regularization_strength = l1_regularization_strength
        self._l2_regularization_strength = l2_regularization_strength

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for var in var_list:
            self._zeros_slot(var, "gradient_accumulator", self._name)
            start = self._initial_gradient_squared_accumulator_value
            self._filled_slot(var, start, "gradient_squared_accumulator", self._name)

    def _prepare(self) -> None:
        self._rates = [
            self._hyperparameter(self._learning_rate, "learning_rate"),
            self._hyperparameter(self._l1_regularization_strength, "l1_regularization_strength"),
            self._hyperparameter(self._l2_regularization_strength, "l2_regularization_strength"),
        ]
        # Read once, before any update: the operation that counts the step runs after all of them.
        self._steps = cast(convert_to_tensor(self._global_step), int64) + 1

    def _slots_of(self, var: Variable) -> list[Tensor]:
        names = ("gradient_accumulator", "gradient_squared_accumulator")
        return [var.handle, *(self._slots[name][var.handle].handle for name in names)]

    def _scalars(self, var: Variable) -> list[Tensor]:
        return [*(as_type(rate, var) for rate in self._rates), self._steps]

    def _resource_apply_dense(self, grad: Tensor, handle: Variable) -> Operation:
        update = ResourceApplyAdagradDA(handle.dtype, as_dims(handle.shape))
        return update.node(*self._slots_of(handle), grad, *self._scalars(handle))

    def _resource_apply_sparse(self, grad: Tensor, handle: Variable, indices: Tensor) -> Operation:
        update = ResourceSparseApplyAdagradDA(handle.dtype, as_dims(handle.shape))
        return update.node(*self._slots_of(handle), grad, indices, *self._scalars(handle))
