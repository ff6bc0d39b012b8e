"""Rows for graph/ops/conv.py and pooling.py."""

from collections.abc import Callable
from typing import Any

import numpy as np
from case import Case, floats
from weft.graph import ir
from weft.graph.ops import constant, conv, depthwise, pooling

IMAGES, FILTERS = floats(2, 4, 3, 2), floats(2, 2, 2, 3)
ONE = floats(1, 4, 4, 1)
NCHW = IMAGES.transpose(0, 3, 1, 2)


def padded(x: Any, kernel: tuple[int, int], step: int, padding: str, value: float = 0.0) -> Any:
    """Images with the margins that SAME means."""
    if padding == "VALID":
        return x
    margins = []
    for size, extent in zip(x.shape[1:3], kernel, strict=True):
        missing = max((-(-size // step) - 1) * step + extent - size, 0)
        margins.append((missing // 2, missing - missing // 2))
    return np.pad(x, [(0, 0), *margins, (0, 0)], constant_values=value)


def windows(x: Any, kernel: tuple[int, int], step: int, spread: int = 1) -> Any:
    """[N, out, out, C, kh, kw], one window after the other."""
    high, wide = ((k - 1) * spread + 1 for k in kernel)
    rows, cols = range(0, x.shape[1] - high + 1, step), range(0, x.shape[2] - wide + 1, step)
    return np.stack([np.stack([np.moveaxis(x[:, r : r + high : spread, c : c + wide : spread], 3, 1)
                               for c in cols], 1) for r in rows], 1)  # fmt: skip


def conv2d(step: int, padding: str, spread: int = 1) -> Callable[..., Any]:
    def compute(x: Any, w: Any) -> Any:
        extent = tuple((k - 1) * spread + 1 for k in w.shape[:2])
        whole = padded(x, (extent[0], extent[1]), step, padding)
        return np.einsum("nabcij,ijco->nabo", windows(whole, w.shape[:2], step, spread), w)

    return compute


def pool(reduce: Callable[..., Any], step: int, padding: str) -> Callable[..., Any]:
    def compute(x: Any) -> Any:
        return reduce(windows(padded(x, (2, 2), step, padding, np.nan), (2, 2), step), axis=(4, 5))

    return compute


def deep(step: Any, padding: Any, **more: Any) -> Callable[..., Any]:
    return lambda x, w: depthwise.depthwise_conv2d(x, w, step, padding, **more)


def per_channel(step: int, padding: str) -> Callable[..., Any]:
    """Channel after channel, each an ordinary convolution."""
    return lambda x, w: np.concatenate(
        [conv2d(step, padding)(x[..., c : c + 1], w[:, :, c : c + 1]) for c in range(x.shape[3])], -1
    )


def sizes(*numbers: int) -> ir.Tensor:
    return constant.constant(numbers)


def built(step: Any, padding: Any, **more: Any) -> Callable[..., Any]:
    return lambda x, w: conv.conv2d(x, w, step, padding, **more)


def transposed(w: ir.Tensor, y: ir.Tensor) -> ir.Tensor:
    return conv.conv2d_transpose(y, w, [2, 4, 3, 2], 2)


def pooled(kind: Callable[..., ir.Tensor], step: int, padding: str) -> Callable[..., Any]:
    return lambda x: kind(x, 2, step, padding)


SAME2 = ((1, 2, 2, 1), (1, 2, 2, 1), "SAME")

CASES = [
    Case("Conv2D", built(1, "SAME"), (IMAGES, FILTERS), expected=conv2d(1, "SAME")),
    Case("Conv2D", built(1, "VALID"), (IMAGES, FILTERS), label="valid", expected=conv2d(1, "VALID")),
    Case("Conv2D", built(2, "SAME"), (IMAGES, FILTERS), label="strides", expected=conv2d(2, "SAME")),
    Case("Conv2D", built(3, "VALID"), (IMAGES, FILTERS), label="gaps", expected=conv2d(3, "VALID")),
    Case("Conv2D", built(1, "SAME", dilations=[1, 2, 2, 1]), (ONE, floats(2, 2, 1, 2)), label="dilated",
         expected=conv2d(1, "SAME", 2)),
    Case("Conv2D", built(2, "VALID", dilations=2), (ONE, floats(2, 2, 1, 2)), label="dilated strides",
         expected=conv2d(2, "VALID", 2)),
    Case("Conv2D", built(1, "VALID"), (floats(1, 2, 2, 5), floats(1, 1, 5, 2)), label="1x1", expected=conv2d(1, "VALID")),
    Case("Conv2D", built(1, "SAME"), (floats(1, 3, 2, 5), floats(2, 2, 5, 1)), label="wide", expected=conv2d(1, "SAME")),
    Case("Conv2D", built(1, [[0, 0], [3, 0], [1, 2], [0, 0]]), (IMAGES, FILTERS), label="explicit",
         expected=lambda x, w: conv2d(1, "VALID")(np.pad(x, [(0, 0), (3, 0), (1, 2), (0, 0)]), w)),
    Case("Conv2D", built([1, 1, 2, 2], "SAME", data_format="NCHW"), (NCHW, FILTERS), label="nchw",
         expected=lambda x, w: conv2d(2, "SAME")(x.transpose(0, 2, 3, 1), w).transpose(0, 3, 1, 2)),
    Case("Conv2D", lambda x, w: conv.conv1d(x, w, 1, "VALID"), (floats(2, 4, 2), floats(3, 2, 2)), label="conv1d",
         expected=lambda x, w: conv2d(1, "VALID")(x[:, None], w[None])[:, 0]),
    Case("Conv2DBackpropInput", transposed, (FILTERS, floats(2, 2, 2, 3))),
    Case("Conv2DBackpropInput", lambda w, y: conv.conv2d_transpose(y, w, [1, 3, 3, 1], 1, "VALID"),
         (np.ones((2, 2, 1, 1)), np.ones((1, 2, 2, 1))), label="ones",
         expected=lambda w, y: np.array([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, :, :, None]),
    Case("Conv2DBackpropFilter", lambda x, y: conv.Conv2DBackpropFilter((1, 2, 2, 1))(x, sizes(2, 2, 2, 3), y),
         (IMAGES, floats(2, 2, 2, 3))),
    Case("MaxPool", pooled(pooling.max_pool, 2, "SAME"), (IMAGES,), expected=pool(np.nanmax, 2, "SAME")),
    Case("MaxPool", pooled(pooling.max_pool, 1, "VALID"), (ONE,), label="overlapping", expected=pool(np.nanmax, 1, "VALID")),
    Case("MaxPool", lambda x: pooling.max_pool(x, [1, 1, 2, 2], [1, 1, 2, 2], "SAME", "NCHW"), (NCHW,), label="nchw",
         expected=lambda x: pool(np.nanmax, 2, "SAME")(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)),
    Case("MaxPoolGrad", lambda x, dy: pooling.MaxPoolGrad(*SAME2)(x, pooling.MaxPool(*SAME2)(x), dy),
         (IMAGES, floats(2, 2, 2, 2))),
    Case("MaxPoolGradGrad", lambda x, e: pooling.MaxPoolGradGrad(*SAME2)(x, pooling.MaxPool(*SAME2)(x), e),
         (IMAGES, floats(2, 4, 3, 2, seed=1))),
    Case("AvgPool", pooled(pooling.avg_pool, 2, "SAME"), (IMAGES,), expected=pool(np.nanmean, 2, "SAME")),
    Case("AvgPool", pooled(pooling.avg_pool, 1, "SAME"), (ONE,), label="overlapping", expected=pool(np.nanmean, 1, "SAME")),
    Case("AvgPoolGrad", lambda dy: pooling.AvgPoolGrad(*SAME2)(sizes(2, 4, 3, 2), dy), (floats(2, 2, 2, 2),)),
    Case("DepthwiseConv2dNative", deep(1, "SAME"), (IMAGES, FILTERS), expected=per_channel(1, "SAME")),
    Case("DepthwiseConv2dNative", deep([1, 1, 2, 2], "SAME", data_format="NCHW", rate=1), (NCHW, FILTERS), label="nchw",
         expected=lambda x, w: per_channel(2, "SAME")(x.transpose(0, 2, 3, 1), w).transpose(0, 3, 1, 2)),
    Case("DepthwiseConv2dNative", deep(1, "VALID", dilations=2), (ONE, floats(2, 2, 1, 2)), label="dilated",
         expected=conv2d(1, "VALID", 2)),
    Case("DepthwiseConv2dNative", lambda x, w, p: depthwise.separable_conv2d(x, w, p, 1, "SAME"),
         (floats(1, 2, 2, 2), FILTERS, floats(1, 1, 6, 2)), label="separable",
         expected=lambda x, w, p: per_channel(1, "SAME")(x, w) @ p[0, 0]),
    Case("DepthwiseConv2dNativeBackpropInput",
         lambda w, y: depthwise.DepthwiseConv2dNativeBackpropInput((1, 2, 2, 1))(sizes(2, 4, 3, 2), w, y),
         (FILTERS, floats(2, 2, 2, 6))),
    Case("DepthwiseConv2dNativeBackpropFilter",
         lambda x, y: depthwise.DepthwiseConv2dNativeBackpropFilter((1, 2, 2, 1))(x, sizes(2, 2, 2, 3), y),
         (IMAGES, floats(2, 2, 2, 6))),
]  # fmt: skip
