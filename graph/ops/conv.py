"""2-D convolution, its adjoints for images and filters (each differentiable again), and the transposed convolution."""

from __future__ import annotations

from typing import Any

from ..dtypes import DType
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..record import record
from . import conv_kernels as kernels
from .constant import known_dims
from .convert import convert_to_tensor, int_vector
from .reshaping import expand_dims, squeeze, transpose
from .sizes import shape
from .windows import Four, Layout, channels_first, check_run, must_agree, padding_of, per_dimension, rank_four

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@record
class Convolution(Op):
    """Base of the three: the attributes that say how the windows move, each a number for the dimensions N, H, W, C."""

    strides: Four = (1, 1, 1, 1)
    padding: str = "SAME"
    explicit_paddings: Four = ()
    dilations: Four = (1, 1, 1, 1)

    @property
    def layout(self) -> Layout:
        return Layout(self.strides, self.padding, self.explicit_paddings, self.dilations)

    def same_type(self, x: TensorLike, y: TensorLike) -> DType:
        """The type of both. Raises TypeError where they differ or are no floats."""
        if x.dtype is not y.dtype or not x.dtype.is_floating:
            raise TypeError(f"{self.type} takes two tensors of one float type, got {x.dtype.name} and {y.dtype.name}")
        return x.dtype

    def out_dims(self, x: tuple[int | None, ...], w: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the convolution of images and filters. Raises ValueError where they do not fit."""
        if x[3] is not None and w[2] is not None and x[3] != w[2]:
            raise ValueError(f"Dimensions must be equal: the images have {x[3]} channels, the filters {w[2]}")
        layout = self.layout
        return (x[0], layout.out_size(1, x[1], w[0]), layout.out_size(2, x[2], w[1]), w[3])

    def check(self, x: Any, w: Any, dy: Any) -> None:
        """Raises InvalidArgumentError in a run where a gradient has not the shape of the outputs."""
        check_run(f"{self.type}: filter channels", (w[2],), (x[3],))
        rows, cols = self.layout.axes(x, w)
        check_run(f"{self.type}: the size of out_backprop", dy, (x[0], rows.out, cols.out, w[3]))


@op
class Conv2D(Convolution):
    """Images [N, H, W, C] times filters [kh, kw, C, O] at each place."""

    def infer(self, x: TensorLike, w: TensorLike) -> Spec:
        dtype = self.same_type(x, w)
        return Spec(dtype, self.out_dims(rank_four("Conv2D input", x), rank_four("Conv2D filter", w)))

    def compute(self, x: Any, w: Any, out: Any = None) -> Any:
        check_run("Conv2D: filter channels", w.shape[2:3], x.shape[3:4])
        axes = self.layout.axes(x.shape, w.shape)
        return kernels.forward(kernels.wide(x), kernels.wide(w), *axes, out).astype(x.dtype, copy=False)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, w = operation.inputs
        attributes = (self.strides, self.padding, self.explicit_paddings, self.dilations)
        return [
            Conv2DBackpropInput(*attributes)(shape(x), w, dy),
            Conv2DBackpropFilter(*attributes)(x, shape(w), dy),
        ]


@op
class Conv2DBackpropInput(Convolution):
    """What Conv2D's images get as their gradient; also the transposed convolution. Inputs: sizes, filters, gradient."""

    def infer(self, sizes: TensorLike, w: TensorLike, dy: TensorLike) -> Spec:
        dtype = self.same_type(w, dy)
        filters, given = rank_four("Conv2DBackpropInput filter", w), rank_four("Conv2DBackpropInput out_backprop", dy)
        dims = known_dims(sizes) or (None,) * 4
        if len(dims) != 4:
            raise ValueError(f"Conv2DBackpropInput: the input sizes must be 4 numbers, got {len(dims)}")
        must_agree("Conv2DBackpropInput: the size of out_backprop", given, self.out_dims(dims, filters))
        batch = given[0] if dims[0] is None else dims[0]
        return Spec(dtype, (batch, dims[1], dims[2], filters[2] if dims[3] is None else dims[3]))

    def compute(self, sizes: Any, w: Any, dy: Any, out: Any = None) -> Any:
        dims = tuple(int(size) for size in sizes)
        self.check(dims, w.shape, dy.shape)
        axes = self.layout.axes(dims, w.shape)
        return kernels.input_gradient(kernels.wide(w), kernels.wide(dy), *axes, out).astype(w.dtype, copy=False)

    def grad(self, operation: Operation, dx: Tensor) -> list[Tensor | None]:
        _, w, dy = operation.inputs
        attributes = (self.strides, self.padding, self.explicit_paddings, self.dilations)
        return [None, Conv2DBackpropFilter(*attributes)(dx, shape(w), dy), Conv2D(*attributes)(dx, w)]


@op
class Conv2DBackpropFilter(Convolution):
    """What Conv2D's filters get as their gradient. Inputs: images, filter sizes, gradient."""

    def infer(self, x: TensorLike, sizes: TensorLike, dy: TensorLike) -> Spec:
        dtype = self.same_type(x, dy)
        images, given = rank_four("Conv2DBackpropFilter input", x), rank_four("Conv2DBackpropFilter out_backprop", dy)
        dims = known_dims(sizes) or (None,) * 4
        if len(dims) != 4:
            raise ValueError(f"Conv2DBackpropFilter: the filter sizes must be 4 numbers, got {len(dims)}")
        must_agree("Conv2DBackpropFilter: the size of out_backprop", given, self.out_dims(images, dims))
        return Spec(dtype, (dims[0], dims[1], images[3] if dims[2] is None else dims[2], dims[3] or given[3]))

    def compute(self, x: Any, sizes: Any, dy: Any, out: Any = None) -> Any:
        dims = tuple(int(size) for size in sizes)
        self.check(x.shape, dims, dy.shape)
        axes = self.layout.axes(x.shape, dims)
        return kernels.filter_gradient(kernels.wide(x), kernels.wide(dy), *axes, out).astype(x.dtype, copy=False)

    def grad(self, operation: Operation, dw: Tensor) -> list[Tensor | None]:
        x, _, dy = operation.inputs
        attributes = (self.strides, self.padding, self.explicit_paddings, self.dilations)
        return [Conv2DBackpropInput(*attributes)(shape(x), dw, dy), None, Conv2D(*attributes)(x, dw)]


# the public functions


def conv2d(input: Any, filter: Any = None, strides: Any = None, padding: Any = None, use_cudnn_on_gpu: bool = True,
           data_format: str | None = "NHWC", dilations: Any = (1, 1, 1, 1), name: str | None = None,
           filters: Any = None) -> Tensor:  # fmt: skip
    """A 2-D convolution: images [N, H, W, C] (or NCHW), filters [kh, kw, C, O], of one float type.

    `padding`: 'SAME', 'VALID', or a pair of numbers for each dimension. `use_cudnn_on_gpu` is accepted and has no
    meaning. Source: `tf.nn.conv2d`. Raises ValueError for shapes, strides or a padding that do not fit, TypeError.
    """
    if strides is None or padding is None:
        raise ValueError("conv2d needs strides and padding")
    nchw = channels_first(data_format)
    definition = Conv2D(
        per_dimension("strides", strides, nchw), *padding_of(padding, nchw), per_dimension("dilations", dilations, nchw)
    )
    x = convert_to_tensor(input)
    w = convert_to_tensor(_either("filter", filter, "filters", filters), x.dtype)
    if not nchw:
        return definition(x, w, name=name)
    return transpose(definition(transpose(x, TO_NHWC), w), TO_NCHW, name=name or "Conv2D")


def conv2d_transpose(value: Any = None, filter: Any = None, output_shape: Any = None, strides: Any = None,
                     padding: Any = "SAME", data_format: str | None = "NHWC", name: str | None = None,
                     input: Any = None, filters: Any = None, dilations: Any = None) -> Tensor:  # fmt: skip
    """The adjoint of `conv2d` in its images: `value` [N, h, w, O], filters [kh, kw, C, O], result of `output_shape`.

    Source: `tf.nn.conv2d_transpose`. Raises ValueError where the shapes do not fit each other.
    """
    if output_shape is None or strides is None:
        raise ValueError("conv2d_transpose needs output_shape and strides")
    nchw = channels_first(data_format)
    definition = Conv2DBackpropInput(
        per_dimension("strides", strides, nchw), *padding_of(padding, nchw), per_dimension("dilations", dilations, nchw)
    )
    x = convert_to_tensor(_either("value", value, "input", input))
    w = convert_to_tensor(_either("filter", filter, "filters", filters), x.dtype)
    if not nchw:
        return definition(int_vector(output_shape), w, x, name=name or "conv2d_transpose")
    sizes = [output_shape[index] for index in TO_NHWC]
    result = definition(int_vector(sizes), w, transpose(x, TO_NHWC))
    return transpose(result, TO_NCHW, name=name or "conv2d_transpose")


def conv1d(value: Any = None, filters: Any = None, stride: Any = None, padding: Any = None,
           use_cudnn_on_gpu: bool | None = None, data_format: str | None = None, name: str | None = None,
           input: Any = None, dilations: Any = None) -> Tensor:  # fmt: skip
    """A 1-D convolution: series [N, W, C] (or NCW), filters [kw, C, O]. Source: `tf.nn.conv1d`. Raises as `conv2d`."""
    if data_format not in (None, "NWC", "NCW", "NHWC", "NCHW"):
        raise ValueError(f"data_format must be 'NWC' or 'NCW', got {data_format!r}")
    x = convert_to_tensor(_either("value", value, "input", input))
    w = convert_to_tensor(filters, x.dtype)
    nchw = data_format in ("NCW", "NCHW")
    axis = 2 if nchw else 1
    step, dilation = ([1, _along(number, nchw)] for number in (stride, dilations))
    result = conv2d(expand_dims(x, axis), expand_dims(w, 0), step, padding, True, "NCHW" if nchw else "NHWC", dilation)
    return squeeze(result, [axis], name=name or "conv1d")


def _along(value: Any, ncw: bool) -> int:
    """A stride along a series, from a number or a list of one or three. Raises ValueError for other lengths."""
    if value is None:
        return 1
    if not isinstance(value, (list, tuple)):
        return int(value)
    if len(value) not in (1, 3):
        raise ValueError(f"stride should be of length 1 or 3 but was {len(value)}")
    return int(value[0] if len(value) == 1 else value[2 if ncw else 1])


def _either(name: str, value: Any, other_name: str, other: Any) -> Any:
    """An argument that has two names. Raises ValueError when both or none are given."""
    if (value is None) == (other is None):
        raise ValueError(f"give one of {name} and {other_name}")
    return other if value is None else value
