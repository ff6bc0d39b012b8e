"""Operations whose value is a serialized Summary: of numbers, histograms, pictures, sounds, tensors, and of several in one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import boolean, float16, float32, float64, string, uint8
from ..errors import InvalidArgumentError
from ..op import Op, op
from ..opdef import Spec, TensorLike
from . import summary_encoding as encoding

_SUMMARY = Spec(string, ())
_PICTURES = (uint8, float32, float16, float64)


def _made(data: bytes) -> Any:
    """A string scalar: as an array of Python objects, for NumPy's own strings end at a zero."""
    array = np.empty((), object)
    array[()] = data
    return array


def _text(value: Any) -> bytes:
    item = value.item() if isinstance(value, np.ndarray) else value
    return item if isinstance(item, bytes) else str(item).encode()


def _check_tag(tag: TensorLike) -> None:
    if tag.dtype is not string:
        raise TypeError(f"the tag must be a string, got {tag.dtype.name}")
    if tag.dims not in ((), None):
        raise ValueError(f"the tag must be a scalar, got shape {shapes.text(tag.dims)}")


def _check_real(what: str, values: TensorLike, *others: Any) -> None:
    if not (values.dtype.is_floating or values.dtype.is_integer or values.dtype in others):
        raise TypeError(f"{what} shows real numbers, got {values.dtype.name}")


@op
class ScalarSummary(Op):
    """A Summary of numbers, each under the tag in the same place."""

    not_differentiable = True

    def infer(self, tags: TensorLike, values: TensorLike) -> Spec:
        if tags.dtype is not string:
            raise TypeError(f"tags must be strings, got {tags.dtype.name}")
        _check_real("a scalar summary", values)
        return _SUMMARY

    def compute(self, tags: Any, values: Any) -> Any:
        if np.shape(tags) != np.shape(values):
            text = f"tags and values are not the same shape: {list(np.shape(tags))} != {list(np.shape(values))}"
            raise InvalidArgumentError(None, None, text)
        pairs = zip(np.asarray(tags, object).reshape(-1), np.asarray(values).reshape(-1), strict=True)
        return _made(b"".join(encoding.scalar(_text(tag), value) for tag, value in pairs))


@op
class HistogramSummary(Op):
    """A Summary of how the elements of a tensor are distributed; they must be finite."""

    not_differentiable = True

    def infer(self, tag: TensorLike, values: TensorLike) -> Spec:
        _check_tag(tag)
        _check_real("a histogram", values, boolean)
        return _SUMMARY

    def compute(self, tag: Any, values: Any) -> Any:
        name = _text(tag)
        problem = encoding.finite_problem(values)
        if problem is not None:
            raise InvalidArgumentError(
                None, None, f"{problem} in summary histogram for: {name.decode(errors='replace')}"
            )
        return _made(encoding.histogram(name, values))


@op
class ImageSummary(Op):
    """A Summary of the first `max_images` pictures of a batch [count, height, width, channels]."""

    max_images: int = 3
    not_differentiable = True

    def infer(self, tag: TensorLike, tensor: TensorLike) -> Spec:
        _check_tag(tag)
        if tensor.dtype not in _PICTURES:
            raise TypeError(f"pictures are uint8, float16, float32 or float64, got {tensor.dtype.name}")
        if tensor.dims is not None and (len(tensor.dims) != 4 or tensor.dims[3] not in (None, 1, 3, 4)):
            raise ValueError(f"pictures have shape [count, height, width, 1, 3 or 4], got {shapes.text(tensor.dims)}")
        return _SUMMARY

    def compute(self, tag: Any, tensor: Any) -> Any:
        if tensor.ndim != 4 or tensor.shape[3] not in (1, 3, 4):
            text = f"Tensor must be 4-D with last dim 1, 3, or 4, not {list(tensor.shape)}"
            raise InvalidArgumentError(None, None, text)
        shown = [_picture(picture) for picture in tensor[: self.max_images]]
        names = _numbered(_text(tag), b"image", self.max_images)
        return _made(b"".join(encoding.image(name, picture) for name, picture in zip(names, shown, strict=False)))


def _picture(picture: Any) -> Any:
    return picture if picture.dtype == np.uint8 else encoding.visible(picture)


def _numbered(tag: bytes, kind: bytes, count: int) -> list[bytes]:
    """The tags of several pictures or sounds; where there is at most one, it has no number."""
    return [b"%s/%s/%d" % (tag, kind, index) for index in range(count)] if count > 1 else [b"%s/%s" % (tag, kind)]


@op
class AudioSummaryV2(Op):
    """A Summary of the first `max_outputs` sounds of a batch [count, frames(, channels)] with values in [-1, 1]."""

    max_outputs: int = 3
    not_differentiable = True

    def infer(self, tag: TensorLike, tensor: TensorLike, sample_rate: TensorLike) -> Spec:
        _check_tag(tag)
        if tensor.dtype is not float32 or sample_rate.dtype is not float32:
            raise TypeError(f"sounds and their rate are float32, got {tensor.dtype.name} and {sample_rate.dtype.name}")
        if tensor.dims is not None and len(tensor.dims) not in (2, 3):
            raise ValueError(f"sounds have shape [count, frames(, channels)], got {shapes.text(tensor.dims)}")
        return _SUMMARY

    def compute(self, tag: Any, tensor: Any, sample_rate: Any) -> Any:
        if tensor.ndim not in (2, 3):
            raise InvalidArgumentError(None, None, f"Tensor must be 3-D or 2-D, got: {list(tensor.shape)}")
        sounds = tensor.reshape(*tensor.shape, 1) if tensor.ndim == 2 else tensor
        names = _numbered(_text(tag), b"audio", self.max_outputs)
        rate = float(sample_rate)
        return _made(b"".join(encoding.audio(name, sound, rate) for name, sound in zip(names, sounds, strict=False)))


@op
class TensorSummaryV2(Op):
    """A Summary of a tensor, with a serialized SummaryMetadata that says which plugin shows it."""

    not_differentiable = True

    def infer(self, tag: TensorLike, tensor: TensorLike, serialized_summary_metadata: TensorLike) -> Spec:
        _check_tag(tag)
        _check_tag(serialized_summary_metadata)
        if not tensor.dtype.is_numpy_compatible:
            raise TypeError(f"a tensor of {tensor.dtype.name} cannot be shown")
        return _SUMMARY

    def compute(self, tag: Any, tensor: Any, serialized_summary_metadata: Any) -> Any:
        array = tensor if isinstance(tensor, np.ndarray) else _made(tensor)
        return _made(encoding.tensor(_text(tag), array, _text(serialized_summary_metadata)))


@op
class MergeSummary(Op):
    """One Summary of all values of several."""

    not_differentiable = True

    def infer(self, *inputs: TensorLike) -> Spec:
        for tensor in inputs:
            if tensor.dtype is not string:
                raise TypeError(f"summaries are strings, got {tensor.dtype.name}")
        return _SUMMARY

    def compute(self, *inputs: Any) -> Any:
        parts = [_text(item) for value in inputs for item in np.asarray(value, object).reshape(-1)]
        seen: set[bytes] = set()
        for part in parts:
            try:
                found = encoding.tags(part)
            except ValueError as error:
                text = f"Could not parse one of the summary inputs: {error}"
                raise InvalidArgumentError(None, None, text) from None
            for tag in found:
                if tag in seen:
                    name = tag.decode(errors="replace")
                    raise InvalidArgumentError(None, None, f"Duplicate tag {name} found in summary inputs")
                seen.add(tag)
        return _made(b"".join(parts))
