"""Gradient descent: var -= learning_rate * gradient."""

from __future__ import annotations

from typing import Any

from ...graph.ir import Operation, Tensor
from ...graph.ops.training import ResourceApplyGradientDescent
from ...graph.ops.variable_rows import ResourceScatterSub
from ...graph.shapes import as_dims
from ...graph.variable import Variable
from .optimizer import Optimizer, as_type


class GradientDescentOptimizer(Optimizer):
    """Plain gradient descent. `learning_rate`: a number, scalar tensor or function.

    Source: `tf.train.GradientDescentOptimizer`.
    """

    def __init__(self, learning_rate: Any, use_locking: bool = False, name: str = "GradientDescent") -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate

    def _prepare(self) -> None:
        self._learning_rate_tensor = self._hyperparameter(self._learning_rate, "learning_rate")

    def _resource_apply_dense(self, grad: Tensor, handle: Variable) -> Operation:
        update = ResourceApplyGradientDescent(handle.dtype, as_dims(handle.shape))
        return update.node(handle.handle, as_type(self._learning_rate_tensor, handle), grad)

    def _resource_apply_sparse_duplicate_indices(self, grad: Tensor, handle: Variable, indices: Tensor) -> Operation:
        update = ResourceScatterSub(handle.dtype, as_dims(handle.shape))
        return update.node(handle.handle, indices, as_type(self._learning_rate_tensor, handle) * grad)
