"""`wf.contrib.seq2seq`: sequence_loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.defaults import name_scope
from ..graph.ir import Tensor
from ..graph.ops.arithmetic import divide, multiply
from ..graph.ops.broadcasting import reduce_sum
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.losses import sparse_softmax_cross_entropy_with_logits
from ..graph.ops.reshaping import reshape
from ..graph.ops.sizes import shape

__all__ = ["sequence_loss"]

#: Keeps a sequence without weight from a division by zero.
_LITTLE = 1e-12


def sequence_loss(
    logits: Any, targets: Any, weights: Any, average_across_timesteps: bool = True, average_across_batch: bool = True,
    softmax_loss_function: Callable[..., Any] | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """The weighted cross entropy of `logits` [batch, time, classes] and `targets` (int [batch, time]), averaged as told.

    `weights` [batch, time]. `softmax_loss_function(labels=, logits=)` works on [batch * time] rows. Source:
    `tf.contrib.seq2seq.sequence_loss`. Raises ValueError for other ranks.
    """
    x, y, w = convert_to_tensor(logits), convert_to_tensor(targets), convert_to_tensor(weights)
    for what, tensor, rank in (("Logits", x, 3), ("Targets", y, 2), ("Weights", w, 2)):
        if tensor.dims is None or len(tensor.dims) != rank:
            raise ValueError(f"{what} must be a {rank}-dimensional tensor, got shape {tensor.shape}")
    with name_scope(name, "sequence_loss", [x, y, w]):
        rows = reshape(x, [-1, shape(x)[2]])
        function = softmax_loss_function or sparse_softmax_cross_entropy_with_logits
        crossed = reshape(function(labels=reshape(y, [-1]), logits=rows), shape(y))
        weighted = multiply(crossed, w)
        axes = [axis for axis, averaged in enumerate((average_across_batch, average_across_timesteps)) if averaged]
        if not axes:
            return weighted
        return divide(reduce_sum(weighted, axes), reduce_sum(w, axes) + _LITTLE)
