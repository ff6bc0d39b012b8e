"""Rows for the updates of Adadelta, AdagradDA, Ftrl and the proximal optimizers, built as those in cases_training.py."""

from typing import Any

import numpy as np
from cases_training import EPSILON, LR, RHO, SHAPE, Array, row
from weft.graph.dtypes import float64
from weft.graph.ops import training_adadelta, training_adagrad_da, training_ftrl, training_proximal

L1, L2, SHRINKAGE, POWER, STEPS = 0.3, 0.2, 0.15, -0.5, 3


def adadelta(var: Array, accum: Array, accum_update: Array, grad: Array) -> list[Array]:
    accum = RHO * accum + (1 - RHO) * grad**2
    step = np.sqrt(accum_update + EPSILON) * grad / np.sqrt(accum + EPSILON)
    return [var - LR * step, accum, RHO * accum_update + (1 - RHO) * step**2]


def towards_zero(x: Array, by: Any) -> Array:
    return np.where(x > by, x - by, np.where(x < -by, x + by, 0.0))


def adagrad_da(var: Array, total: Array, squares: Array, grad: Array, *, l1: float = L1) -> list[Array]:
    total, squares = total + grad, squares + grad**2
    return [-LR * towards_zero(total, l1 * STEPS) / (L2 * STEPS * LR + np.sqrt(squares)), total, squares]


def proximal(var: Array, grad: Array, *, l1: float = L1) -> Array:
    return towards_zero(var - LR * grad, LR * l1) / (1 + LR * L2)


def proximal_adagrad(var: Array, accum: Array, grad: Array, *, l1: float = L1) -> list[Array]:
    accum = accum + grad**2
    rate = LR / np.sqrt(accum)
    return [towards_zero(var - rate * grad, rate * l1) / (1 + rate * L2), accum]


def ftrl(
    var: Array, accum: Array, linear: Array, grad: Array, *, shrinkage: float = 0.0, power: float = POWER
) -> list[Array]:
    after = (accum + grad**2) ** -power
    linear = linear + grad + 2 * shrinkage * var - (after - accum**-power) / LR * var
    return [-towards_zero(linear, L1) / (after / LR + 2 * L2), accum + grad**2, linear]


def ftrl_v2(*arrays: Array) -> list[Array]:
    return ftrl(*arrays, shrinkage=SHRINKAGE)


DENSE_DA = training_adagrad_da.ResourceApplyAdagradDA(float64, SHAPE)
SPARSE_DA = training_adagrad_da.ResourceSparseApplyAdagradDA(float64, SHAPE)
DESCENT = training_proximal.ResourceApplyProximalGradientDescent(float64, SHAPE)
SPARSE_DESCENT = training_proximal.ResourceSparseApplyProximalGradientDescent(float64, SHAPE)
ADAGRAD = training_proximal.ResourceApplyProximalAdagrad(float64, SHAPE)
SPARSE_ADAGRAD = training_proximal.ResourceSparseApplyProximalAdagrad(float64, SHAPE)
FTRL, RATES_V2 = [LR, L1, L2, POWER], [LR, L1, L2, SHRINKAGE, POWER]

CASES = [
    row(training_adadelta.ResourceApplyAdadelta(float64, SHAPE), 2, [LR, RHO, EPSILON], adadelta),
    row(training_adadelta.ResourceSparseApplyAdadelta(float64, SHAPE), 2, [LR, RHO, EPSILON], adadelta),
    row(DENSE_DA, 2, [LR, L1, L2, STEPS], adagrad_da, 0),
    row(DENSE_DA, 2, [LR, 0.0, L2, STEPS], lambda *x: adagrad_da(*x, l1=0.0), 0, "no_l1"),
    row(SPARSE_DA, 2, [LR, L1, L2, STEPS], adagrad_da, 0),
    row(DESCENT, 0, [LR, L1, L2], proximal),
    row(DESCENT, 0, [LR, 0.0, L2], lambda *x: proximal(*x, l1=0.0), label="no_l1"),
    row(SPARSE_DESCENT, 0, [LR, L1, L2], lambda *x: [proximal(*x)]),
    row(ADAGRAD, 1, [LR, L1, L2], proximal_adagrad),
    row(ADAGRAD, 1, [LR, 0.0, L2], lambda *x: proximal_adagrad(*x, l1=0.0), label="no_l1"),
    row(SPARSE_ADAGRAD, 1, [LR, L1, L2], proximal_adagrad),
    row(training_ftrl.ResourceApplyFtrl(float64, SHAPE), 2, FTRL, ftrl, 0),
    row(
        training_ftrl.ResourceApplyFtrl(float64, SHAPE),
        2,
        [LR, L1, L2, -0.3],
        lambda *x: ftrl(*x, power=-0.3),
        0,
        "power",
    ),
    row(training_ftrl.ResourceSparseApplyFtrl(float64, SHAPE), 2, FTRL, ftrl, 0),
    row(training_ftrl.ResourceApplyFtrlV2(float64, SHAPE), 2, RATES_V2, ftrl_v2, 0),
    row(training_ftrl.ResourceSparseApplyFtrlV2(float64, SHAPE), 2, RATES_V2, ftrl_v2, 0),
]
