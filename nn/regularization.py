"""Regularizers: losses on weights, and the collection they go to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.collections import GraphKeys
from ..graph.ir import Tensor, get_default_graph
from ..graph.ops.arithmetic import add_n, multiply
from ..graph.ops.broadcasting import reduce_sum
from ..graph.ops.constant import constant
from ..graph.ops.losses import l2_loss
from ..graph.ops.math import abs as absolute

Regularizer = Callable[[Any], Tensor | None]


def l1_regularizer(scale: float, scope: str | None = None) -> Regularizer:
    """A regularizer: scale * sum(abs(weights)); none for a scale of 0. Source: `tf.contrib.layers.l1_regularizer`."""
    _check(scale)

    def l1(weights: Any) -> Tensor | None:
        return _scaled(scale, reduce_sum(absolute(weights)), scope or "l1_regularizer") if scale else None

    return l1


def l2_regularizer(scale: float, scope: str | None = None) -> Regularizer:
    """A regularizer: scale * sum(weights^2) / 2; none for a scale of 0. Source: `tf.contrib.layers.l2_regularizer`."""
    _check(scale)

    def l2(weights: Any) -> Tensor | None:
        return _scaled(scale, l2_loss(weights), scope or "l2_regularizer") if scale else None

    return l2


def _check(scale: float) -> None:
    if isinstance(scale, int) and not isinstance(scale, bool) and scale != 0:
        raise ValueError(f"scale cannot be an integer: {scale}")
    if scale < 0.0:
        raise ValueError(f"Setting a scale less than 0 on a regularizer: {scale}.")


def _scaled(scale: float, loss: Tensor, name: str) -> Tensor:
    return multiply(constant(scale, loss.dtype), loss, name=name)


def collect_activity(regularizer: Regularizer, outputs: Tensor) -> None:
    """Collect a layer's loss on its outputs."""
    loss = regularizer(outputs)
    if loss is not None:
        get_default_graph().add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)


def get_regularization_losses(scope: str | None = None) -> list[Any]:
    """The losses that regularizers made. Source: `tf.losses.get_regularization_losses`."""
    return get_default_graph().get_collection(GraphKeys.REGULARIZATION_LOSSES, scope)


def get_regularization_loss(scope: str | None = None, name: str = "total_regularization_loss") -> Tensor:
    """Their sum, zero when there is none. Source: `tf.losses.get_regularization_loss`."""
    found = get_regularization_losses(scope)
    return add_n(found, name=name) if found else constant(0.0, name=name)
