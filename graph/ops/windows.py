"""The geometry of windows that slide over images: sizes, paddings, and what each offset inside a window meets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import errors, shapes
from ..opdef import TensorLike
from ..shapes import Dims

Four = tuple[int, ...]


class Axis(NamedTuple):
    """How windows lie along one spatial axis; `before` and `after` count the padding."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    out: int

    def reach(self, offset: int) -> tuple[slice, slice]:
        """For one offset inside the window: the outputs that find input there and no padding, and those inputs."""
        shift = offset * self.dilation - self.before
        first = max(0, -(shift // self.stride))
        last = min(self.out, (self.size - 1 - shift) // self.stride + 1)
        if last <= first:
            return slice(0, 0), slice(0, 0)
        start = first * self.stride + shift
        return slice(first, last), slice(start, start + (last - first - 1) * self.stride + 1, self.stride)


class Layout(NamedTuple):
    """How windows move, as the attributes of an operation say it: a number for each of the dimensions N, H, W, C."""

    strides: Four
    padding: str
    explicit_paddings: Four = ()
    dilations: Four = (1, 1, 1, 1)

    def axis(self, index: int, size: int, kernel: int) -> Axis:
        """The windows along dimension `index` (1: height, 2: width). Raises ValueError where no window fits."""
        stride, dilation = self.strides[index], self.dilations[index]
        extent = (kernel - 1) * dilation + 1
        if self.padding == "SAME":
            out = -(-size // stride)
            missing = max((out - 1) * stride + extent - size, 0)
            return Axis(size, kernel, stride, dilation, missing // 2, missing - missing // 2, out)
        before, after = self.explicit_paddings[2 * index : 2 * index + 2] or (0, 0)
        room = size + before + after - extent
        if room < 0:
            raise ValueError(f"Negative dimension size caused by subtracting {extent} from {size + before + after}")
        return Axis(size, kernel, stride, dilation, before, after, room // stride + 1)

    def out_size(self, index: int, size: int | None, kernel: int | None) -> int | None:
        """The number of windows along a dimension, where it is known."""
        if size is None or (kernel is None and self.padding != "SAME"):
            return None
        return self.axis(index, size, 1 if kernel is None else kernel).out

    def axes(self, dims: Sequence[int], kernel: Sequence[int]) -> tuple[Axis, Axis]:
        """Height and width, for images of shape `dims` in a run. Raises InvalidArgumentError where no window fits."""
        try:
            return self.axis(1, dims[1], kernel[0]), self.axis(2, dims[2], kernel[1])
        except ValueError as error:
            raise errors.InvalidArgumentError(None, None, str(error)) from None


def rank_four(what: str, tensor: TensorLike) -> tuple[int | None, ...]:
    """The dimensions of a tensor that must have four. Raises ValueError for another rank."""
    if tensor.dims is None:
        return (None,) * 4
    if len(tensor.dims) != 4:
        raise ValueError(f"{what}: Shape must be rank 4 but is rank {len(tensor.dims)}: {shapes.text(tensor.dims)}")
    return tensor.dims


def must_agree(what: str, given: Dims, expected: Dims) -> None:
    """Raises ValueError when a gradient's static shape is not that of what it is the gradient of."""
    if not shapes.compatible(given, expected):
        raise ValueError(f"{what}: expected shape {shapes.text(expected)}, got {shapes.text(given)}")


def check_run(what: str, given: Sequence[int], expected: Sequence[int]) -> None:
    """The same in a run. Raises InvalidArgumentError."""
    if tuple(given) != tuple(expected):
        raise errors.InvalidArgumentError(
            None, None, f"{what}: expected shape {list(expected)}, got {[int(d) for d in given]}"
        )


# arguments of the public functions


def channels_first(data_format: str | None) -> bool:
    """Whether images come as NCHW (else NHWC, the default). Raises ValueError for another format."""
    if data_format not in (None, "NHWC", "NCHW"):
        raise ValueError(f"data_format must be 'NHWC' or 'NCHW', got {data_format!r}")
    return data_format == "NCHW"


def per_dimension(what: str, value: Any, nchw: bool) -> Four:
    """`ksize`, `strides` or `dilations` in the order NHWC, from an int, one or two of them, or all four.

    Raises ValueError for other lengths, numbers below 1, and anything but 1 in the dimensions N and C.
    """
    items = [1] if value is None else list(value) if isinstance(value, Sequence) else [value]
    numbers = [int(item) for item in items]
    if len(numbers) not in (1, 2, 4):
        raise ValueError(f"{what} should be of length 1, 2 or 4 but was {len(numbers)}")
    if len(numbers) < 4:
        numbers = [1, numbers[0], numbers[-1], 1]
    elif nchw:
        numbers = [numbers[0], numbers[2], numbers[3], numbers[1]]
    if min(numbers) < 1:
        raise ValueError(f"{what} must be at least 1, got {value}")
    if numbers[0] != 1 or numbers[3] != 1:
        raise ValueError(f"{what} other than 1 in the batch and depth dimensions are not supported, got {value}")
    return tuple(numbers)


def padding_of(value: Any, nchw: bool) -> tuple[str, Four]:
    """The padding's name, and for explicit paddings (pairs for each dimension) their numbers in the order NHWC.

    Raises ValueError for what is neither 'SAME', 'VALID', nor a list of four pairs that leave N and C as they are.
    """
    if isinstance(value, str):
        if value.upper() not in ("SAME", "VALID"):
            raise ValueError(f"padding must be 'SAME', 'VALID' or a list of explicit paddings, got {value!r}")
        return value.upper(), ()
    if not isinstance(value, Sequence) or len(value) != 4 or any(len(pair) != 2 for pair in value):
        raise ValueError(f"explicit padding must be a list of four pairs, got {value!r}")
    pairs = [tuple(int(number) for number in pair) for pair in value]
    if nchw:
        pairs = [pairs[0], pairs[2], pairs[3], pairs[1]]
    if pairs[0] != (0, 0) or pairs[3] != (0, 0) or min(min(pair) for pair in pairs) < 0:
        raise ValueError(
            f"explicit padding must be 0 in the batch and depth dimensions and nowhere negative, got {value}"
        )
    return "EXPLICIT", tuple(number for pair in pairs for number in pair)
