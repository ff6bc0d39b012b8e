"""Rows for graph/ops/gathering.py and the conversion of IndexedSlices."""

import numpy as np
from case import Case, floats
from weft.graph.indexed_slices import IndexedSlices
from weft.graph.ops import gathering
from weft.graph.ops.constant import constant
from weft.graph.ops.identity import identity

X, CUBE = floats(3, 2), floats(2, 3, 2)
I = np.array([2, 0, 2], np.int32)  # noqa: E741
TABLE = np.array([[[0, 1], [1, 2]], [[0, 1], [0, 0]]])

CASES = [
    Case("GatherV2", gathering.gather, (X, I), expected=lambda x, i: x[i]),
    Case("GatherV2", gathering.gather, (X, np.array([[0, 1], [1, 1]])), label="matrix", expected=lambda x, i: x[i]),
    Case("GatherV2", gathering.gather, (X, np.array(1)), label="scalar", expected=lambda x, i: x[1]),
    Case("GatherV2", lambda x, i: gathering.gather(x, i, axis=1), (CUBE, I), label="axis", expected=lambda x, i: x[:, i]),
    Case("GatherV2", lambda x, i: gathering.gather(x, i, axis=-1), (CUBE, np.array([[1, 1]])), label="last axis",
         expected=lambda x, i: x[..., i]),
    Case("GatherGrad", lambda x, i: gathering.GatherGrad(1)(x, i, constant([2, 4])), (floats(2, 3), I),
         expected=lambda x, i: np.stack([x[:, 1], 0 * x[:, 0], x[:, 0] + x[:, 2], 0 * x[:, 0]], 1)),
    Case("GatherNd", gathering.gather_nd, (CUBE, TABLE), expected=lambda x, i: x[i[..., 0], i[..., 1]]),
    Case("GatherNd", gathering.gather_nd, (X, np.zeros((2, 0), np.int32)), label="whole",
         expected=lambda x, i: np.stack([x, x])),
    Case("ScatterNd", lambda i, x: gathering.scatter_nd(i, x, [2, 3, 2]), (TABLE, floats(2, 2, 2)),
         expected=lambda i, x: np.stack([[x[1, 1], x[0, 0] + x[1, 0], 0 * x[0, 0]],
                                         [0 * x[0, 0], 0 * x[0, 0], x[0, 1]]])),
    Case("OneHot", lambda i: gathering.one_hot(i, 3), (np.array([0, 2, -1, 5]),), order=0,
         expected=lambda i: np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])),
    Case("OneHot", lambda i: gathering.one_hot(i, 3, on_value=5, off_value=1, axis=1), (np.array([[0, 2], [1, 1]]),),
         order=0, label="axis", expected=lambda i: np.where(np.arange(3)[:, None] == i[:, None], 5, 1)),
    Case("UnsortedSegmentSum", lambda v, i: identity(IndexedSlices(v, i, constant([4, 2]))), (X, I), label="dense",
         expected=lambda v, i: np.stack([v[1], 0 * v[1], v[0] + v[2], 0 * v[1]])),
]  # fmt: skip
