"""Rows for graph/ops/reduction.py and statistics.py."""

import numpy as np
from case import Case, floats, ints
from weft.graph.ops import reduction, statistics

X, BLOCK = floats(2, 3), floats(2, 3, 2)
POSITIVE = floats(2, 3, low=0.5)
BOOLS = np.array([[True, False, True], [True, True, True]])
ZEROS = np.array([[2.0, 0.0, 3.0], [0.0, 1.5, 0.0], [1.0, 2.0, 3.0]])
INTS = ints(2, 3, low=-5)

CASES = [
    Case("Mean", reduction.reduce_mean, (X,), expected=np.mean),
    Case("Mean", lambda x: reduction.reduce_mean(x, -1), (X,), label="axis", expected=lambda x: np.mean(x, 1)),
    Case("Mean", lambda x: reduction.reduce_mean(x, [0, 2], True), (BLOCK,), label="keepdims",
         expected=lambda x: np.mean(x, (0, 2), keepdims=True)),
    Case("Mean", reduction.reduce_mean, (INTS,), label="ints", expected=lambda x: np.trunc(np.mean(x))),
    Case("Prod", reduction.reduce_prod, (X,), expected=np.prod),
    Case("Prod", reduction.reduce_prod, (ZEROS[0],), label="one zero", expected=np.prod),
    Case("Prod", lambda x: reduction.reduce_prod(x, 1), (ZEROS,), label="zeros", expected=lambda x: np.prod(x, 1)),
    Case("Prod", lambda x: reduction.reduce_prod(x, [-1, 0]), (BLOCK,), label="axes", expected=lambda x: np.prod(x, (0, 2))),
    Case("Prod", lambda x: reduction.reduce_prod(x, 0, keepdims=True), (X,), label="keepdims",
         expected=lambda x: np.prod(x, 0, keepdims=True)),
    Case("Max", reduction.reduce_max, (X,), expected=np.max),
    Case("Max", lambda x: reduction.reduce_max(x, [-1], keep_dims=True), (X,), label="keepdims",
         expected=lambda x: np.max(x, 1, keepdims=True)),
    Case("Max", lambda x: reduction.reduce_max(x, reduction_indices=[0, 1]), (BLOCK,), label="axes",
         expected=lambda x: np.max(x, (0, 1))),
    Case("Max", reduction.reduce_max, (np.zeros(0),), label="of none", expected=lambda x: np.array(-np.inf), grad=()),
    Case("Min", reduction.reduce_min, (X,), expected=np.min),
    Case("Min", lambda x: reduction.reduce_min(x, 1), (X,), label="axis", expected=lambda x: np.min(x, 1)),
    Case("Min", reduction.reduce_min, (INTS,), label="ints", expected=np.min),
    Case("All", lambda x: reduction.reduce_all(x, 1), (BOOLS,), expected=lambda x: np.array([False, True])),
    Case("Any", lambda x: reduction.reduce_any(x, keepdims=True), (BOOLS,), expected=lambda x: np.array([[True]])),
    Case("ArgMax", reduction.argmax, (X,), expected=lambda x: np.argmax(x, 0), order=0),
    Case("ArgMax", lambda x: reduction.argmax(x, dimension=-1, output_type="int32"), (X,), label="old name",
         expected=lambda x: np.argmax(x, 1), order=0),
    Case("ArgMin", lambda x: reduction.argmin(x, 1), (X,), expected=lambda x: np.argmin(x, 1), order=0),
    # compositions
    Case("Log", statistics.reduce_logsumexp, (X,), label="logsumexp", expected=lambda x: np.log(np.sum(np.exp(x)))),
    Case("Log", lambda x: statistics.reduce_logsumexp(x, 1), (X,), label="logsumexp axis",
         expected=lambda x: np.log(np.sum(np.exp(x), 1))),
    Case("Log", lambda x: statistics.reduce_logsumexp(x, 0, True), (X + 1000,), label="logsumexp large", grad=(),
         expected=lambda x: np.log(np.sum(np.exp(x - 1000), 0, keepdims=True)) + 1000),
    Case("Mean", lambda x: statistics.reduce_variance(x, 0), (X,), label="variance", expected=lambda x: np.var(x, 0)),
    Case("Mean", statistics.reduce_variance, (X + 1j * X**2,), label="variance complex", expected=np.var),
    Case("Sqrt", lambda x: statistics.reduce_std(x, 1, keepdims=True), (X,), label="std",
         expected=lambda x: np.std(x, 1, keepdims=True)),
    Case("Sum", lambda x: statistics.count_nonzero(x, 1), (INTS,), label="count", expected=lambda x: np.count_nonzero(x, 1)),
    Case("Sqrt", statistics.norm, (X,), label="norm", expected=np.linalg.norm),
    Case("Abs", lambda x: statistics.norm(x, 1, axis=1), (X,), label="norm 1", expected=lambda x: np.linalg.norm(x, 1, 1)),
    Case("Max", lambda x: statistics.norm(x, np.inf, 0, True), (X,), label="norm inf",
         expected=lambda x: np.linalg.norm(x, np.inf, 0, True)),
    Case("Pow", lambda x: statistics.norm(x, 3, axis=-1), (POSITIVE,), label="norm 3",
         expected=lambda x: np.linalg.norm(x, 3, 1)),
    Case("Sqrt", lambda x: statistics.norm(x, "fro", [0, 2]), (BLOCK,), label="norm fro",
         expected=lambda x: np.linalg.norm(x, "fro", (0, 2))),
    Case("Max", lambda x: statistics.norm(x, 1, [0, 1]), (X,), label="matrix norm 1", expected=lambda x: np.linalg.norm(x, 1)),
    Case("Max", lambda x: statistics.norm(x, np.inf, [0, 1], True), (X,), label="matrix norm inf",
         expected=lambda x: np.linalg.norm(x, np.inf, (0, 1), True)),
]  # fmt: skip
