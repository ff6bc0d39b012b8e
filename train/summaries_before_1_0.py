"""Summaries by the names and arguments that they had before TensorFlow 1.0, whose tags are taken as they are given."""

from __future__ import annotations

from typing import Any

from ..graph.collections import GraphKeys
from ..graph.defaults import add_to_collections
from ..graph.dtypes import string
from ..graph.ir import Tensor
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.summaries import HistogramSummary, ImageSummary, ScalarSummary
from .summaries import merge, merge_all


def scalar_summary(tags: Any, values: Any, collections: Any = None, name: str | None = None) -> Tensor:
    """A summary of numbers, each under the tag in the same place. Source: `tf.scalar_summary`; see `wf.summary.scalar`."""
    made = ScalarSummary()(convert_to_tensor(tags, string), convert_to_tensor(values), name=name)
    return _collected(made, collections)


def histogram_summary(tag: Any, values: Any, collections: Any = None, name: str | None = None) -> Tensor:
    """A summary of how values are distributed. Source: `tf.histogram_summary`; see `wf.summary.histogram`."""
    made = HistogramSummary()(convert_to_tensor(tag, string), convert_to_tensor(values), name=name)
    return _collected(made, collections)


def image_summary(
    tag: Any, tensor: Any, max_images: int = 3, collections: Any = None, name: str | None = None
) -> Tensor:
    """A summary of the first `max_images` pictures. Source: `tf.image_summary`; see `wf.summary.image`."""
    made = ImageSummary(int(max_images))(convert_to_tensor(tag, string), convert_to_tensor(tensor), name=name)
    return _collected(made, collections)


def merge_summary(inputs: Any, collections: Any = None, name: str | None = None) -> Tensor:
    """Several summaries in one. Source: `tf.merge_summary`; see `wf.summary.merge`."""
    return merge(inputs, collections, name)


def merge_all_summaries(key: str = GraphKeys.SUMMARIES) -> Tensor | None:
    """All summaries in one. Source: `tf.merge_all_summaries`; see `wf.summary.merge_all`."""
    return merge_all(key)


def _collected(made: Tensor, collections: Any) -> Tensor:
    add_to_collections([GraphKeys.SUMMARIES] if collections is None else collections, made)
    return made
