"""The functions that add summaries to a graph: scalar, histogram, image, audio, text, and several merged into one."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..graph import context
from ..graph.collections import GraphKeys
from ..graph.defaults import add_to_collections, get_collection, name_scope
from ..graph.dtypes import float32, string
from ..graph.ir import Tensor
from ..graph.ops.constant import constant
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.summaries import (
    AudioSummaryV2,
    HistogramSummary,
    ImageSummary,
    MergeSummary,
    ScalarSummary,
    TensorSummaryV2,
)
from ..graph.ops.summary_encoding import block

_log = logging.getLogger("weft")

_ILLEGAL = re.compile(r"[^-/\w.]")


def scalar(name: str, tensor: Any, collections: Any = None, family: str | None = None) -> Tensor:
    """A summary of one number, float, int or of another real type; a string scalar that holds a serialized Summary.

    The tag is the operation's name: `name` in the name scopes around; with `family`, which is how TensorBoard groups
    them, `family/<scopes>/family/name`. The summary is added to `collections` (by default SUMMARIES, for `merge_all`).
    Source: `tf.summary.scalar`. Raises TypeError for other types; the run raises InvalidArgumentError for what is no scalar.
    """
    return _added(name, tensor, collections, family, ScalarSummary(), "tags")


def histogram(name: str, values: Any, collections: Any = None, family: str | None = None) -> Tensor:
    """A summary of how the elements of a tensor are distributed; tag, collections and result as `scalar`.

    Source: `tf.summary.histogram`. The run raises InvalidArgumentError for a value that is not finite.
    """
    return _added(name, values, collections, family, HistogramSummary(), "tag")


def image(name: str, tensor: Any, max_outputs: int = 3, collections: Any = None, family: str | None = None) -> Tensor:
    """A summary of the first `max_outputs` pictures of a batch of shape [count, height, width, 1, 3 or 4 channels].

    uint8 is shown as it is. Floats are scaled, a picture at a time: those without negative values so that the largest is
    255, others so that 0 is 128; pixels that are not finite are red. The tags are that of `scalar` with `/image/0`, ... or,
    for `max_outputs=1`, `/image`. Source: `tf.summary.image`.
    """
    _positive("max_outputs", max_outputs)
    return _added(name, tensor, collections, family, ImageSummary(int(max_outputs)), "tag")


def audio(
    name: str, tensor: Any, sample_rate: Any, max_outputs: int = 3, collections: Any = None, family: str | None = None
) -> Tensor:
    """A summary of the first `max_outputs` sounds of a float32 batch [count, frames, channels] or [count, frames].

    Values lie in [-1, 1], what is beyond is clipped; `sample_rate` is in hertz. Tags as of `image`, with `/audio`.
    Source: `tf.summary.audio`.
    """
    _positive("max_outputs", max_outputs)
    with _scope(name, family, [tensor]) as (tag, scope):
        inputs = constant(tag, name="tag"), convert_to_tensor(tensor, float32), convert_to_tensor(sample_rate, float32)
        made = AudioSummaryV2(int(max_outputs))(*inputs, name=scope)
    return _collected(made, collections)


def text(name: str, tensor: Any, collections: Any = None) -> Tensor:
    """A summary of strings, which TensorBoard shows as Markdown: a scalar, a list or a table.

    Source: `tf.summary.text`. Raises ValueError for what is no tensor of strings.
    """
    converted = convert_to_tensor(tensor)
    if converted.dtype is not string:
        raise ValueError(f"Expected tensor {converted.name} to have dtype string, got {converted.dtype.name}")
    metadata = block(1, block(1, b"text"))
    return _tensor(name, converted, metadata, collections, None)


def tensor_summary(
    name: str, tensor: Any, summary_description: str | None = None, collections: Any = None, summary_metadata: Any = None,
    family: str | None = None, display_name: str | None = None,
) -> Tensor:  # fmt: skip
    """A summary of any tensor, for plugins of TensorBoard. `summary_metadata`: a SummaryMetadata, which says of which one;
    `display_name` and `summary_description` are added to it. Source: `tf.summary.tensor_summary`.
    """
    metadata: bytes = b"" if summary_metadata is None else summary_metadata.SerializeToString()
    metadata += b"" if display_name is None else block(2, display_name.encode())
    metadata += b"" if summary_description is None else block(3, summary_description.encode())
    return _tensor(name, tensor, metadata, collections, family)


def merge(inputs: Sequence[Any], collections: Any = None, name: str | None = None) -> Tensor:
    """One summary of all that `inputs`, string tensors that hold serialized Summaries, hold.

    Source: `tf.summary.merge`. Raises TypeError for no list, ValueError for an empty one; the run raises
    InvalidArgumentError for two values under one tag.
    """
    _in_graph()
    if not isinstance(inputs, (list, tuple)):
        raise TypeError(f"Expected list for 'inputs' argument to 'merge_summary' Op, not {inputs!r}.")
    if not inputs:
        raise ValueError("merge takes at least one summary")
    with name_scope(name, "Merge", inputs):
        made = MergeSummary()(*(convert_to_tensor(item, string) for item in inputs), name=name)
    return _collected(made, collections, [])


def merge_all(key: str = GraphKeys.SUMMARIES, scope: str | None = None, name: str | None = None) -> Tensor | None:
    """One summary of all that are in a collection of the default graph, or None when there are none.

    `scope`: only those whose name matches this regular expression. Source: `tf.summary.merge_all`.
    """
    found = get_collection(key, scope)
    return merge(found, name=name) if found else None


def _added(name: str, tensor: Any, collections: Any, family: str | None, definition: Any, tag_name: str) -> Tensor:
    """The summary that a definition of a tag and a tensor makes."""
    with _scope(name, family, [tensor]) as (tag, scope):
        made: Tensor = definition(constant(tag, name=tag_name), convert_to_tensor(tensor, name="values"), name=scope)
    return _collected(made, collections)


def _tensor(name: str, tensor: Any, metadata: bytes, collections: Any, family: str | None) -> Tensor:
    with _scope(name, family, [tensor]) as (tag, scope):
        inputs = (
            constant(tag, name="tag"),
            convert_to_tensor(tensor),
            constant(metadata, name="serialized_summary_metadata"),
        )
        made = TensorSummaryV2()(*inputs, name=scope)
    return _collected(made, collections)


def _collected(made: Tensor, collections: Any, default: Iterable[str] = (GraphKeys.SUMMARIES,)) -> Tensor:
    add_to_collections(default if collections is None else collections, made)
    return made


@contextmanager
def _scope(name: str, family: str | None, values: list[Any]) -> Iterator[tuple[str, str | None]]:
    """The tag of a summary and its operation's name, in the name scope of that name."""
    _in_graph()
    cleaned = _clean(name)
    wanted = cleaned if family is None else f"{_clean(family)}/{cleaned}"
    with name_scope(wanted, None, values) as scope:
        tag = scope.rstrip("/")
        yield tag if family is None else f"{_clean(family)}/{tag}", scope or None


def _clean(name: str) -> str:
    """A name with what operations cannot be called replaced, as older programs had it."""
    found = _ILLEGAL.sub("_", name).lstrip("/")
    if found != name:
        _log.info("Summary name %s is illegal; using %s instead.", name, found)
    return found


def _in_graph() -> None:
    if context.executing_eagerly():
        raise RuntimeError("Summaries are operations of a graph; with eager execution there is none.")


def _positive(what: str, number: Any) -> None:
    if int(number) < 1:
        raise ValueError(f"{what} must be 1 or more, got {number}")
