"""Images that are tensors already: resized, cut, turned and adjusted."""

from __future__ import annotations

from typing import Any

from ..graph.dtypes import float32, int32
from ..graph.ir import Tensor, get_default_graph
from ..graph.ops.arithmetic import add
from ..graph.ops.array import tile
from ..graph.ops.broadcasting import reduce_sum
from ..graph.ops.cast import cast
from ..graph.ops.compare import less
from ..graph.ops.convert import convert_to_tensor, unstack
from ..graph.ops.gathering import gather
from ..graph.ops.getitem import getitem
from ..graph.ops.identity import identity
from ..graph.ops.math import floor, maximum, minimum
from ..graph.ops.padding import pad
from ..graph.ops.random import random_uniform
from ..graph.ops.ranges import range_
from ..graph.ops.reduction import reduce_mean
from ..graph.ops.reordering import reverse
from ..graph.ops.reshaping import expand_dims, reshape, squeeze, transpose
from ..graph.ops.selecting import where_v2
from ..graph.ops.sizes import shape
from ..graph.ops.slicing import slice_


class ResizeMethod:
    """How `resize_images` finds the values between pixels. Source: `tf.image.ResizeMethod`."""

    BILINEAR = 0
    NEAREST_NEIGHBOR = 1
    BICUBIC = 2
    AREA = 3


def resize_images(
    images: Any, size: Any, method: Any = ResizeMethod.BILINEAR, align_corners: bool = False,
    preserve_aspect_ratio: bool = False, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Images [batch, height, width, channels], or one without batch, at another `size` (height, width).

    float32 when bilinear. An image that has the size already comes back as it is. Source: `tf.image.resize_images`.
    Raises ValueError for other ranks, NotImplementedError for bicubic and area, and for `preserve_aspect_ratio`.
    """
    x = convert_to_tensor(images)
    rank = _rank(x)
    if preserve_aspect_ratio:
        raise NotImplementedError("resize_images with preserve_aspect_ratio: give the size that keeps it")
    resize = {0: resize_bilinear, 1: resize_nearest_neighbor}.get(method)
    if resize is None:
        raise NotImplementedError("resize_images is bilinear or takes the nearest neighbor")
    wanted = convert_to_tensor(size, int32, "size")
    if wanted.dims not in (None, (2,)):
        raise ValueError("'size' must be a 1-D Tensor of 2 elements: new_height, new_width")
    batch = x if rank == 4 else expand_dims(x, 0)
    if wanted.known is not None and (batch.dims or ())[1:3] == wanted.known and None not in (batch.dims or ())[1:3]:
        return x
    resized = resize(batch, wanted, align_corners, name)
    return resized if rank == 4 else squeeze(resized, [0])


def resize_bilinear(images: Any, size: Any, align_corners: bool = False, name: str | None = None) -> Tensor:
    """Images [batch, height, width, channels] at another size, between the four nearest pixels: float32.

    With `align_corners` the corners stay where they are. Source: `tf.image.resize_bilinear`.
    """
    x = cast(_batch(images), float32)
    with get_default_graph().name_scope(name or "ResizeBilinear"):
        for axis in (1, 2):
            places, last = _places(x, size, axis, align_corners)
            low = floor(places)
            weight = reshape(places - low, [-1, 1, 1] if axis == 1 else [-1, 1])
            first = gather(x, cast(low, int32), axis=axis)
            second = gather(x, minimum(cast(low, int32) + 1, last), axis=axis)
            x = first + (second - first) * weight
        return x


def resize_nearest_neighbor(images: Any, size: Any, align_corners: bool = False, name: str | None = None) -> Tensor:
    """Images [batch, height, width, channels] at another size, each pixel the nearest one. Source:
    `tf.image.resize_nearest_neighbor`.
    """
    x = _batch(images)
    with get_default_graph().name_scope(name or "ResizeNearestNeighbor"):
        for axis in (1, 2):
            places, last = _places(x, size, axis, align_corners)
            # Of two that are as near, the later one.
            at = floor(places + 0.5) if align_corners else floor(places)
            x = gather(x, minimum(cast(at, int32), last), axis=axis)
        return x


def _places(x: Tensor, size: Any, axis: int, align_corners: bool) -> tuple[Tensor, Tensor]:
    """Where along an axis each pixel of the result lies, and the number of the last pixel that there is."""
    there = getitem(shape(x), axis)
    wanted = getitem(convert_to_tensor(size, int32), axis - 1)
    have, want = cast(there, float32), cast(wanted, float32)
    steps = cast(range_(wanted), float32)
    scale = have / want
    if align_corners:
        scale = where_v2(less(wanted, 2), scale, (have - 1.0) / (want - 1.0))
    return steps * scale, there - 1


def _batch(images: Any) -> Tensor:
    x = convert_to_tensor(images)
    if x.dims is not None and len(x.dims) != 4:
        raise ValueError(f"images must have four dimensions [batch, height, width, channels], got shape {x.shape}")
    return x


def _rank(x: Tensor) -> int:
    if x.dims is None or len(x.dims) not in (3, 4):
        raise ValueError(f"'images' must have either 3 or 4 dimensions, got shape {x.shape}")
    return len(x.dims)


def flip_left_right(image: Any) -> Tensor:
    """Images with or without a batch, turned round along the width. Source: `tf.image.flip_left_right`."""
    x = convert_to_tensor(image)
    return reverse(x, [_rank(x) - 2])


def flip_up_down(image: Any) -> Tensor:
    """The same along the height. Source: `tf.image.flip_up_down`."""
    x = convert_to_tensor(image)
    return reverse(x, [_rank(x) - 3])


def transpose_image(image: Any, name: str | None = None) -> Tensor:
    """The same with height and width exchanged. Source: `tf.image.transpose_image`."""
    x = convert_to_tensor(image)
    return transpose(x, [1, 0, 2] if _rank(x) == 3 else [0, 2, 1, 3])


def random_flip_left_right(image: Any, seed: int | None = None) -> Tensor:
    """`flip_left_right` with probability 1/2, each image of a batch for itself. Source: `tf.image.random_flip_left_right`."""
    return _perhaps(convert_to_tensor(image), flip_left_right, seed)


def random_flip_up_down(image: Any, seed: int | None = None) -> Tensor:
    """`flip_up_down` with probability 1/2. Source: `tf.image.random_flip_up_down`."""
    return _perhaps(convert_to_tensor(image), flip_up_down, seed)


def _perhaps(x: Tensor, flip: Any, seed: int | None) -> Tensor:
    count = [] if _rank(x) == 3 else [getitem(shape(x), 0), 1, 1, 1]
    return where_v2(less(random_uniform(count, seed=seed), 0.5), flip(x), x)


def crop_to_bounding_box(
    image: Any, offset_height: int, offset_width: int, target_height: int, target_width: int
) -> Tensor:
    """The part of images that begins at the offsets and has the target's size. Source: `tf.image.crop_to_bounding_box`.

    Raises ValueError for negative offsets, no size, and what reaches beyond the image.
    """
    x = convert_to_tensor(image)
    rank = _rank(x)
    height, width = (x.dims or ())[rank - 3 : rank - 1]
    for what, offset, target, size in (
        ("height", offset_height, target_height, height), ("width", offset_width, target_width, width),
    ):  # fmt: skip
        if offset < 0 or target <= 0:
            raise ValueError(f"offset_{what} must be >= 0 and target_{what} > 0, got {offset} and {target}")
        if size is not None and offset + target > size:
            raise ValueError(f"{what} must be >= target + offset: {size} is less than {target} + {offset}")
    front, behind = ([0], [-1]) if rank == 4 else ([], [])
    return slice_(x, [*front, offset_height, offset_width, 0], [*behind, target_height, target_width, -1])


def pad_to_bounding_box(
    image: Any, offset_height: int, offset_width: int, target_height: int, target_width: int
) -> Tensor:
    """Images put at the offsets into zeros of the target's size. Source: `tf.image.pad_to_bounding_box`.

    Raises ValueError for images of unknown size, and where they do not fit.
    """
    x = convert_to_tensor(image)
    rank = _rank(x)
    edges = [[0, 0]] if rank == 4 else []
    sizes = (x.dims or ())[rank - 3 : rank - 1]
    for offset, target, size in zip((offset_height, offset_width), (target_height, target_width), sizes, strict=True):
        if size is None or offset < 0 or offset + size > target:
            raise ValueError(f"an image of {size} at {offset} does not fit into {target}")
        edges.append([offset, target - offset - size])
    return pad(x, [*edges, [0, 0]])


def resize_image_with_crop_or_pad(image: Any, target_height: int, target_width: int) -> Tensor:
    """The middle of images, or zeros around them, as the target's size asks. Source:
    `tf.image.resize_image_with_crop_or_pad`. Raises ValueError for images of unknown size.
    """
    x = convert_to_tensor(image)
    rank = _rank(x)
    height, width = (x.dims or ())[rank - 3 : rank - 1]
    if height is None or width is None:
        raise ValueError(f"the size of the images must be known, got shape {x.shape}")
    rows, columns = min(height, target_height), min(width, target_width)
    x = crop_to_bounding_box(x, max(height - target_height, 0) // 2, max(width - target_width, 0) // 2, rows, columns)
    above, left = max(target_height - height, 0) // 2, max(target_width - width, 0) // 2
    return pad_to_bounding_box(x, above, left, target_height, target_width)


def rgb_to_grayscale(images: Any, name: str | None = None) -> Tensor:
    """The brightness [..., 1] of colors [..., 3], of the same type. Source: `tf.image.rgb_to_grayscale`."""
    x = convert_to_tensor(images)
    highest = float(x.dtype.max)
    # Of integers as of fractions of the highest one, and back by cutting off, with half a step more.
    wide = x if x.dtype.is_floating else cast(x, float32) * (1.0 / highest)
    gray = reduce_sum(wide * convert_to_tensor([0.2989, 0.5870, 0.1140], wide.dtype), -1, keepdims=True)
    return gray if x.dtype.is_floating else cast(gray * (highest + 0.5), x.dtype)


def grayscale_to_rgb(images: Any, name: str | None = None) -> Tensor:
    """[..., 1] three times over. Source: `tf.image.grayscale_to_rgb`. Raises ValueError for images of unknown rank."""
    x = convert_to_tensor(images)
    if x.dims is None:
        raise ValueError("the rank of the images must be known")
    return tile(x, [*[1] * (len(x.dims) - 1), 3], name=name)


def adjust_brightness(image: Any, delta: Any) -> Tensor:
    """A float image plus `delta`. Source: `tf.image.adjust_brightness`. Raises TypeError for other than floats."""
    x = _floats(image)
    return add(x, cast(delta, x.dtype))


def adjust_contrast(images: Any, contrast_factor: Any) -> Tensor:
    """The distance of each value of float images from its channel's mean, times a factor. Source: `tf.image.adjust_contrast`."""
    x = _floats(images)
    mean = reduce_mean(x, [-3, -2], keepdims=True)
    adjusted: Tensor = (x - mean) * cast(contrast_factor, x.dtype) + mean
    return adjusted


def random_brightness(image: Any, max_delta: float, seed: int | None = None) -> Tensor:
    """`adjust_brightness` by a number in [-max_delta, max_delta). Source: `tf.image.random_brightness`."""
    if max_delta < 0:
        raise ValueError("max_delta must be non-negative.")
    return adjust_brightness(image, random_uniform([], -max_delta, max_delta, seed=seed))


def random_contrast(image: Any, lower: float, upper: float, seed: int | None = None) -> Tensor:
    """`adjust_contrast` by a number in [lower, upper). Source: `tf.image.random_contrast`."""
    if not 0 <= lower < upper:
        raise ValueError("upper must be > lower, and lower non-negative.")
    return adjust_contrast(image, random_uniform([], lower, upper, seed=seed))


def per_image_standardization(image: Any) -> Tensor:
    """Images of mean 0 and deviation 1 (at least 1 / sqrt(elements) is divided by). Source:
    `tf.image.per_image_standardization`.
    """
    x = cast(image, float32)
    _rank(x)
    axes = [-3, -2, -1]
    centered = x - reduce_mean(x, axes, keepdims=True)
    deviation = reduce_mean(centered * centered, axes, keepdims=True) ** 0.5
    height, width, channels = unstack(cast(shape(x)[-3:], float32), 3)
    standard: Tensor = centered / maximum(deviation, (height * width * channels) ** -0.5)
    return standard


def _floats(image: Any) -> Tensor:
    x = identity(convert_to_tensor(image))
    if not x.dtype.is_floating:
        raise TypeError(f"a float image is needed, got {x.dtype.name}: cast it first")
    return x
