"""Rows for joining, splitting, padding, tiling, reordering, ranges, segments and selection."""

from typing import Any

import numpy as np
from case import Case, floats, ints
from weft.graph.ops import array, constant, padding, partitioning, ranges, reordering, segments, selecting

X, Y, CUBE = floats(2, 3), floats(2, 2, seed=1), floats(2, 3, 4)
IDS = np.array([0, 2, 0, -1], np.int32)
ROWS = floats(4, 2)
TRUE = np.array([[True, False, True], [False, False, True]])
IMAGE = floats(1, 4, 4, 1)


def segment_sums(data: Any, ids: Any, count: int) -> Any:
    return np.stack([data[ids == i].sum(0) for i in range(count)])


JOINING = [
    Case("ConcatV2", lambda x, y: array.concat([x, y], 1), (X, Y), expected=lambda x, y: np.concatenate([x, y], 1)),
    Case("ConcatV2", lambda x, y: array.concat([x, y, x], -2), (X, floats(1, 3)), label="negative axis"),
    Case("ConcatV2", lambda x, y: array.concat([x, y], 0), (ints(3), ints(2)), label="ints",
         expected=lambda x, y: np.concatenate([x, y])),
    Case("Split", lambda x: array.split(x, 2, 2), (CUBE,), expected=lambda x: [x[..., :2], x[..., 2:]]),
    Case("Split", lambda x: array.split(x, 1, 1), (X,), label="one", expected=lambda x: x),
    Case("SplitV", lambda x: array.split(x, [1, 2], 1), (X,), expected=lambda x: [x[:, :1], x[:, 1:]]),
    Case("SplitV", lambda x: array.split(x, [1, -1, 0], axis=-1), (CUBE,), label="rest",
         expected=lambda x: [x[..., :1], x[..., 1:], x[..., :0]]),
    Case("SplitV", lambda x: array.split(x, [3], 1), (X,), label="one", expected=lambda x: x),
    Case("SplitV", lambda x, s: array.split(x, s, 1, num=2), (X, np.array([2, 1])), label="fed sizes", exact_shape=False,
         expected=lambda x, s: [x[:, :2], x[:, 2:]]),
    Case("Tile", lambda x: array.tile(x, [2, 3]), (X,), expected=lambda x: np.tile(x, (2, 3))),
    Case("Tile", lambda x: array.tile(x, [2, 0]), (X,), label="none", expected=lambda x: np.zeros((4, 0))),
    Case("TileGrad", lambda x: array.TileGrad()(x, constant.constant([1, 3]), constant.constant([2, 1])), (X,),
         expected=lambda x: x.sum(1, keepdims=True)),
    Case("BroadcastTo", lambda x, y: array.meshgrid(x, y), (floats(2), floats(3)), label="meshgrid",
         expected=lambda x, y: np.meshgrid(x, y)),
    Case("BroadcastTo", lambda x, y, z: array.meshgrid(x, y, z, indexing="ij"), (floats(2), floats(3), floats(1)),
         label="meshgrid ij", expected=lambda x, y, z: np.meshgrid(x, y, z, indexing="ij")),
]  # fmt: skip

PADDING = [
    Case("Pad", lambda x: padding.pad(x, [[1, 0], [2, 1]]), (X,), expected=lambda x: np.pad(x, [(1, 0), (2, 1)])),
    Case("Pad", lambda x, p: padding.pad(x, p), (X, np.array([[1, 0], [2, 1]])), label="fed", exact_shape=False,
         expected=lambda x, p: np.pad(x, p)),
    Case("PadV2", lambda x: padding.pad(x, [[1, 1], [0, 0]], constant_values=7), (X,),
         expected=lambda x: np.pad(x, [(1, 1), (0, 0)], constant_values=7)),
    Case("MirrorPad", lambda x: padding.pad(x, [[1, 0], [2, 1]], "reflect"), (X,),
         expected=lambda x: np.pad(x, [(1, 0), (2, 1)], "reflect")),
    Case("MirrorPad", lambda x: padding.pad(x, [[2, 1], [3, 0]], "SYMMETRIC"), (X,), label="symmetric",
         expected=lambda x: np.pad(x, [(2, 1), (3, 0)], "symmetric")),
    Case("MirrorPadGrad", lambda x: padding.MirrorPadGrad("REFLECT")(x, constant.constant([1, 0])), (floats(4),),
         expected=lambda x: np.array([x[1], x[2] + x[0], x[3]])),
]  # fmt: skip

REORDERING = [
    Case("ReverseV2", lambda x: reordering.reverse(x, [-1]), (X,), expected=lambda x: x[:, ::-1]),
    Case("ReverseV2", lambda x: reordering.reverse(x, [0, 2]), (CUBE,), label="two", expected=lambda x: x[::-1, :, ::-1]),
    Case("ReverseSequence", lambda x, n: reordering.reverse_sequence(x, n, seq_axis=1, batch_axis=0),
         (X, np.array([2, 3])), expected=lambda x, n: np.stack([x[0, [1, 0, 2]], x[1, ::-1]])),
    Case("ReverseSequence", lambda x, n: reordering.reverse_sequence(x, n, 0, 2), (floats(3, 2, 2), np.array([1, 2])),
         label="time major", expected=lambda x, n: np.stack([x[..., 0], x[[1, 0, 2], :, 1]], -1)),
    Case("Roll", lambda x: reordering.roll(x, [1, -2], [0, 1]), (X,), expected=lambda x: np.roll(x, (1, -2), (0, 1))),
    Case("Roll", lambda x: reordering.roll(x, 4, 1), (X,), label="scalar", expected=lambda x: np.roll(x, 1, 1)),
    Case("SpaceToDepth", lambda x: reordering.space_to_depth(x, 2), (IMAGE,),
         expected=lambda x: np.stack([x[:, i::2, j::2, 0] for i in (0, 1) for j in (0, 1)], -1)),
    Case("DepthToSpace", lambda x: reordering.depth_to_space(x, 2), (floats(1, 2, 2, 4),)),
    Case("DepthToSpace", lambda x: reordering.depth_to_space(reordering.space_to_depth(x, 2), 2), (IMAGE,),
         label="inverse", expected=lambda x: x),
    Case("InvertPermutation", reordering.invert_permutation, (np.array([2, 0, 1], np.int32),), order=0,
         expected=lambda x: np.array([1, 2, 0])),
]  # fmt: skip

RANGES = [
    Case("Range", lambda: ranges.range_(2, 11, 3), order=0, expected=lambda: np.array([2, 5, 8])),
    Case("Range", lambda: ranges.range_(5, 1, -2.0), order=0, label="down", expected=lambda: np.array([5.0, 3.0])),
    Case("Range", lambda: ranges.range_(0.0, 1.0, 0.25), order=0, label="floats", expected=lambda: np.arange(4) / 4),
    Case("Range", ranges.range_, (np.array(4, np.int64),), order=0, label="fed", exact_shape=False,
         expected=lambda n: np.arange(4)),
    Case("LinSpace", lambda: ranges.linspace(1.0, 3.0, 5), order=0, expected=lambda: np.array([1, 1.5, 2, 2.5, 3])),
    Case("SequenceMask", lambda n: ranges.sequence_mask(n, 3), (np.array([1, 0, 4]),), order=0,
         expected=lambda n: np.arange(3) < n[:, None]),
    Case("SequenceMask", lambda n: ranges.sequence_mask(n, dtype="float64"), (np.array([[1], [3]]),), order=0,
         label="longest", exact_shape=False, expected=lambda n: np.array([[[1.0, 0, 0]], [[1, 1, 1]]])),
]  # fmt: skip

SEGMENTS = [
    Case("UnsortedSegmentSum", lambda x, i: segments.unsorted_segment_sum(x, i, 4), (ROWS, IDS),
         expected=lambda x, i: segment_sums(x, i, 4)),
    Case("UnsortedSegmentSum", lambda x, i: segments.unsorted_segment_sum(x, i, 2), (CUBE, ints(2, 3, high=2)),
         label="matrix of ids", expected=lambda x, i: segment_sums(x, i, 2)),
    Case("SegmentGather", lambda x, i: segments.SegmentGather()(x, i), (floats(3, 2), IDS),
         expected=lambda x, i: x[i] * (i >= 0)[:, None]),
    Case("SegmentSum", segments.segment_sum, (ROWS, np.array([0, 0, 2, 2])), exact_shape=False,
         expected=lambda x, i: segment_sums(x, i, 3)),
    Case("Unique", segments.unique, (np.array([3, 1, 3, 2, 1], np.int32),), order=0, exact_shape=False,
         expected=lambda x: [np.array([3, 1, 2]), np.array([0, 1, 0, 2, 1])]),
    Case("UniqueWithCounts", lambda x: segments.unique_with_counts(x, "int64"), (np.array([2.5, 1.0, 2.5]),), order=0,
         exact_shape=False, expected=lambda x: [np.array([2.5, 1]), np.array([0, 1, 0]), np.array([2, 1])]),
]  # fmt: skip

PARTITIONING = [
    Case("DynamicPartition", lambda x, p: partitioning.dynamic_partition(x, p, 3), (ROWS, np.array([2, 0, 2, 0], np.int32)),
         exact_shape=False, expected=lambda x, p: [x[[1, 3]], x[:0], x[[0, 2]]]),
    Case("DynamicPartition", lambda x: partitioning.dynamic_partition(x, [[0, 1, 0], [1, 1, 0]], 2), (CUBE,), label="matrix",
         exact_shape=False, expected=lambda x: [x[[0, 0, 1], [0, 2, 2]], x[[0, 1, 1], [1, 0, 1]]]),
    Case("DynamicPartition", lambda x: partitioning.dynamic_partition(x, [0, 0, 0, 0], 1), (ROWS,), label="one",
         exact_shape=False, expected=lambda x: x),
    Case("DynamicStitch", lambda x, y: partitioning.dynamic_stitch([[3, 0], 1], [x, y]), (floats(2, 3), floats(3)),
         exact_shape=False, expected=lambda x, y: np.stack([x[1], y, 0 * y, x[0]])),
]  # fmt: skip

SELECTING = [
    Case("Where", selecting.where, (TRUE,), order=0, exact_shape=False,
         expected=lambda c: np.array([[0, 0], [0, 2], [1, 2]])),
    Case("Where", selecting.where, (np.array(3.0),), order=0, exact_shape=False, label="scalar",
         expected=lambda c: np.zeros((1, 0))),
    Case("Select", selecting.where, (TRUE, X, floats(2, 3, seed=2)), expected=np.where),
    Case("Select", selecting.where, (TRUE[0], floats(3, 2), floats(3, 2, seed=2)), label="rows",
         expected=lambda c, x, y: np.where(c[:, None], x, y)),
    Case("Select", selecting.where, (np.array(False), X, floats(2, 3, seed=2)), label="scalar", expected=lambda c, x, y: y),
    Case("SelectV2", selecting.where_v2, (TRUE[:, :1], floats(3), np.array(1.5)), expected=np.where),
    Case("TopKV2", lambda x: selecting.top_k(x, 2), (floats(3, 4),),
         expected=lambda x: [-np.sort(-x)[:, :2], np.argsort(-x)[:, :2]]),
    Case("TopKV2", lambda x: selecting.top_k(x, 3), (np.array([1, 3, 3, 0, 3], np.int32),), order=0, label="ties",
         expected=lambda x: [np.array([3, 3, 3]), np.array([1, 2, 4])]),
    Case("TopKV2", lambda x: selecting.top_k(x, 2), (floats(2, 40),), label="few of many",
         expected=lambda x: [-np.sort(-x)[:, :2], np.argsort(-x)[:, :2]]),
    Case("InTopK", lambda x, t: selecting.in_top_k(x, t, 2), (np.array([[1, 3, 2, 3]] * 4, np.float32), np.arange(4)),
         order=0, expected=lambda x, t: np.array([False, True, False, True])),
    Case("GatherV2", selecting.boolean_mask, (CUBE, TRUE), label="boolean_mask", exact_shape=False,
         expected=lambda x, m: x[m], needs_shapes=True),
    Case("GatherV2", lambda x, m: selecting.boolean_mask(x, m, axis=1), (CUBE, TRUE[0]), label="boolean_mask axis",
         exact_shape=False, expected=lambda x, m: x[:, m], needs_shapes=True),
]  # fmt: skip

CASES = JOINING + PADDING + REORDERING + RANGES + SEGMENTS + PARTITIONING + SELECTING
