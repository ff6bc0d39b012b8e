"""fully_connected, conv2d, max_pool2d and flatten of `tf.contrib.layers`: the layers under other names and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..graph.collections import GraphKeys
from ..graph.ir import Tensor, get_default_graph
from ..graph.ops.activations import relu
from ..nn import layer_functions as layers
from ..nn.initializer_classes import VarianceScaling, Zeros
from ..nn.variable_scope import variable_scope

_NAMES = {"kernel": "weights", "bias": "biases"}
_XAVIER = VarianceScaling(1.0, "fan_avg", "uniform")
_ZEROS = Zeros()


def fully_connected(
    inputs: Any, num_outputs: int, activation_fn: Any = relu, normalizer_fn: Any = None, normalizer_params: Any = None,
    weights_initializer: Any = _XAVIER, weights_regularizer: Any = None, biases_initializer: Any = _ZEROS,
    biases_regularizer: Any = None, reuse: Any = None, variables_collections: Any = None,
    outputs_collections: Any = None, trainable: bool = True, scope: Any = None,
) -> Any:  # fmt: skip
    """activation(inputs @ weights + biases) along the last dimension; with a normalizer, which comes before the activation,
    or without `biases_initializer` there are no biases.

    Variables `weights` and `biases` in the scope (`fully_connected`, …), also in `variables_collections` (a list, or one a
    name) and MODEL_VARIABLES. Source: `tf.contrib.layers.fully_connected`. Raises ValueError as `wf.layers.dense`.
    """
    with variable_scope(
        scope, "fully_connected", [inputs], custom_getter=_getter(variables_collections), reuse=reuse
    ) as own:
        outputs = layers.dense(
            inputs, num_outputs, None, normalizer_fn is None and biases_initializer is not None, weights_initializer,
            biases_initializer, weights_regularizer, biases_regularizer, trainable=trainable, name=own,  # type: ignore[arg-type]
        )  # fmt: skip
        return _finished(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)


def conv2d(
    inputs: Any, num_outputs: int, kernel_size: Any, stride: Any = 1, padding: str = "SAME",
    data_format: str | None = None, rate: Any = 1, activation_fn: Any = relu, normalizer_fn: Any = None,
    normalizer_params: Any = None, weights_initializer: Any = _XAVIER, weights_regularizer: Any = None,
    biases_initializer: Any = _ZEROS, biases_regularizer: Any = None, reuse: Any = None,
    variables_collections: Any = None, outputs_collections: Any = None, trainable: bool = True, scope: Any = None,
) -> Any:  # fmt: skip
    """activation(convolution + biases) of images [N, H, W, C] (NCHW as `data_format`: [N, C, H, W]).

    Variables as of `fully_connected`, in the scope `Conv`, `Conv_1`, …. Source: `tf.contrib.layers.conv2d`. Raises
    ValueError as `wf.layers.conv2d` and for another data format.
    """
    layout = _layout(data_format)
    with variable_scope(scope, "Conv", [inputs], custom_getter=_getter(variables_collections), reuse=reuse) as own:
        outputs = layers.conv2d(
            inputs, num_outputs, kernel_size, stride, padding, layout, rate, None,
            normalizer_fn is None and biases_initializer is not None, weights_initializer, biases_initializer,
            weights_regularizer, biases_regularizer, trainable=trainable, name=own,  # type: ignore[arg-type]
        )  # fmt: skip
        return _finished(outputs, normalizer_fn, normalizer_params, activation_fn, outputs_collections)


def max_pool2d(
    inputs: Any, kernel_size: Any, stride: Any = 2, padding: str = "VALID", data_format: str = "NHWC",
    outputs_collections: Any = None, scope: str | None = None,
) -> Tensor:  # fmt: skip
    """The maximum of windows of images. Source: `tf.contrib.layers.max_pool2d`. Raises ValueError for another format."""
    outputs = layers.max_pooling2d(inputs, kernel_size, stride, padding, _layout(data_format), scope or "MaxPool2D")
    _collected(outputs, outputs_collections)
    return outputs


def flatten(inputs: Any, outputs_collections: Any = None, scope: str | None = None) -> Tensor:
    """All dimensions but the first as one. Source: `tf.contrib.layers.flatten`. Raises ValueError for a scalar or vector
    of unknown shape, as `wf.layers.flatten`.
    """
    outputs = layers.flatten(inputs, scope or "Flatten")
    _collected(outputs, outputs_collections)
    return outputs


def _layout(data_format: str | None) -> str:
    layouts = {None: "channels_last", "NHWC": "channels_last", "NCHW": "channels_first"}
    if data_format not in layouts:
        raise ValueError(f"Invalid data_format: {data_format!r}")
    return layouts[data_format]


def _getter(collections: Any) -> Callable[..., Any]:
    """A custom getter that gives a layer's variables their names of here, and collects them."""

    def get(getter: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        scope, slash, last = name.rpartition("/")
        own = _NAMES.get(last, last)
        variable = getter(f"{scope}{slash}{own}", *args, **kwargs)
        wanted = collections.get(own) if isinstance(collections, Mapping) else collections
        for collection in (GraphKeys.MODEL_VARIABLES, *_as_list(wanted)):
            if not any(other is variable for other in variable.graph.get_collection_ref(collection)):
                variable.graph.add_to_collection(collection, variable)
        return variable

    return get


def _as_list(names: Any) -> list[Any]:
    return list(names) if isinstance(names, (list, tuple, set)) else [] if names is None else [names]


def _finished(outputs: Any, normalizer: Any, params: Any, activation: Any, collections: Any) -> Any:
    if normalizer is not None:
        outputs = normalizer(outputs, **(params or {}))
    return _collected(outputs if activation is None else activation(outputs), collections)


def _collected(outputs: Any, collections: Any) -> Any:
    for collection in _as_list(collections):
        get_default_graph().add_to_collection(collection, outputs)
    return outputs
