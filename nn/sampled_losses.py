"""Losses over few of many classes, the true ones and some drawn at random: nce_loss and sampled_softmax_loss."""

from __future__ import annotations

from typing import Any

from ..graph.defaults import name_scope
from ..graph.dtypes import int64
from ..graph.ir import Tensor
from ..graph.ops.array import concat
from ..graph.ops.broadcasting import reduce_sum
from ..graph.ops.candidates import log_uniform_candidate_sampler
from ..graph.ops.cast import cast
from ..graph.ops.compare import equal
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.fills import ones_like, zeros_like
from ..graph.ops.identity import stop_gradient
from ..graph.ops.linalg import matmul
from ..graph.ops.losses import sigmoid_cross_entropy_with_logits, softmax_cross_entropy_with_logits_v2
from ..graph.ops.reduction import reduce_any
from ..graph.ops.reshaping import expand_dims, reshape
from ..graph.ops.selecting import where_v2
from ..graph.ops.sizes import shape, size
from ..graph.ops.slicing import slice_
from ..graph.ops.transcendental import log
from .embedding import embedding_lookup

#: What is added to the logit of a drawn class that is a true one: none of its probability is left.
_NEVER = -3.4e38


def nce_loss(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int, num_true: int = 1,
    sampled_values: Any = None, remove_accidental_hits: bool = False, partition_strategy: str = "mod",
    name: str = "nce_loss",
) -> Tensor:  # fmt: skip
    """The noise-contrastive loss of each of `inputs` [batch, dim]: tell its true classes from drawn ones.

    `weights` [num_classes, dim] (or a list of parts), `biases` [num_classes], `labels` int [batch, num_true].
    `sampled_values`: what a candidate sampler gives; by default the log-uniform one. Source: `tf.nn.nce_loss`.
    """
    with name_scope(name):
        logits, targets = _sampled_logits(
            weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values, remove_accidental_hits,
            partition_strategy, None,
        )  # fmt: skip
        return reduce_sum(sigmoid_cross_entropy_with_logits(labels=targets, logits=logits), 1)


def sampled_softmax_loss(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int, num_true: int = 1,
    sampled_values: Any = None, remove_accidental_hits: bool = True, partition_strategy: str = "mod",
    name: str = "sampled_softmax_loss", seed: int | None = None,
) -> Tensor:  # fmt: skip
    """The softmax cross entropy of each of `inputs` over its true classes and the drawn ones. Arguments as of `nce_loss`.

    Source: `tf.nn.sampled_softmax_loss`.
    """
    with name_scope(name):
        logits, targets = _sampled_logits(
            weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values, remove_accidental_hits,
            partition_strategy, seed,
        )  # fmt: skip
        return softmax_cross_entropy_with_logits_v2(labels=stop_gradient(targets), logits=logits)


def _sampled_logits(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int, num_true: int,
    sampled_values: Any, remove_hits: bool, strategy: str, seed: int | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Logits [batch, num_true + num_sampled] less the logs of how often each class was to be expected, and their targets."""
    x = convert_to_tensor(inputs)
    true = reshape(cast(labels, int64), [-1, num_true])
    if sampled_values is None:
        sampled_values = log_uniform_candidate_sampler(true, num_true, num_sampled, True, num_classes, seed)
    drawn, expected_true, expected = (stop_gradient(convert_to_tensor(value)) for value in sampled_values)
    ids = concat([reshape(true, [-1]), drawn], 0)
    rows = embedding_lookup(weights, ids, strategy)
    offsets = reshape(embedding_lookup(biases, ids, strategy), [-1])
    count, dim = size(true), shape(x)[1]
    true_rows = reshape(slice_(rows, [0, 0], [count, -1]), [-1, num_true, dim])
    true_logits = reduce_sum(expand_dims(x, 1) * true_rows, 2) + reshape(slice_(offsets, [0], [count]), [-1, num_true])
    logits = matmul(x, slice_(rows, [count, 0], [-1, -1]), transpose_b=True) + slice_(offsets, [count], [-1])
    if remove_hits:
        hit = reduce_any(equal(expand_dims(true, 2), reshape(drawn, [1, 1, -1])), 1)
        logits = where_v2(hit, logits + _NEVER, logits)
    parts = [true_logits - log(cast(expected_true, x.dtype)), logits - log(cast(expected, x.dtype))]
    return concat(parts, 1), concat([ones_like(true_logits) / num_true, zeros_like(logits)], 1)
