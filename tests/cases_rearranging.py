"""Rows for segment_extremes.py and rearranging.py: extremes by segment, sorting, bands, blocks and windows."""

from typing import Any

import numpy as np
from case import Case, floats, ints
from weft.graph.ops import rearranging as re, segment_extremes as se

ROWS, IDS, RISING = floats(5, 2), np.array([2, 0, 2, -1, 0], np.int32), np.array([0, 0, 2, 2, 2])
X, IMAGE = floats(3, 4), floats(2, 4, 4, 1)
WITH_ZEROS = np.array([[0.0, 1.5], [0.0, 0.0], [2.0, 0.5], [3.0, 1.0], [0.5, -2.0]])


def by_segment(function: Any, empty: float, data: Any, ids: Any, count: int = 3) -> Any:
    parts = [data[ids == i] for i in range(count)]
    return np.stack([function(part, 0) if len(part) else np.full(data.shape[1:], empty) for part in parts])


def rise(number: int) -> Any:
    return np.finfo(np.float64).max * number


CASES = [
    Case("UnsortedSegmentMax", lambda x, i: se.unsorted_segment_max(x, i, 2), (ROWS, np.array([1, 0, 1, -1, 0])),
         expected=lambda x, i: by_segment(np.max, 0, x, i, 2)),
    Case("UnsortedSegmentMax", lambda x, i: se.unsorted_segment_max(x, i, 3), (ROWS, IDS), label="empty", grad=(),
         expected=lambda x, i: by_segment(np.max, rise(-1), x, i)),
    Case("UnsortedSegmentMax", lambda x, i: se.unsorted_segment_max(x, i, 2), (ints(2, 3), ints(2, 3, high=2)), label="ints",
         order=0, expected=lambda x, i: np.array([x[i == n].max() for n in (0, 1)])),
    Case("UnsortedSegmentMin", lambda x, i: se.unsorted_segment_min(x, i, 2), (ROWS, np.array([1, 0, 1, -1, 0])),
         expected=lambda x, i: by_segment(np.min, 0, x, i, 2)),
    Case("UnsortedSegmentMin", lambda x, i: se.unsorted_segment_min(x, i, 3), (ROWS, IDS), label="empty", grad=(),
         expected=lambda x, i: by_segment(np.min, rise(1), x, i)),
    Case("UnsortedSegmentProd", lambda x, i: se.unsorted_segment_prod(x, i, 3), (ROWS, IDS),
         expected=lambda x, i: by_segment(np.prod, 1, x, i)),
    Case("UnsortedSegmentProd", lambda x, i: se.unsorted_segment_prod(x, i, 3), (WITH_ZEROS, IDS), label="zeros", order=1,
         expected=lambda x, i: by_segment(np.prod, 1, x, i)),
    Case("UnsortedSegmentSum", lambda x, i: se.unsorted_segment_mean(x, i, 3), (ROWS, IDS), label="mean",
         expected=lambda x, i: by_segment(np.mean, 0, x, i)),
    Case("UnsortedSegmentSum", lambda x, i: se.unsorted_segment_sqrt_n(x, i, 3), (ROWS, IDS), label="sqrt_n",
         expected=lambda x, i: by_segment(lambda part, axis: part.sum(axis) / np.sqrt(len(part)), 0, x, i)),
    Case("UnsortedSegmentMax", se.segment_max, (ROWS, RISING), label="in order", exact_shape=False,
         expected=lambda x, i: by_segment(np.max, 0, x, i)),
    Case("UnsortedSegmentMin", se.segment_min, (ROWS, RISING), label="in order", exact_shape=False,
         expected=lambda x, i: by_segment(np.min, 0, x, i)),
    Case("UnsortedSegmentProd", se.segment_prod, (ROWS, RISING), label="in order", exact_shape=False,
         expected=lambda x, i: by_segment(np.prod, 1, x, i)),
    Case("SegmentSum", se.segment_mean, (ROWS, RISING), label="mean", exact_shape=False,
         expected=lambda x, i: by_segment(np.mean, 0, x, i)),
    Case("EnsureShape", lambda x: re.ensure_shape(x, [None, 4]), (X,), expected=lambda x: x),
    Case("TopKV2", lambda x: re.sort(x), (X,), label="sort", expected=lambda x: np.sort(x)),
    Case("TopKV2", lambda x: re.sort(x, 0, "DESCENDING"), (X,), label="sort down", needs_shapes=True,
         expected=lambda x: -np.sort(-x, 0)),
    Case("TopKV2", re.sort, (np.array([3, -(2**31), 2**31 - 1, 0], np.int32),), label="sort ints", order=0,
         expected=lambda x: np.sort(x)),
    Case("TopKV2", lambda x: re.argsort(x, -1), (ints(3, 6, high=3),), label="argsort", order=0,
         expected=lambda x: np.argsort(x, kind="stable")),
    Case("SelectV2", lambda x: re.matrix_band_part(x, 1, 0), (floats(2, 3, 4),), label="band",
         expected=lambda x: np.triu(np.tril(x), -1)),
    Case("SelectV2", lambda x: re.matrix_band_part(x, -1, 1), (X,), label="lower and one", expected=lambda x: np.tril(x, 1)),
    Case("Mul", lambda x: re.scalar_mul(3, x), (X,), label="scalar", expected=lambda x: 3 * x),
    Case("Transpose", lambda x: re.space_to_batch(x, [[1, 1], [0, 0]], 2), (IMAGE,), label="space to batch",
         needs_shapes=True, expected=lambda x: np.concatenate(
             [np.pad(x, [(0, 0), (1, 1), (0, 0), (0, 0)])[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])),
    Case("Transpose", lambda x: re.batch_to_space_nd(re.space_to_batch_nd(x, [2, 3], [[0, 0], [1, 1]]), [2, 3],
         [[0, 0], [1, 1]]), (IMAGE,), label="batch to space", needs_shapes=True, expected=lambda x: x),
    Case("ConcatV2", lambda x: re.extract_image_patches(x, [1, 2, 2, 1], [1, 2, 1, 1], [1, 1, 2, 1], "VALID"), (IMAGE,),
         label="patches", needs_shapes=True, expected=lambda x: np.stack(
             [x[:, i : i + 3 : 2, j : j + 2, 0] for i in (0, 1) for j in (0, 2)], -1)),
]  # fmt: skip
