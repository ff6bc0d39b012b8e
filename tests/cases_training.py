"""Rows for the updates of optimizers: each sets a variable and its slots, updates them, and reads them all."""

from collections.abc import Callable
from typing import Any

import numpy as np
from case import Case, floats
from weft.graph.dtypes import float64, int64
from weft.graph.ir import Tensor
from weft.graph.ops import training, training_adaptive, training_sparse, variables
from weft.graph.ops.constant import constant

Array = np.ndarray[Any, Any]

VAR, GRAD = floats(4, 2), floats(4, 2, seed=1)
# The first slot may be the mean that centered RMSProp squares and takes from the second: it must be the smaller.
SLOTS = [floats(4, 2, seed=2, low=0.1, high=1.0), floats(4, 2, seed=3, low=3.0, high=5.0), floats(4, 2, seed=4)]
INDICES = np.array([2, 0], np.int64)
LR, RHO, MOMENTUM, EPSILON, BETA1, BETA2 = 0.1, 0.8, 0.7, 0.01, 0.6, 0.95


def update(definition: Any, slots: int, scalars: list[float], place: int, sparse: bool) -> Callable[..., list[Tensor]]:
    """Builds: set variable and slots, apply with the gradient (and indices) put among the scalars, read variable and slots.

    A scalar that is an int is a count of steps, the others are hyperparameters of the variable's type.
    """

    def build(*inputs: Tensor) -> list[Tensor]:
        *values, grad = inputs
        assert len(values) == slots + 1
        handles = [variables.VarHandleOp(float64, (4, 2))() for _ in values]
        graph = grad.graph
        assign = variables.AssignVariableOp(float64, (4, 2))
        rates: list[Tensor] = [constant(scalar, int64 if isinstance(scalar, int) else float64) for scalar in scalars]
        rates[place:place] = [grad, constant(INDICES)] if sparse else [grad]
        with graph.control_dependencies([assign.node(h, v) for h, v in zip(handles, values, strict=True)]):
            applied = definition.node(*handles, *rates)
        with graph.control_dependencies([applied]):
            return [variables.ReadVariableOp(float64, (4, 2))(handle) for handle in handles]

    return build


def row(
    definition: Any, slots: int, scalars: list[float], expected: Callable[..., Any], place: int | None = None, label: str = ""
) -> Case:  # fmt: skip
    """One row; `place` says after how many hyperparameters the gradient comes (None: at the end)."""
    sparse = "Sparse" in definition.type
    where = len(scalars) if place is None else place
    inputs = (VAR, *SLOTS[:slots], GRAD[:2] if sparse else GRAD)
    wanted = on_rows(expected) if sparse and definition.type != "ResourceSparseApplyAdam" else expected
    build = update(definition, slots, scalars, where, sparse)
    return Case(definition.type, build, inputs, expected=wanted, order=0, label=label)


def on_rows(expected: Callable[..., Any]) -> Callable[..., Any]:
    def sparse(*arrays: Array) -> Any:
        *values, grad = (array.copy() for array in arrays)
        changed = expected(*(value[INDICES] for value in values), grad)
        for value, part in zip(values, changed, strict=True):
            value[INDICES] = part
        return values if len(values) > 1 else values[0]

    return sparse


def descent(var: Array, grad: Array) -> Array:
    return var - LR * grad


def momentum(var: Array, accum: Array, grad: Array) -> list[Array]:
    accum = MOMENTUM * accum + grad
    return [var - LR * accum, accum]


def nesterov(var: Array, accum: Array, grad: Array) -> list[Array]:
    accum = MOMENTUM * accum + grad
    return [var - LR * (grad + MOMENTUM * accum), accum]


def adagrad(var: Array, accum: Array, grad: Array) -> list[Array]:
    accum = accum + grad**2
    return [var - LR * grad / np.sqrt(accum), accum]


def rmsprop(var: Array, ms: Array, mom: Array, grad: Array) -> list[Array]:
    ms = RHO * ms + (1 - RHO) * grad**2
    mom = MOMENTUM * mom + LR * grad / np.sqrt(ms + EPSILON)
    return [var - mom, ms, mom]


def centered(var: Array, mg: Array, ms: Array, mom: Array, grad: Array) -> list[Array]:
    mg = RHO * mg + (1 - RHO) * grad
    ms = RHO * ms + (1 - RHO) * grad**2
    mom = MOMENTUM * mom + LR * grad / np.sqrt(ms - mg**2 + EPSILON)
    return [var - mom, mg, ms, mom]


def adam(var: Array, m: Array, v: Array, grad: Array, nesterov: bool = False) -> list[Array]:
    m = BETA1 * m + (1 - BETA1) * grad
    v = BETA2 * v + (1 - BETA2) * grad**2
    rate = LR * np.sqrt(1 - BETA2**3) / (1 - BETA1**3)
    step = BETA1 * m + (1 - BETA1) * grad if nesterov else m
    return [var - rate * step / (np.sqrt(v) + EPSILON), m, v]


def nesterov_adam(var: Array, m: Array, v: Array, grad: Array) -> list[Array]:
    return adam(var, m, v, grad, nesterov=True)


def sparse_adam(var: Array, m: Array, v: Array, grad: Array) -> list[Array]:
    dense = np.zeros_like(var)
    dense[INDICES] = grad
    return adam(var, m, v, dense)


SHAPE = (4, 2)
ADAM = [BETA1**3, BETA2**3, LR, BETA1, BETA2, EPSILON]
RMS = [LR, RHO, MOMENTUM, EPSILON]

CASES = [
    Case(
        "ResourceApplyGradientDescent",
        update(training.ResourceApplyGradientDescent(float64, SHAPE), 0, [LR], 1, sparse=False),
        (VAR, GRAD),
        expected=lambda var, grad: descent(var, grad),
        order=0,
    ),
    row(training.ResourceApplyMomentum(float64, SHAPE), 1, [LR, MOMENTUM], momentum, 1),
    row(training.ResourceApplyMomentum(float64, SHAPE, True), 1, [LR, MOMENTUM], nesterov, 1, "nesterov"),
    row(training_sparse.ResourceSparseApplyMomentum(float64, SHAPE), 1, [LR, MOMENTUM], momentum, 1),
    row(training_sparse.ResourceSparseApplyMomentum(float64, SHAPE, True), 1, [LR, MOMENTUM], nesterov, 1, "nesterov"),
    row(training.ResourceApplyAdam(float64, SHAPE), 2, ADAM, adam),
    row(training.ResourceApplyAdam(float64, SHAPE, True), 2, ADAM, nesterov_adam, label="nesterov"),
    row(training_sparse.ResourceSparseApplyAdam(float64, SHAPE), 2, ADAM, sparse_adam),
    row(training_adaptive.ResourceApplyAdagrad(float64, SHAPE), 1, [LR], adagrad),
    row(training_sparse.ResourceSparseApplyAdagrad(float64, SHAPE), 1, [LR], adagrad),
    row(training_adaptive.ResourceApplyRMSProp(float64, SHAPE), 2, RMS, rmsprop),
    row(training_adaptive.ResourceApplyCenteredRMSProp(float64, SHAPE), 3, RMS, centered),
    row(training_sparse.ResourceSparseApplyRMSProp(float64, SHAPE), 2, RMS, rmsprop),
    row(training_sparse.ResourceSparseApplyCenteredRMSProp(float64, SHAPE), 3, RMS, centered),
]
