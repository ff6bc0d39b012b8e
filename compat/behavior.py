"""Switches that TensorFlow 1 programs turn under TensorFlow 2; weft behaves like TensorFlow 1 without them."""

from __future__ import annotations

from ..graph import context


def disable_eager_execution() -> None:
    """From here on operations add to the graph, as they do without `enable_eager_execution`.

    Source: `tf.disable_eager_execution`.
    """
    context.set_eager(False)


def disable_v2_behavior() -> None:
    """All of TensorFlow 2's behaviour off: only eager execution can be on. Source: `tf.disable_v2_behavior`."""
    disable_eager_execution()


def disable_v2_tensorshape() -> None:
    """Nothing to do: the dimensions of a TensorShape are Dimensions. Source: `tf.disable_v2_tensorshape`."""


def disable_tensor_equality() -> None:
    """Nothing to do: `==` of tensors is identity. Source: `tf.disable_tensor_equality`."""


def enable_resource_variables() -> None:
    """Nothing to do: all variables have the semantics of resources. Source: `tf.enable_resource_variables`."""
