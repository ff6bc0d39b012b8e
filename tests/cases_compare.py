"""Rows for graph/ops/compare.py."""

import operator

import numpy as np
from case import Case, floats, ints
from weft.graph.ops import compare

X, ROW = floats(2, 3), floats(3, seed=1)
SOME, MORE = ints(2, 3, high=3), ints(3, seed=1, high=3)
P, Q = np.array([True, True, False, False]), np.array([True, False, True, False])
WORDS = np.array([b"a", b"b", b""], object)
ODD = np.array([1.0, np.nan, np.inf, -np.inf])

CASES = [
    Case("Equal", compare.equal, (SOME, MORE), expected=lambda x, y: x == y),
    Case(
        "Equal", compare.equal, (WORDS, WORDS[::-1].copy()), label="strings", expected=lambda x, y: np.array([0, 1, 0])
    ),
    Case("Equal", compare.equal, (P, Q), label="bools", expected=lambda x, y: ~(x ^ y)),
    Case("NotEqual", compare.not_equal, (SOME, MORE), expected=lambda x, y: x != y),
    Case("NotEqual", compare.logical_xor, (P, Q), label="xor", expected=lambda x, y: x != y),
    Case("NotEqual", lambda x, y: x ^ y, (P, Q), label="^", expected=lambda x, y: x != y),
    Case("Less", lambda x, y: x < y, (X, ROW), expected=lambda x, y: x < y, order=0),
    Case("Less", lambda x: operator.gt(1, x), (SOME,), label="reflected", expected=lambda x: x < 1),
    Case("LessEqual", lambda x, y: x <= y, (SOME, MORE), expected=lambda x, y: x <= y),
    Case("Greater", lambda x, y: x > y, (SOME, MORE), expected=lambda x, y: x > y),
    Case("GreaterEqual", lambda x, y: x >= y, (SOME, MORE), expected=lambda x, y: x >= y),
    Case("LogicalAnd", compare.logical_and, (P, Q), expected=lambda x, y: x * y),
    Case("LogicalAnd", lambda x: x & True, (P,), label="&", expected=lambda x: x),
    Case("LogicalOr", compare.logical_or, (P, Q), expected=lambda x, y: x + y),
    Case("LogicalOr", lambda x: False | x, (P,), label="|", expected=lambda x: x),
    Case("LogicalNot", compare.logical_not, (P,), expected=lambda x: x ^ True),
    Case("LogicalNot", lambda x: ~x, (P,), label="~", expected=lambda x: x ^ True),
    Case("BitwiseAnd", lambda x, y: x & y, (SOME, MORE), expected=lambda x, y: x & y),
    Case("BitwiseOr", lambda x, y: x | y, (SOME, MORE), expected=lambda x, y: x | y),
    Case("BitwiseXor", lambda x, y: x ^ y, (SOME, MORE), expected=lambda x, y: x ^ y),
    Case("Invert", lambda x: ~x, (SOME,), expected=lambda x: -1 - x),
    Case("IsNan", compare.is_nan, (ODD,), expected=lambda x: np.array([0, 1, 0, 0]), order=0),
    Case("IsInf", compare.is_inf, (ODD,), expected=lambda x: np.array([0, 0, 1, 1]), order=0),
    Case("IsFinite", compare.is_finite, (ODD,), expected=lambda x: np.array([1, 0, 0, 0]), order=0),
    Case("CheckNumerics", lambda x: compare.check_numerics(x, "x"), (X,), expected=lambda x: x),
]
