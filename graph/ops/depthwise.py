"""Depthwise 2-D convolution, each channel with filters of its own, and its two adjoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..ir import Operation, Tensor
from ..op import op
from ..opdef import Spec, TensorLike
from .constant import known_dims
from .conv import TO_NCHW, TO_NHWC, Convolution, conv2d
from .conv_kernels import wide
from .convert import convert_to_tensor
from .reshaping import transpose
from .sizes import shape
from .windows import Axis, channels_first, check_run, must_agree, padding_of, per_dimension, rank_four


class Depthwise(Convolution):
    """Base of the three; see Convolution. Filters are [kh, kw, C, M], outputs [N, h, w, C * M]."""

    __slots__ = ()

    def out_dims(self, x: tuple[int | None, ...], w: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the convolution of images and filters. Raises ValueError where they do not fit."""
        channels = w[2] if x[3] is None else x[3]
        outputs = None if channels is None or w[3] is None else channels * w[3]
        return (*Convolution.out_dims(self, x, w)[:3], outputs)

    def parts(self, rows: Axis, cols: Axis) -> Iterator[tuple[Any, Any, Any]]:
        """For each place in the filters: that place, the outputs that find input there, and these inputs."""
        for i in range(rows.kernel):
            for j in range(cols.kernel):
                (down, from_down), (across, from_across) = rows.reach(i), cols.reach(j)
                yield (i, j), (slice(None), down, across), (slice(None), from_down, from_across)


@op
class DepthwiseConv2dNative(Depthwise):
    """Each channel of the images [N, H, W, C] times its own M filters [kh, kw, C, M]."""

    def infer(self, x: TensorLike, w: TensorLike) -> Spec:
        dtype = self.same_type(x, w)
        return Spec(dtype, self.out_dims(rank_four("depthwise input", x), rank_four("depthwise filter", w)))

    def compute(self, x: Any, w: Any) -> Any:
        check_run("depthwise: filter channels", w.shape[2:3], x.shape[3:4])
        rows, cols = self.layout.axes(x.shape, w.shape)
        images, filters = wide(x), wide(w)
        total = np.zeros((x.shape[0], rows.out, cols.out, *w.shape[2:]), images.dtype)
        for place, out, inside in self.parts(rows, cols):
            total[out] += images[inside][..., None] * filters[place]
        return total.reshape(*total.shape[:3], -1).astype(x.dtype, copy=False)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, w = operation.inputs
        attributes = (self.strides, self.padding, self.explicit_paddings, self.dilations)
        return [
            DepthwiseConv2dNativeBackpropInput(*attributes)(shape(x), w, dy),
            DepthwiseConv2dNativeBackpropFilter(*attributes)(x, shape(w), dy),
        ]


@op
class DepthwiseConv2dNativeBackpropInput(Depthwise):
    """What the images get as their gradient. Inputs: sizes, filters, gradient."""

    def infer(self, sizes: TensorLike, w: TensorLike, dy: TensorLike) -> Spec:
        dtype = self.same_type(w, dy)
        dims = known_dims(sizes) or (None,) * 4
        must_agree("depthwise: the size of out_backprop", dy.dims, self.out_dims(dims, rank_four("filter", w)))
        return Spec(dtype, dims)

    def compute(self, sizes: Any, w: Any, dy: Any) -> Any:
        dims = tuple(int(size) for size in sizes)
        self.check(dims, (*w.shape[:3], w.shape[2] * w.shape[3]), dy.shape)
        filters, given = wide(w), wide(dy).reshape(*dy.shape[:3], *w.shape[2:])
        dx = np.zeros(dims, given.dtype)
        for place, out, inside in self.parts(*self.layout.axes(dims, w.shape)):
            dx[inside] += (given[out] * filters[place]).sum(axis=-1)
        return dx.astype(dy.dtype, copy=False)

    def grad(self, operation: Operation, dx: Tensor) -> list[Tensor | None]:
        _, w, dy = operation.inputs
        attributes = (self.strides, self.padding, self.explicit_paddings, self.dilations)
        by_filter = DepthwiseConv2dNativeBackpropFilter(*attributes)(dx, shape(w), dy)
        return [None, by_filter, DepthwiseConv2dNative(*attributes)(dx, w)]


@op
class DepthwiseConv2dNativeBackpropFilter(Depthwise):
    """What the filters get as their gradient. Inputs: images, filter sizes, gradient."""

    def infer(self, x: TensorLike, sizes: TensorLike, dy: TensorLike) -> Spec:
        dtype = self.same_type(x, dy)
        dims = known_dims(sizes) or (None,) * 4
        must_agree("depthwise: the size of out_backprop", dy.dims, self.out_dims(rank_four("input", x), dims))
        return Spec(dtype, dims)

    def compute(self, x: Any, sizes: Any, dy: Any) -> Any:
        dims = tuple(int(size) for size in sizes)
        self.check(x.shape, (*dims[:3], dims[2] * dims[3]), dy.shape)
        images, given = wide(x), wide(dy).reshape(*dy.shape[:3], *dims[2:])
        dw = np.zeros(dims, given.dtype)
        for place, out, inside in self.parts(*self.layout.axes(x.shape, dims)):
            dw[place] = (images[inside][..., None] * given[out]).sum(axis=(0, 1, 2))
        return dw.astype(dy.dtype, copy=False)

    def grad(self, operation: Operation, dw: Tensor) -> list[Tensor | None]:
        x, _, dy = operation.inputs
        attributes = (self.strides, self.padding, self.explicit_paddings, self.dilations)
        by_input = DepthwiseConv2dNativeBackpropInput(*attributes)(shape(x), dw, dy)
        return [by_input, None, DepthwiseConv2dNative(*attributes)(x, dw)]


def depthwise_conv2d(input: Any, filter: Any, strides: Any, padding: Any, rate: Any = None, name: str | None = None,
                     data_format: str | None = None, dilations: Any = None) -> Tensor:  # fmt: skip
    """Each channel of images [N, H, W, C] (or NCHW) convolved with its own M of the filters [kh, kw, C, M].

    The result has C * M channels. `rate` is the old name of `dilations`. Source: `tf.nn.depthwise_conv2d`. Raises as `conv2d`.
    """
    nchw = channels_first(data_format)
    spread = per_dimension("dilations", rate if dilations is None else dilations, nchw)
    definition = DepthwiseConv2dNative(per_dimension("strides", strides, nchw), *padding_of(padding, nchw), spread)
    x = convert_to_tensor(input)
    w = convert_to_tensor(filter, x.dtype)
    if not nchw:
        return definition(x, w, name=name or "depthwise")
    return transpose(definition(transpose(x, TO_NHWC), w), TO_NCHW, name=name or "depthwise")


def separable_conv2d(input: Any, depthwise_filter: Any, pointwise_filter: Any, strides: Any, padding: Any,
                     rate: Any = None, name: str | None = None, data_format: str | None = None,
                     dilations: Any = None) -> Tensor:  # fmt: skip
    """`depthwise_conv2d` followed by a 1x1 `conv2d`. Source: `tf.nn.separable_conv2d`."""
    deep = depthwise_conv2d(input, depthwise_filter, strides, padding, rate, None, data_format, dilations)
    return conv2d(deep, pointwise_filter, 1, "VALID", data_format=data_format, name=name or "separable_conv2d")
