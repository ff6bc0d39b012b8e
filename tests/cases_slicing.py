"""Rows for graph/ops/slicing.py and getitem.py."""

import numpy as np
from case import Case, floats
from weft.graph.ops import slicing
from weft.graph.ops.constant import constant

X, CUBE = floats(3, 4), floats(2, 3, 4)
K = np.array(1, np.int32)

CASES = [
    Case("Slice", lambda x: slicing.slice_(x, [1, 0], [2, 3]), (X,), expected=lambda x: x[1:, :3]),
    Case("Slice", lambda x: slicing.slice_(x, [1, 2], [-1, -1]), (X,), label="rest", expected=lambda x: x[1:, 2:]),
    Case("Slice", lambda x, b: slicing.slice_(x, b, [1, 2]), (X, np.array([1, 2])), label="fed",
         expected=lambda x, b: x[1:2, 2:4]),
    Case("StridedSlice", lambda x: slicing.strided_slice(x, [0, 1], [3, 4], [2, 2]), (X,),
         expected=lambda x: x[0:3:2, 1:4:2]),
    Case("StridedSlice", lambda x: slicing.strided_slice(x, [-1, 0], [0, 2]), (X,), label="empty",
         expected=lambda x: x[-1:0, :2]),
    Case("StridedSlice", lambda x: slicing.strided_slice(x, [1, 0, 0, 3], [0, 0, 0, 0], [1, 1, 1, -2], begin_mask=8,
         end_mask=8, ellipsis_mask=2, new_axis_mask=4, shrink_axis_mask=1), (CUBE,), label="masks",
         expected=lambda x: x[1, ..., None, ::-2]),
    Case("StridedSlice", lambda x, b: slicing.strided_slice(x, b, [3, 4], [1, 2]), (X, np.array([1, 0])), label="fed",
         exact_shape=False, expected=lambda x, b: x[1:3, 0:4:2]),
    Case("StridedSlice", lambda x: x[::-1, 1], (X,), label="getitem", expected=lambda x: x[::-1, 1]),
    Case("StridedSlice", lambda x, k: x[..., k, None, k:], (CUBE, K), label="getitem tensors", exact_shape=False,
         expected=lambda x, k: x[..., 1, None, 1:][..., 0:]),
    Case("StridedSlice", lambda x: x[...], (np.array(2.0),), label="getitem scalar", expected=lambda x: x),
    Case("StridedSliceGrad", lambda dy: slicing.StridedSliceGrad(1, 1)(constant([5]), constant([0]), constant([0]),
         constant([2]), dy), (floats(3),), expected=lambda dy: np.array([dy[0], 0, dy[1], 0, dy[2]])),
]  # fmt: skip
