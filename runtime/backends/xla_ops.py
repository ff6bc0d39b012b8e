"""What XLA can do of a plan: for each type of operation the function over jax.numpy that means the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax, nn

from ...graph import shapes
from ...graph.dtypes import boolean, float32, float64, int32, int64, resource
from ...graph.opdef import Spec
from ...graph.ops.losses import check_labels
from ..stages.program import Node, Program

# Rows of variables (gathers, scatters, sparse updates) are left out, too: NumPy's kernels are faster at them (decision 0018).

#: Half precision is left out: XLA keeps more digits between two operations than there are.
DTYPES = (boolean, int32, int64, float32, float64)

Array = Any
#: A function of the definition, the specs of the outputs, and the inputs (for a variable its value) that gives the
#: output, a tuple for several; for an operation that writes to variables, their new values.
Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One type of operation."""

    function: Function
    #: Only for floating-point numbers: of others it means something else here, or can fail.
    floats: bool = False
    #: How many of its inputs take part: the others are shapes, which are known.
    inputs: int | None = None
    #: The input that is looked at before the compound runs, and what raises an error for it: XLA has no errors.
    guarded: int | None = None
    guard: Callable[[Any, tuple[Spec, ...], Any], None] | None = None
    #: Which definitions of the type it is for.
    only: Callable[[Any, tuple[Spec, ...]], bool] = lambda definition, inputs: True


def row_of(program: Program, node: Node) -> Row | None:
    """The row of a node that XLA can do: of a type in the table, with known shapes and types that it has."""
    row = ROWS.get(node.definition.type)
    if row is None:
        return None
    inputs = tuple([program.spec(ref) for ref in node.inputs])
    values = [spec for spec in (*inputs[: row.inputs], *node.specs) if spec.dtype is not resource]
    definition: Any = node.definition
    values += [Spec(definition.dtype, definition.shape)] if definition.access else []
    if not all(spec.dtype in DTYPES and _is_known(spec) for spec in values):
        return None
    if row.floats and not all(spec.dtype.is_floating for spec in (*values[:1], *node.specs)):
        return None
    if row.guarded is not None and row_of(program, program.nodes[node.inputs[row.guarded].node]) is not None:
        return None  # what is looked at must be there before the compound runs
    return row if row.only(node.definition, inputs) else None


def _is_known(spec: Spec) -> bool:
    """Whether the shape is known and holds anything."""
    return bool(shapes.is_full(spec.dims) and shapes.count(spec.dims))


def _dims(out: tuple[Spec, ...]) -> Any:
    return out[0].dims


def _elementwise(function: Callable[..., Any]) -> Function:
    return lambda d, out, *inputs: function(*inputs)


def _reduction(function: Callable[..., Any]) -> Function:
    return lambda d, out, x: function(x, axis=d.axes, keepdims=d.keepdims)


def _keep(mask: Array, x: Array) -> Array:
    """x where the mask holds, else 0."""
    return jnp.where(mask, x, jnp.zeros((), x.dtype))


def _sum_to(d: Any, out: tuple[Spec, ...], x: Array) -> Array:
    dims = _dims(out)
    lead = x.ndim - len(dims)
    axes = (*range(lead), *(lead + i for i, dim in enumerate(dims) if dim == 1 and x.shape[lead + i] != 1))
    return jnp.sum(x, axis=axes).reshape(dims) if axes else x


def _matmul(d: Any, out: tuple[Spec, ...], a: Array, b: Array) -> Array:
    return jnp.matmul(a.T if d.transpose_a else a, b.T if d.transpose_b else b, precision="highest")


def _batch_matmul(d: Any, out: tuple[Spec, ...], x: Array, y: Array) -> Array:
    x, y = (jnp.swapaxes(each, -1, -2) if across else each for each, across in ((x, d.adj_x), (y, d.adj_y)))
    return jnp.matmul(x, y, precision="highest")


def _add_n(d: Any, out: tuple[Spec, ...], first: Array, *others: Array) -> Array:
    for other in others:
        first = first + other
    return first


def _cuts(d: Any, out: tuple[Spec, ...], x: Array) -> Any:
    """Split, SplitV: cut into parts of the outputs' sizes."""
    parts, start = [], 0
    axis = d.axis % x.ndim
    for spec in out:
        parts.append(lax.slice_in_dim(x, start, start + spec.dims[axis], axis=axis))  # type: ignore[index]
        start += spec.dims[axis]  # type: ignore[index]
    return parts


def _sparse_cross_entropy(d: Any, out: tuple[Spec, ...], logits: Array, labels: Array) -> Any:
    shifted = logits - jnp.max(logits, axis=-1, keepdims=True)
    exponentials = jnp.exp(shifted)
    total = jnp.sum(exponentials, axis=-1, keepdims=True)
    chosen = jnp.arange(logits.shape[-1], dtype=labels.dtype) == labels[..., None]
    loss = jnp.log(total)[..., 0] - jnp.sum(_keep(chosen, shifted), axis=-1)
    return loss, exponentials / total - chosen.astype(logits.dtype)


def _cross_entropy(d: Any, out: tuple[Spec, ...], logits: Array, labels: Array) -> Any:
    shifted = logits - jnp.max(logits, axis=-1, keepdims=True)
    exponentials = jnp.exp(shifted)
    total = jnp.sum(exponentials, axis=-1, keepdims=True)
    terms = _keep(labels != 0, labels * (jnp.log(total) - shifted))
    return jnp.sum(terms, axis=-1), exponentials / total - labels


def _sigmoid_cross_entropy(d: Any, out: tuple[Spec, ...], logits: Array, labels: Array) -> Array:
    return (jnp.maximum(logits, 0) - logits * labels) + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def _select(d: Any, out: tuple[Spec, ...], condition: Array, x: Array, y: Array) -> Array:
    rows = condition.ndim == 1 and x.ndim > 1
    return jnp.where(condition.reshape(-1, *(1,) * (x.ndim - 1)) if rows else condition, x, y)


def _unpack(d: Any, out: tuple[Spec, ...], x: Array) -> Any:
    return [lax.index_in_dim(x, i, d.axis, keepdims=False) for i in range(d.num)]


# the updates of variables: (value, slots ..., hyperparameters ..., gradient) -> new values


def _momentum(d: Any, out: Any, var: Array, accum: Array, lr: Array, grad: Array, momentum: Array) -> Any:
    accum = accum * momentum + grad
    return var - (accum * momentum + grad if d.use_nesterov else accum) * lr, accum


def _adam(
    d: Any, out: Any, var: Array, m: Array, v: Array, beta1_power: Array, beta2_power: Array, lr: Array, beta1: Array,
    beta2: Array, epsilon: Array, grad: Array,
) -> Any:  # fmt: skip
    rate = lr * jnp.sqrt(1 - beta2_power) / (1 - beta1_power)
    change = (1 - beta1) * grad
    m = m * beta1 + change
    v = v * beta2 + (grad * grad) * (1 - beta2)
    return var - rate * (m * beta1 + change if d.use_nesterov else m) / (jnp.sqrt(v) + epsilon), m, v


def _adagrad(d: Any, out: Any, var: Array, accum: Array, lr: Array, grad: Array) -> Any:
    accum = accum + grad * grad
    return var - lr * grad / jnp.sqrt(accum), accum


def _rmsprop(
    d: Any, out: Any, var: Array, ms: Array, mom: Array, lr: Array, rho: Array, momentum: Array, epsilon: Array, grad: Array
) -> Any:  # fmt: skip
    ms = ms * rho + (1 - rho) * (grad * grad)
    mom = mom * momentum + lr * grad / jnp.sqrt(ms + epsilon)
    return var - mom, ms, mom


def _labels(d: Any, inputs: tuple[Any, ...], labels: Any) -> None:
    check_labels(inputs[0].dims, labels)


def _casts(d: Any, inputs: tuple[Spec, ...]) -> bool:
    """Not from floats to integers: for numbers that do not fit machines differ."""
    return not (inputs[0].dtype.is_floating and d.dtype.is_integer)


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "AddV2": jnp.add, "Sub": jnp.subtract, "Mul": jnp.multiply, "Neg": jnp.negative, "Square": jnp.square,
    "Abs": jnp.abs, "Sign": jnp.sign, "Maximum": jnp.maximum, "Minimum": jnp.minimum,
    "Equal": jnp.equal, "NotEqual": jnp.not_equal, "Less": jnp.less, "LessEqual": jnp.less_equal,
    "Greater": jnp.greater, "GreaterEqual": jnp.greater_equal,
    "LogicalAnd": jnp.logical_and, "LogicalOr": jnp.logical_or, "LogicalNot": jnp.logical_not,
    "SquaredDifference": lambda x, y: jnp.square(x - y), "Relu": lambda x: jnp.maximum(x, 0),
    "Relu6": lambda x: jnp.minimum(jnp.maximum(x, 0), 6), "ReluGrad": lambda dy, x: _keep(x > 0, dy),
    "Relu6Grad": lambda dy, x: _keep((x > 0) & (x < 6), dy), "Masked": _keep, "SelectV2": jnp.where,
    "Identity": lambda x: x, "StopGradient": lambda x: x, "ZerosLike": jnp.zeros_like, "OnesLike": jnp.ones_like,
}  # fmt: skip

_OF_FLOATS: dict[str, Callable[..., Any]] = {
    "RealDiv": jnp.divide, "Sqrt": jnp.sqrt, "Rsqrt": lambda x: 1 / jnp.sqrt(x), "Reciprocal": lambda x: 1 / x,
    "Exp": jnp.exp, "Expm1": jnp.expm1, "Log": jnp.log, "Log1p": jnp.log1p, "Sin": jnp.sin, "Cos": jnp.cos,
    "Tan": jnp.tan, "Sinh": jnp.sinh, "Cosh": jnp.cosh, "Tanh": jnp.tanh, "Pow": jnp.power,
    "Floor": jnp.floor, "Ceil": jnp.ceil, "Round": jnp.round, "Rint": jnp.round,
    "Sigmoid": lambda x: 1 / (1 + jnp.exp(-x)), "Softplus": lambda x: jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x))),
    "Elu": lambda x: jnp.where(x > 0, x, jnp.expm1(jnp.minimum(x, 0))), "EluGrad": lambda dy, y: dy * (jnp.minimum(y, 0) + 1),
    "Softsign": lambda x: x / (jnp.abs(x) + 1),
    "TanhGrad": lambda y, dy: dy * (1 - y * y), "SigmoidGrad": lambda y, dy: dy * (y * (1 - y)),
    "SqrtGrad": lambda x, y: _keep(y != 0, y / (x + x)), "RsqrtGrad": lambda x, y: _keep(y != 0, y * (-0.5 * (x * (x * x)))),
    "ReciprocalGrad": lambda x, y: _keep(y != 0, y * -(x * x)),
    "DivNoNan": lambda x, y: _keep(y != 0, x / jnp.where(y == 0, 1, y)),
}  # fmt: skip

ROWS: dict[str, Row] = {
    **{name: Row(_elementwise(function)) for name, function in _ELEMENTWISE.items()},
    **{name: Row(_elementwise(function), floats=True) for name, function in _OF_FLOATS.items()},
    "LeakyRelu": Row(lambda d, out, x: jnp.where(x > 0, x, x * d.alpha), floats=True),
    "LeakyReluGrad": Row(lambda d, out, dy, x: jnp.where(x > 0, dy, dy * d.alpha), floats=True),
    "NoOp": Row(lambda d, out: ()),
    "Cast": Row(lambda d, out, x: x.astype(d.dtype.np), only=_casts),
    "AddN": Row(_add_n),
    "BiasAdd": Row(lambda d, out, x, b: x + b, only=lambda d, inputs: d.data_format != "NCHW"),
    "MatMul": Row(_matmul, floats=True),
    "BatchMatMulV2": Row(_batch_matmul, floats=True),
    "Sum": Row(lambda d, out, x: jnp.sum(x, axis=d.axes, keepdims=d.keepdims, dtype=x.dtype)),
    "Mean": Row(_reduction(jnp.mean), floats=True),
    "Max": Row(_reduction(jnp.max)),
    "Min": Row(_reduction(jnp.min)),
    "Prod": Row(_reduction(jnp.prod), floats=True),
    "All": Row(_reduction(jnp.all)),
    "Any": Row(_reduction(jnp.any)),
    "L2Loss": Row(lambda d, out, x: jnp.sum(x * x) * 0.5, floats=True),
    "SumTo": Row(_sum_to, inputs=1, floats=True),
    "BroadcastTo": Row(lambda d, out, x: jnp.broadcast_to(x, _dims(out)), inputs=1),
    "Fill": Row(lambda d, out, dims, x: jnp.broadcast_to(x, _dims(out))),
    "Reshape": Row(lambda d, out, x: x.reshape(_dims(out)), inputs=1),
    "ExpandDims": Row(lambda d, out, x: x.reshape(_dims(out))),
    "Squeeze": Row(lambda d, out, x: x.reshape(_dims(out))),
    "FlatRows": Row(lambda d, out, x: x.reshape(_dims(out)), inputs=1),
    "Transpose": Row(lambda d, out, x: jnp.transpose(x, d.perm)),
    "ConcatV2": Row(lambda d, out, *xs: jnp.concatenate(xs, d.axis)),
    "Pack": Row(lambda d, out, *xs: jnp.stack(xs, d.axis)),
    "Unpack": Row(_unpack),
    "Split": Row(_cuts),
    "SplitV": Row(_cuts, inputs=1),
    "Select": Row(_select),
    "Softmax": Row(lambda d, out, x: nn.softmax(x, d.axis), floats=True),
    "LogSoftmax": Row(lambda d, out, x: nn.log_softmax(x, d.axis), floats=True),
    "SigmoidCrossEntropyWithLogits": Row(_sigmoid_cross_entropy, floats=True),
    "SoftmaxCrossEntropyWithLogits": Row(_cross_entropy, floats=True),
    "SparseSoftmaxCrossEntropyWithLogits": Row(_sparse_cross_entropy, floats=True, guarded=1, guard=_labels),
    "ReadVariableOp": Row(lambda d, out, var: var),
    "AssignVariableOp": Row(lambda d, out, var, value: (value,), only=lambda d, inputs: d.shape == inputs[1].dims),
    "AssignAddVariableOp": Row(lambda d, out, var, value: (var + value,)),
    "AssignSubVariableOp": Row(lambda d, out, var, value: (var - value,)),
    "ResourceApplyGradientDescent": Row(lambda d, out, var, alpha, delta: (var - alpha * delta,)),
    "ResourceApplyMomentum": Row(_momentum),
    "ResourceApplyAdam": Row(_adam),
    "ResourceApplyAdagrad": Row(_adagrad),
    "ResourceApplyRMSProp": Row(_rmsprop),
}  # fmt: skip
