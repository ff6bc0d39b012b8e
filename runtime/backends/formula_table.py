"""Which operations are formulas, and which: each gives the bits of the operation's NumPy kernel."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...graph.opdef import OpDef, Spec
from ...graph.ops.activations import BiasAdd, Relu, Relu6, Relu6Grad, ReluGrad
from ...graph.ops.arithmetic import AddN, Masked
from ...graph.ops.cast import Cast
from ...graph.ops.from_value import ReciprocalGrad, RsqrtGrad, SqrtGrad
from ...graph.ops.math import SquaredDifference
from ...graph.ops.selecting import Select, SelectV2
from ...graph.ops.special import Sigmoid, SigmoidGrad
from ...graph.ops.training import ResourceApplyAdam, ResourceApplyGradientDescent, ResourceApplyMomentum
from ...graph.ops.training_adaptive import ResourceApplyAdagrad, ResourceApplyCenteredRMSProp, ResourceApplyRMSProp
from ...graph.ops.training_sparse import (
    ResourceSparseApplyAdagrad,
    ResourceSparseApplyAdam,
    ResourceSparseApplyCenteredRMSProp,
    ResourceSparseApplyMomentum,
    ResourceSparseApplyRMSProp,
)
from ...graph.ops.transcendental import Rsqrt, TanhGrad
from ...graph.ops.variable_rows import ResourceScatterAdd, ResourceScatterDiv, ResourceScatterMul, ResourceScatterSub
from .formulas import KINDS, Formula, Recorder, UnfitError, Value

#: Which of two zeros is the larger differs between kinds of processors.
_X86 = platform.machine() in ("x86_64", "AMD64")


def _sum(first: Value, *others: Value) -> Value:
    for other in others:
        first = first + other
    return first


#: The same functions as NumPy's, written out.
_UFUNCS: dict[Any, Formula] = {
    np.add: lambda x, y: x + y, np.subtract: lambda x, y: x - y, np.multiply: lambda x, y: x * y,
    np.true_divide: lambda x, y: x / y, np.negative: lambda x: -x, np.square: lambda x: x * x,
    np.absolute: lambda x: x.do("abs", kinds="f"), np.sqrt: lambda x: x.sqrt(),
    np.reciprocal: lambda x: x.constant(1) / x, np.sign: lambda x: x.sign(),
    np.floor: lambda x: x.do("floor", kinds="f"), np.ceil: lambda x: x.do("ceil", kinds="f"),
    np.rint: lambda x: x.do("rint", kinds="f"),
    np.equal: lambda x, y: x.equals(y), np.not_equal: lambda x, y: x.differs(y),
    np.less: lambda x, y: x < y, np.less_equal: lambda x, y: x <= y,
    np.greater: lambda x, y: x > y, np.greater_equal: lambda x, y: x >= y,
    np.logical_and: lambda x, y: x.do("and", y, kinds="b"), np.logical_or: lambda x, y: x.do("or", y, kinds="b"),
    np.logical_not: lambda x: x.do("not", kinds="b"), np.isnan: lambda x: x.differs(x),
}  # fmt: skip
if _X86:
    _UFUNCS |= {np.maximum: lambda x, y: x.maximum(y), np.minimum: lambda x, y: x.minimum(y)}

#: NumPy's own code computes these, called from the compiled code.
_CALLED = frozenset(
    {
        np.exp, np.expm1, np.log, np.log1p, np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh,
        np.tanh, np.arcsinh, np.arccosh, np.arctanh,
    }
)  # fmt: skip

_OPERATIONS: dict[type[OpDef], Formula] = {
    AddN: _sum,
    BiasAdd: lambda x, bias: x + bias,
    Masked: lambda mask, x: mask.keep(x),
    ReciprocalGrad: lambda y, dy: dy.differs(dy.constant(0)).keep(dy * -(y * y)),
    Relu6Grad: lambda dy, x: (x > x.constant(0)).do("and", x < x.constant(6), kinds="b").keep(dy),
    ReluGrad: lambda dy, x: (x > x.constant(0)).keep(dy),
    Rsqrt: lambda x: x.constant(1) / x.sqrt(),
    RsqrtGrad: lambda y, dy: dy.differs(dy.constant(0)).keep(dy * (y.constant(-0.5) * (y * (y * y)))),
    Select: lambda condition, x, y: condition.choose(x, y),
    SelectV2: lambda condition, x, y: condition.choose(x, y),
    Sigmoid: lambda x: x.constant(1) / ((-x).call(np.exp) + x.constant(1)),
    SigmoidGrad: lambda y, dy: dy * (y * (1 - y)),
    SqrtGrad: lambda y, dy: dy.differs(dy.constant(0)).keep(dy / (y + y)),
    SquaredDifference: lambda x, y: (x - y) * (x - y),
    TanhGrad: lambda y, dy: dy * (1 - y * y),
}
if _X86:
    _OPERATIONS |= {
        Relu: lambda x: x.maximum(x.constant(0)),
        Relu6: lambda x: x.maximum(x.constant(0)).minimum(x.constant(6)),
    }


def formula_of(definition: OpDef, inputs: Sequence[Spec], output: Spec) -> Formula | None:
    """The formula of an operation on such numbers, if it has one. It may still not fit; see `recorded`."""
    if isinstance(definition, Cast):
        return lambda x: x.cast(output.dtype.np.name)
    if isinstance(definition, BiasAdd) and definition.data_format == "NCHW":
        return None
    if isinstance(definition, Select) and any(spec.dims != output.dims for spec in inputs):
        return None
    formula = _OPERATIONS.get(type(definition))
    ufunc = type(definition).ufunc
    if formula is None and ufunc in _CALLED:
        return lambda x: x.call(ufunc)
    return formula or _UFUNCS.get(ufunc)


def recorded(
    recorder: Recorder, definition: OpDef, inputs: Sequence[Spec], output: Spec, values: Sequence[Value]
) -> Value | None:
    """The value of an operation, from those of its inputs; None where it cannot be written so."""
    formula = formula_of(definition, inputs, output)
    if formula is None or any(spec.dtype.np.name not in KINDS for spec in (*inputs, output)):
        return None
    try:
        value = formula(*values)
    except UnfitError:
        return None
    return value if value.kind == output.dtype.np.name else None


def _descent(var: Value, alpha: Value, delta: Value) -> list[Value]:
    return [var - alpha * delta]


def _momentum(nesterov: bool) -> Any:
    def formula(var: Value, accum: Value, lr: Value, grad: Value, momentum: Value) -> list[Value]:
        total = accum * momentum + grad
        return [var - ((total * momentum + grad) * lr if nesterov else total * lr), total]

    return formula


def _adam(nesterov: bool) -> Any:
    def formula(
        var: Value, m: Value, v: Value, beta1_power: Value, beta2_power: Value, lr: Value, beta1: Value, beta2: Value,
        epsilon: Value, grad: Value,
    ) -> list[Value]:  # fmt: skip
        rate = _adam_rate(lr, beta1_power, beta2_power)
        change = (1 - beta1) * grad
        square = v * beta2 + grad * grad * (1 - beta2)
        mean = m * beta1 + change
        step = mean * beta1 + change if nesterov else mean
        return [var - rate * step / (square.sqrt() + epsilon), mean, square]

    return formula


def _decayed(
    var: Value, m: Value, v: Value, beta1_power: Value, beta2_power: Value, lr: Value, beta1: Value, beta2: Value,
    epsilon: Value, grad: Value,
) -> list[Value]:  # fmt: skip
    """Adam for a row without a gradient."""
    mean, square = m * beta1, v * beta2
    return [var - _adam_rate(lr, beta1_power, beta2_power) * mean / (square.sqrt() + epsilon), mean, square]


def _adam_rate(lr: Value, beta1_power: Value, beta2_power: Value) -> Value:
    return lr * (1 - beta2_power).sqrt() / (1 - beta1_power)


def _adagrad(var: Value, accum: Value, lr: Value, grad: Value) -> list[Value]:
    total = accum + grad * grad
    return [var - lr * grad / total.sqrt(), total]


def _rmsprop(
    var: Value, ms: Value, mom: Value, lr: Value, rho: Value, momentum: Value, epsilon: Value, grad: Value
) -> list[Value]:
    square = ms * rho + (1 - rho) * (grad * grad)
    moment = mom * momentum + lr * grad / (square + epsilon).sqrt()
    return [var - moment, square, moment]


def _centered(
    var: Value, mg: Value, ms: Value, mom: Value, lr: Value, rho: Value, momentum: Value, epsilon: Value, grad: Value
) -> list[Value]:
    square = ms * rho + (1 - rho) * (grad * grad)
    mean = mg * rho + (1 - rho) * grad
    moment = mom * momentum + lr * grad / (square + epsilon - mean * mean).sqrt()
    return [var - moment, mean, square, moment]


def update_of(definition: OpDef) -> tuple[int, int, Any] | None:
    """Of an optimizer's update: how many variables it changes, which input is the gradient, and the formula of their values."""
    match definition:
        case ResourceApplyGradientDescent():
            return 1, 2, _descent
        case ResourceApplyMomentum():
            return 2, 3, _momentum(definition.use_nesterov)
        case ResourceApplyAdam():
            return 3, 9, _adam(definition.use_nesterov)
        case ResourceApplyAdagrad():
            return 2, 3, _adagrad
        case ResourceApplyRMSProp():
            return 3, 7, _rmsprop
        case ResourceApplyCenteredRMSProp():
            return 4, 8, _centered
    return None


#: Updates of rows one after the other, by what is done with a number and its update.
_SCATTERED: dict[type[OpDef], Formula] = {
    ResourceScatterAdd: lambda x, update: x + update, ResourceScatterSub: lambda x, update: x - update,
    ResourceScatterMul: lambda x, update: x * update, ResourceScatterDiv: lambda x, update: x / update,
}  # fmt: skip


def row_update_of(definition: OpDef) -> tuple[tuple[str, ...], Any] | None:
    """Of an update of some rows: what each input is, and the formulas of the values of all but the indices.

    An input is a "table" that is changed, a "number", the "rows" with a row for each index, or the "indices"; these are
    "marks" where all rows change: the others by the second of the formulas.
    """
    scattered = _SCATTERED.get(type(definition))
    if scattered is not None:
        return ("table", "indices", "rows"), lambda *values: [[scattered(*values)]]
    match definition:
        case ResourceSparseApplyMomentum():
            forms, formula = "table table number rows indices number", _momentum(definition.use_nesterov)
        case ResourceSparseApplyAdagrad():
            forms, formula = "table table number rows indices", _adagrad
        case ResourceSparseApplyRMSProp():
            forms, formula = "table table table number number number number rows indices", _rmsprop
        case ResourceSparseApplyCenteredRMSProp():
            forms, formula = "table table table table number number number number rows indices", _centered
        case ResourceSparseApplyAdam():
            forms = "table table table number number number number number number rows marks"
            return tuple(forms.split()), lambda *values: [_adam(False)(*values), _decayed(*values)]
        case _:
            return None
    return tuple(forms.split()), lambda *values: [formula(*values)]
