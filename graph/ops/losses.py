"""Losses that are operations of their own: the cross entropies, stable for any logits, and the halved sum of squares."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .. import errors, shapes
from ..dtypes import bfloat16, float16, float32, int32, int64
from ..ir import Operation, Tensor, graph_of
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims, normal_axis
from .activations import Softplus
from .arithmetic import AddV2, Mul, Neg, Sub, floating, number
from .cast import cast
from .convert import convert_to_tensor
from .identity import stop_gradient
from .reshaping import ExpandDims, transpose
from .softmax import LogSoftmax, Softmax, parts, through_softmax
from .special import Sigmoid


@op
class L2Loss(Op):
    """sum(x**2) / 2."""

    def infer(self, x: TensorLike) -> Spec:
        return Spec(floating("L2Loss", x.dtype), ())

    def compute(self, x: Any) -> Any:
        flat = np.ravel(x.astype(np.float32) if x.dtype.itemsize == 2 else x)
        return np.asarray(np.dot(flat, flat) * flat.dtype.type(0.5)).astype(x.dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [Mul()(dy, operation.inputs[0])]


@op
class SigmoidCrossEntropyWithLogits(Op):
    """-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits)), elementwise. Inputs: logits, labels."""

    def infer(self, logits: TensorLike, labels: TensorLike) -> Spec:
        if logits.dtype is not labels.dtype:
            raise TypeError(f"logits and labels must have one type, got {logits.dtype.name} and {labels.dtype.name}")
        return Spec(floating(self.type, logits.dtype), shapes.merge(logits.dims, labels.dims))

    def compute(self, logits: Any, labels: Any) -> Any:
        _same_shape(logits, labels)
        positive = np.maximum(logits, logits.dtype.type(0))
        return (positive - logits * labels) + np.log1p(np.exp(-np.abs(logits)))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        logits, labels = operation.inputs
        return [Mul()(dy, Sub()(Sigmoid()(logits), labels)), Mul()(dy, Neg()(logits))]


@op
class SoftmaxCrossEntropyWithLogits(Op):
    """Cross entropy along the last axis of logits and rows of probabilities. Outputs: the loss; softmax - labels.

    The second output is the gradient of the first by the logits for labels that sum to 1, and is used as such always.
    """

    def infer(self, logits: TensorLike, labels: TensorLike) -> tuple[Spec, Spec]:
        if logits.dtype is not labels.dtype:
            raise TypeError(f"logits and labels must have one type, got {logits.dtype.name} and {labels.dtype.name}")
        if logits.dims == () or labels.dims == ():
            raise ValueError("logits and labels must have at least one dimension: the classes")
        dims = shapes.merge(logits.dims, labels.dims)
        dtype = floating(self.type, logits.dtype)
        return Spec(dtype, None if dims is None else dims[:-1]), Spec(dtype, dims)

    def compute(self, logits: Any, labels: Any) -> Any:
        _same_shape(logits, labels)
        shifted, exponentials, total = parts(logits, -1)
        wide = labels.astype(shifted.dtype, copy=False)
        # a class without probability does not count, however unlikely the logits make it: 0 * inf would be nan
        terms = np.multiply(wide, np.log(total) - shifted, out=np.zeros_like(shifted), where=wide != 0)
        back = np.divide(exponentials, total, out=exponentials)
        back -= wide
        return terms.sum(axis=-1).astype(logits.dtype), back.astype(logits.dtype, copy=False)

    def grad(self, operation: Operation, dloss: Tensor, dback: Tensor) -> list[Tensor]:
        logits = operation.inputs[0]
        each = ExpandDims(-1)(dloss)
        dlabels = Neg()(Mul()(each, LogSoftmax()(logits)))
        if not _is_zero(dback):
            dlabels = Sub()(dlabels, dback)
        return [_by_logits(operation, each, dback), dlabels]


@op
class SparseSoftmaxCrossEntropyWithLogits(Op):
    """Cross entropy along the last axis of logits and class numbers. Outputs: the loss; its gradient by the logits."""

    def infer(self, logits: TensorLike, labels: TensorLike) -> tuple[Spec, Spec]:
        if labels.dtype not in (int32, int64):
            raise TypeError(f"the labels must be int32 or int64, got {labels.dtype.name}")
        if logits.dims == ():
            raise ValueError("`logits` cannot be a scalar: the last dimension are the classes")
        dtype = floating(self.type, logits.dtype)
        batch = shapes.merge(labels.dims, None if logits.dims is None else logits.dims[:-1])
        classes = None if logits.dims is None else logits.dims[-1]
        return Spec(dtype, batch), Spec(dtype, None if batch is None else (*batch, classes))

    def compute(self, logits: Any, labels: Any) -> Any:
        check_labels(logits.shape, labels)
        shifted, exponentials, total = parts(logits, -1)
        # where in a flat vector the classes that are asked for lie
        chosen = _starts(labels.size, logits.shape[-1]) + labels.reshape(-1)
        loss = np.log(total).reshape(labels.shape)
        np.subtract(loss, shifted.reshape(-1).take(chosen).reshape(labels.shape), loss)
        back = np.divide(exponentials, total, exponentials)
        flat = back.reshape(-1, copy=False)
        flat[chosen] = flat.take(chosen) - flat.dtype.type(1)
        return loss.astype(logits.dtype, copy=False), back.astype(logits.dtype, copy=False)

    def grad(self, operation: Operation, dloss: Tensor, dback: Tensor) -> list[Tensor | None]:
        return [_by_logits(operation, ExpandDims(-1)(dloss), dback), None]


@lru_cache(maxsize=64)
def _starts(rows: int, width: int) -> Any:
    """Where rows begin in a flat vector. Kept: a step asks for the same each time."""
    return np.arange(rows) * width


def _same_shape(logits: Any, labels: Any) -> None:
    """Raises InvalidArgumentError in a run where the shapes differ."""
    if logits.shape != labels.shape:
        raise errors.InvalidArgumentError(
            None, None, f"logits and labels must have the same shape, got {logits.shape} and {labels.shape}"
        )


def check_labels(logits: tuple[int, ...], labels: Any) -> None:
    """Raises InvalidArgumentError for a shape that does not fit, and for labels that are no class."""
    if labels.shape != logits[:-1]:
        raise errors.InvalidArgumentError(
            None, None, f"labels of shape {list(labels.shape)} do not fit logits of shape {list(logits)}"
        )
    # as unsigned numbers, negative ones are the largest
    if labels.size and np.maximum.reduce(labels.view(f"u{labels.dtype.itemsize}"), axis=None) >= logits[-1]:
        wrong = (labels < 0) | (labels >= logits[-1])
        first = np.asarray(labels)[wrong].flat[0]
        raise errors.InvalidArgumentError(
            None, None, f"Received a label value of {first} which is outside the valid range of [0, {logits[-1]})."
        )


def _by_logits(operation: Operation, each: Tensor, dback: Tensor) -> Tensor:
    """The gradient of the logits, from that of the loss (with a last dimension of 1) and that of the second output."""
    grad = Mul()(each, operation.outputs[1])
    if _is_zero(dback):
        return grad
    return AddV2()(grad, through_softmax(dback, Softmax()(operation.inputs[0]), -1))


def _is_zero(grad: Tensor) -> bool:
    """Whether nothing arrived at an output: `gradients` fills in zeros then."""
    return grad.op.type == "ZerosLike"


# the public functions


def l2_loss(t: Any, name: str | None = None) -> Tensor:
    """sum(t**2) / 2, a scalar. Source: `tf.nn.l2_loss`."""
    return L2Loss()(convert_to_tensor(t), name=name)


def sigmoid_cross_entropy_with_logits(_sentinel: Any = None, labels: Any = None, logits: Any = None,
                                      name: str | None = None) -> Tensor:  # fmt: skip
    """Cross entropy of independent classes, elementwise: `labels` are probabilities, in shape and type of `logits`.

    Source: `tf.nn.sigmoid_cross_entropy_with_logits`. Raises ValueError for positional use and different shapes.
    """
    _named("sigmoid_cross_entropy_with_logits", _sentinel, labels, logits)
    scores = convert_to_tensor(logits)
    targets = convert_to_tensor(labels, scores.dtype)
    if not shapes.compatible(scores.dims, targets.dims):
        raise ValueError(f"`logits` and `labels` must have the same shape, got {scores.shape} and {targets.shape}")
    return SigmoidCrossEntropyWithLogits()(scores, targets, name=name or "logistic_loss")


def weighted_cross_entropy_with_logits(labels: Any = None, logits: Any = None, pos_weight: Any = None,
                                       name: str | None = None, targets: Any = None) -> Tensor:  # fmt: skip
    """The sigmoid cross entropy with its positive part times `pos_weight`. `targets` is the old name of `labels`.

    Source: `tf.nn.weighted_cross_entropy_with_logits`. Raises ValueError for different shapes.
    """
    scores = convert_to_tensor(logits)
    given = convert_to_tensor(targets if labels is None else labels, scores.dtype)
    if not shapes.compatible(scores.dims, given.dims):
        raise ValueError(f"`logits` and `labels` must have the same shape, got {scores.shape} and {given.shape}")
    weight = convert_to_tensor(pos_weight, scores.dtype)
    with graph_of((scores,)).name_scope(name or "logistic_loss") as scope:
        one = number(1, scores)
        positive = AddV2()(one, Mul()(Sub()(weight, one), given))
        negative = Mul()(Sub()(one, given), scores)
        return AddV2()(negative, Mul()(positive, Softplus()(Neg()(scores))), name=scope)


def softmax_cross_entropy_with_logits(_sentinel: Any = None, labels: Any = None, logits: Any = None, dim: int = -1,
                                      name: str | None = None, axis: int | None = None) -> Tensor:  # fmt: skip
    """As `softmax_cross_entropy_with_logits_v2`, but `labels` are constant to `gradients`.

    Source: `tf.nn.softmax_cross_entropy_with_logits`. Raises ValueError for positional use.
    """
    _named("softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    return softmax_cross_entropy_with_logits_v2(
        stop_gradient(_labels(labels, logits)), logits, dim if axis is None else axis,
        name or "softmax_cross_entropy_with_logits_sg",
    )  # fmt: skip


def softmax_cross_entropy_with_logits_v2(labels: Any, logits: Any, axis: int | None = None, name: str | None = None,
                                         dim: int | None = None) -> Tensor:  # fmt: skip
    """Cross entropy of exclusive classes along `axis` (by default the last), which disappears.

    `labels`: along the axis probabilities that sum to 1, in shape and type of `logits`; gradients flow into both.
    Source: `tf.nn.softmax_cross_entropy_with_logits_v2`. Raises ValueError for shapes that do not fit.
    """
    scores = convert_to_tensor(logits)
    targets = _labels(labels, scores)
    place = -1 if axis is None and dim is None else dim if axis is None else axis
    with graph_of((scores,)).name_scope(name or "softmax_cross_entropy_with_logits") as scope:
        narrow = scores.dtype in (float16, bfloat16)
        pair = [cast(tensor, float32) if narrow else tensor for tensor in (scores, targets)]
        pair = [_axis_last(tensor, int(place or 0)) for tensor in pair]
        loss = SoftmaxCrossEntropyWithLogits().outputs(*pair, name=None if narrow else scope)[0]
        return cast(loss, scores.dtype, name=scope) if narrow else loss


def sparse_softmax_cross_entropy_with_logits(_sentinel: Any = None, labels: Any = None, logits: Any = None,
                                             name: str | None = None) -> Tensor:  # fmt: skip
    """Cross entropy of exclusive classes along the last dimension of `logits`; `labels`: int32 or int64 class numbers.

    Source: `tf.nn.sparse_softmax_cross_entropy_with_logits`. Raises ValueError for positional use and for shapes that do
    not fit; in a run InvalidArgumentError for a label that is no class.
    """
    _named("sparse_softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    scores, classes = convert_to_tensor(logits), convert_to_tensor(labels)
    _check_ranks(scores.dims, classes.dims)
    with graph_of((scores,)).name_scope(name or "SparseSoftmaxCrossEntropyWithLogits") as scope:
        narrow = scores.dtype in (float16, bfloat16)
        wide = cast(scores, float32) if narrow else scores
        loss = SparseSoftmaxCrossEntropyWithLogits().outputs(wide, classes, name=None if narrow else scope)[0]
        return cast(loss, scores.dtype, name=scope) if narrow else loss


def _named(function: str, sentinel: Any, labels: Any, logits: Any) -> None:
    if sentinel is not None:
        raise ValueError(f"Only call `{function}` with named arguments (labels=..., logits=..., ...)")
    if labels is None or logits is None:
        raise ValueError("Both labels and logits must be provided.")


def _labels(labels: Any, logits: Any) -> Tensor:
    """Labels in the type of the logits."""
    given, scores = convert_to_tensor(labels, dtype_hint=getattr(logits, "dtype", None)), convert_to_tensor(logits)
    return given if given.dtype is scores.dtype else cast(given, scores.dtype)


def _axis_last(tensor: Tensor, axis: int) -> Tensor:
    """The dimensions in an order that has `axis` last."""
    if axis == -1:
        return tensor
    if tensor.dims is None:
        raise ValueError("a softmax along another axis than the last one needs logits and labels of known rank")
    rank = len(tensor.dims)
    place = normal_axis(axis, rank)
    return transpose(tensor, [*(other for other in range(rank) if other != place), place])


def _check_ranks(logits: Dims, labels: Dims) -> None:
    """Raises ValueError as TF words it."""
    if logits == ():
        raise ValueError("`logits` cannot be a scalar: the last dimension are the classes")
    if logits is None or labels is None:
        return
    if len(labels) != len(logits) - 1:
        raise ValueError(
            f"Rank mismatch: Rank of labels (received {len(labels)}) should equal rank of logits minus 1 "
            f"(received {len(logits)})."
        )
    if not shapes.compatible(labels, logits[:-1]):
        raise ValueError(
            f"Shape mismatch: The shape of labels (received {shapes.text(labels)}) should equal the shape of logits except "
            f"for the last dimension (received {shapes.text(logits)})."
        )
