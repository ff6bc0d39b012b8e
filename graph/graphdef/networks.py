"""Rows of neural networks: convolutions, pooling, softmax and losses."""

from __future__ import annotations

from typing import Any

from ..ir import Operation
from ..ops import conv, depthwise, losses, pooling, softmax
from ..ops.windows import per_dimension
from .rows import Attr, InputType, Of, OfIfSet, Only, Row

_PLACES = ("SAME", "VALID")


def _convolution(definition: Any) -> None:
    _padding(definition.padding, definition.explicit_paddings)
    per_dimension("strides", definition.strides, False)
    per_dimension("dilations", definition.dilations, False)
    if len(definition.strides) != 4 or len(definition.dilations) != 4:
        raise ValueError("strides and dilations must be four numbers")


def _pool(definition: Any) -> None:
    _padding(definition.padding, ())
    for what in ("ksize", "strides"):
        numbers = getattr(definition, what)
        if len(numbers) != 4:
            raise ValueError(f"{what} must be four numbers, got {list(numbers)}")
        per_dimension(what, numbers, False)


def _padding(name: str, explicit: tuple[int, ...]) -> None:
    fits = len(explicit) == 8 and min(explicit) >= 0 and explicit[:2] + explicit[6:] == (0, 0, 0, 0)
    if not (fits if name == "EXPLICIT" else name in _PLACES and not explicit):
        raise ValueError(f"padding '{name}' with explicit_paddings {list(explicit)} is none that weft has")


def _knows_axis(operation: Operation) -> bool:
    return operation.definition.axis == -1 or operation.inputs[0].dims is not None  # type: ignore[attr-defined]


_CONV = {
    "T": InputType(), "strides": Of("strides"), "padding": Of("padding"), "dilations": Of("dilations"),
    "explicit_paddings": OfIfSet("explicit_paddings"), "data_format": Only(b"NHWC"), "use_cudnn_on_gpu": Attr(),
}  # fmt: skip
_BACK = {**_CONV, "T": InputType(2)}
_POOL = {
    "T": InputType(), "ksize": Of("ksize"), "strides": Of("strides"), "padding": Of("padding"),
    "explicit_paddings": Only(()), "data_format": Only(b"NHWC"),
}  # fmt: skip

ROWS = [
    Row(conv.Conv2D, _CONV, check=_convolution),
    Row(conv.Conv2DBackpropInput, _BACK, check=_convolution),
    Row(conv.Conv2DBackpropFilter, _BACK, check=_convolution),
    Row(depthwise.DepthwiseConv2dNative, _CONV, check=_convolution),
    Row(depthwise.DepthwiseConv2dNativeBackpropInput, _BACK, check=_convolution),
    Row(depthwise.DepthwiseConv2dNativeBackpropFilter, _BACK, check=_convolution),
    Row(pooling.MaxPool, _POOL, check=_pool),
    Row(pooling.MaxPoolGrad, _POOL, check=_pool),
    Row(pooling.MaxPoolGradGrad, _POOL, check=_pool),
    Row(pooling.AvgPool, _POOL, check=_pool),
    Row(pooling.AvgPoolGrad, {**_POOL, "T": InputType(1)}, check=_pool),
    Row(softmax.Softmax, {"T": InputType()}, fits=_knows_axis),
    Row(softmax.LogSoftmax, {"T": InputType()}, fits=_knows_axis),
    Row(losses.L2Loss, {"T": InputType()}),
    Row(losses.SoftmaxCrossEntropyWithLogits, {"T": InputType()}),
    Row(
        losses.SparseSoftmaxCrossEntropyWithLogits,
        {"T": InputType(), "Tlabels": InputType(1)},
        fits=lambda operation: len(operation.inputs[0].dims or (0, 0)) == 2,
    ),
]
