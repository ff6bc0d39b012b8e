"""Losses: one number for how far predictions are from labels, weighted, and collected in the graph."""

from __future__ import annotations

from typing import Any

from ..graph import shapes
from ..graph.collections import GraphKeys
from ..graph.ir import Tensor, get_default_graph
from ..graph.ops.activations import relu
from ..graph.ops.arithmetic import add_n
from ..graph.ops.broadcasting import broadcast_to, reduce_sum
from ..graph.ops.cast import cast
from ..graph.ops.compare import equal, not_equal
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.fills import ones_like, zeros_like
from ..graph.ops.identity import stop_gradient
from ..graph.ops.losses import (
    sigmoid_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits,
)
from ..graph.ops.math import abs as absolute, minimum, squared_difference
from ..graph.ops.reshaping import squeeze
from ..graph.ops.selecting import where_v2
from ..graph.ops.sizes import shape, size
from ..graph.ops.transcendental import log
from .regularization import get_regularization_losses


class Reduction:
    """How the losses of the elements become one. Source: `tf.losses.Reduction`."""

    NONE = "none"
    SUM = "weighted_sum"
    MEAN = "weighted_mean"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    SUM_OVER_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_BY_NONZERO_WEIGHTS = SUM_OVER_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        return (cls.NONE, cls.SUM, cls.MEAN, cls.SUM_OVER_BATCH_SIZE, cls.SUM_BY_NONZERO_WEIGHTS)

    @classmethod
    def validate(cls, key: str) -> None:
        """Raises ValueError for what is no reduction."""
        if key not in cls.all():
            raise ValueError(f"Invalid Reduction Key {key}.")


def compute_weighted_loss(
    losses: Any, weights: Any = 1.0, scope: str | None = None, loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:  # fmt: skip
    """`losses` * `weights`, reduced; the result goes into `loss_collection`.

    `weights`: a scalar, or of the rank of `losses` with dimensions that are equal or 1. Source:
    `tf.losses.compute_weighted_loss`. Raises ValueError for another reduction, and for weights that do not fit.
    """
    Reduction.validate(reduction)
    with get_default_graph().name_scope(scope or "weighted_loss"):
        each = convert_to_tensor(losses)
        factor = cast(weights, each.dtype)
        _check_weights(each, factor)
        weighted = each * factor
        loss = _reduced(weighted, each, factor, reduction)
        add_loss(loss, loss_collection)
        return loss


def _check_weights(losses: Tensor, weights: Tensor) -> None:
    if weights.dims == () or weights.dims is None or losses.dims is None:
        return
    fit = len(weights.dims) == len(losses.dims) and all(
        w in (1, None) or d in (w, None) for w, d in zip(weights.dims, losses.dims, strict=True)
    )
    if not fit:
        raise ValueError(
            "weights can not be broadcast to values: they must be a scalar, or have the same rank and dimensions that are "
            f"equal or 1. values.shape={shapes.text(losses.dims)}. weights.shape={shapes.text(weights.dims)}."
        )


def _reduced(weighted: Tensor, losses: Tensor, weights: Tensor, reduction: str) -> Tensor:
    if reduction == Reduction.NONE:
        return weighted
    total = reduce_sum(weighted)
    if reduction == Reduction.MEAN:
        return _mean(total, reduce_sum(ones_like(losses) * weights))
    if reduction == Reduction.SUM_BY_NONZERO_WEIGHTS:
        present = cast(not_equal(weights, 0.0), losses.dtype)
        return _mean(total, reduce_sum(broadcast_to(present, shape(losses))))
    if reduction == Reduction.SUM_OVER_BATCH_SIZE:
        return _mean(total, cast(size(losses), losses.dtype))
    return total


def _mean(total: Tensor, count: Tensor) -> Tensor:
    """total / count, and 0 where nothing was counted."""
    none = equal(count, 0.0)
    return where_v2(none, zeros_like(total), total / where_v2(none, ones_like(count), count), name="value")


def add_loss(loss: Any, loss_collection: str | None = GraphKeys.LOSSES) -> None:
    """Put a loss of one's own into the collection. Source: `tf.losses.add_loss`."""
    if loss_collection:
        get_default_graph().add_to_collection(loss_collection, loss)


def get_losses(scope: str | None = None, loss_collection: str = GraphKeys.LOSSES) -> list[Any]:
    """The losses in the collection. Source: `tf.losses.get_losses`."""
    return get_default_graph().get_collection(loss_collection, scope)


def get_total_loss(
    add_regularization_losses: bool = True, name: str = "total_loss", scope: str | None = None
) -> Tensor:
    """The sum of all losses, those of regularizers included. Source: `tf.losses.get_total_loss`. Raises ValueError for none."""
    found = get_losses(scope)
    if add_regularization_losses:
        found += get_regularization_losses(scope)
    return add_n(found, name=name)


def _pair(labels: Any, predictions: Any, names: tuple[str, str] = ("labels", "predictions")) -> tuple[Tensor, Tensor]:
    """Labels in the type of the predictions, and these. Raises ValueError for missing ones and different shapes."""
    for name, value in zip(names, (labels, predictions), strict=True):
        if value is None:
            raise ValueError(f"{name} must not be None.")
    guesses = convert_to_tensor(predictions)
    truth = cast(labels, guesses.dtype)
    shapes.merge(guesses.dims, truth.dims)
    return truth, guesses


def mean_squared_error(
    labels: Any, predictions: Any, weights: Any = 1.0, scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES, reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:  # fmt: skip
    """The mean of the squared differences. Source: `tf.losses.mean_squared_error`. Raises ValueError for shapes."""
    with get_default_graph().name_scope(scope or "mean_squared_error") as name:
        truth, guesses = _pair(labels, predictions)
        return compute_weighted_loss(squared_difference(guesses, truth), weights, name, loss_collection, reduction)


def absolute_difference(
    labels: Any, predictions: Any, weights: Any = 1.0, scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES, reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:  # fmt: skip
    """The mean of the absolute differences. Source: `tf.losses.absolute_difference`. Raises ValueError for shapes."""
    with get_default_graph().name_scope(scope or "absolute_difference") as name:
        truth, guesses = _pair(labels, predictions)
        return compute_weighted_loss(absolute(guesses - truth), weights, name, loss_collection, reduction)


def huber_loss(
    labels: Any, predictions: Any, weights: Any = 1.0, delta: float = 1.0, scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES, reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:  # fmt: skip
    """Half the squared error up to `delta`, linear beyond. Source: `tf.losses.huber_loss`. Raises ValueError for shapes."""
    with get_default_graph().name_scope(scope or "huber_loss") as name:
        truth, guesses = _pair(labels, predictions)
        error = absolute(guesses - truth)
        quadratic = minimum(error, delta)
        losses = 0.5 * quadratic * quadratic + delta * (error - quadratic)
        return compute_weighted_loss(losses, weights, name, loss_collection, reduction)


def log_loss(
    labels: Any, predictions: Any, weights: Any = 1.0, epsilon: float = 1e-7, scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES, reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:  # fmt: skip
    """The cross entropy of probabilities. Source: `tf.losses.log_loss`. Raises ValueError for shapes."""
    with get_default_graph().name_scope(scope or "log_loss") as name:
        truth, guesses = _pair(labels, predictions)
        losses = -(truth * log(guesses + epsilon)) - (1.0 - truth) * log(1.0 - guesses + epsilon)
        return compute_weighted_loss(losses, weights, name, loss_collection, reduction)


def hinge_loss(
    labels: Any, logits: Any, weights: Any = 1.0, scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES, reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:  # fmt: skip
    """max(0, 1 - y * logits) with y = -1 or 1 for labels 0 or 1. Source: `tf.losses.hinge_loss`."""
    with get_default_graph().name_scope(scope or "hinge_loss") as name:
        truth, scores = _pair(labels, logits, ("labels", "logits"))
        losses = relu(1.0 - (2.0 * truth - 1.0) * scores)
        return compute_weighted_loss(losses, weights, name, loss_collection, reduction)


def sigmoid_cross_entropy(
    multi_class_labels: Any, logits: Any, weights: Any = 1.0, label_smoothing: float = 0, scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES, reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:  # fmt: skip
    """The cross entropy of independent classes. Source: `tf.losses.sigmoid_cross_entropy`. Raises ValueError for shapes."""
    with get_default_graph().name_scope(scope or "sigmoid_cross_entropy_loss") as name:
        truth, scores = _pair(multi_class_labels, logits, ("multi_class_labels", "logits"))
        if label_smoothing > 0:
            truth = truth * (1 - label_smoothing) + 0.5 * label_smoothing
        losses = sigmoid_cross_entropy_with_logits(labels=truth, logits=scores, name="xentropy")
        return compute_weighted_loss(losses, weights, name, loss_collection, reduction)


def softmax_cross_entropy(
    onehot_labels: Any, logits: Any, weights: Any = 1.0, label_smoothing: float = 0, scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES, reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:  # fmt: skip
    """The cross entropy of exclusive classes. Source: `tf.losses.softmax_cross_entropy`. Raises ValueError for shapes."""
    with get_default_graph().name_scope(scope or "softmax_cross_entropy_loss") as name:
        truth, scores = _pair(onehot_labels, logits, ("onehot_labels", "logits"))
        if label_smoothing > 0:
            classes = cast(shape(truth)[-1], scores.dtype)
            truth = truth * (1 - label_smoothing) + label_smoothing / classes
        losses = softmax_cross_entropy_with_logits_v2(labels=stop_gradient(truth), logits=scores, name="xentropy")
        return compute_weighted_loss(losses, weights, name, loss_collection, reduction)


def sparse_softmax_cross_entropy(
    labels: Any, logits: Any, weights: Any = 1.0, scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES, reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:  # fmt: skip
    """The cross entropy of exclusive classes, `labels` being their numbers. Source: `tf.losses.sparse_softmax_cross_entropy`.

    Labels and weights may have a last dimension of 1 more. Raises ValueError for shapes.
    """
    for name, value in (("labels", labels), ("logits", logits)):
        if value is None:
            raise ValueError(f"{name} must not be None.")
    with get_default_graph().name_scope(scope or "sparse_softmax_cross_entropy_loss") as within:
        scores, numbers = convert_to_tensor(logits), convert_to_tensor(labels)
        factor = cast(weights, scores.dtype)
        rank = None if scores.dims is None else len(scores.dims) - 1
        numbers, factor = _without_last(numbers, rank), _without_last(factor, rank)
        losses = sparse_softmax_cross_entropy_with_logits(labels=numbers, logits=scores, name="xentropy")
        return compute_weighted_loss(losses, factor, within, loss_collection, reduction)


def _without_last(tensor: Tensor, rank: int | None) -> Tensor:
    """The tensor without a last dimension of 1 that is one too many."""
    if rank is None or tensor.dims is None or len(tensor.dims) != rank + 1 or tensor.dims[-1] not in (1, None):
        return tensor
    return squeeze(tensor, [-1])
