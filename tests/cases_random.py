"""Rows for graph/ops/random.py, dropout.py and orthonormal.py; what the numbers are like stands in test_random.py."""

from typing import Any

import numpy as np
from case import Case, floats
from weft.graph.ops import dropout, orthonormal, random

X = floats(4, 3)


def gram_schmidt(x: Any) -> Any:
    columns: list[Any] = []
    for column in x.T:
        rest = column - sum(((column @ before) * before for before in columns), np.zeros_like(column))
        columns.append(rest / np.sqrt(rest @ rest))
    return np.stack(columns, axis=1)


CASES = [
    Case("RandomUniform", lambda: random.random_uniform([2, 3], seed=1), order=0),
    Case("RandomUniform", lambda: random.random_uniform([2], -1.0, 1.0, "float16", seed=1), label="float16", order=0),
    Case("RandomUniformInt", lambda: random.random_uniform([2, 3], 5, 9, "int64", seed=1), order=0),
    Case("RandomStandardNormal", lambda: random.random_normal([2, 3], 1.0, 2.0, "float64", seed=1), order=0),
    Case("RandomStandardNormal", lambda: random.random_normal([2], dtype="bfloat16", seed=1), label="bfloat16", order=0),
    Case("TruncatedNormal", lambda: random.truncated_normal([2, 3], seed=1), order=0),
    Case("RandomShuffle", lambda x: random.random_shuffle(x, seed=1), (X,), order=0),
    Case("Orthonormal", lambda x: orthonormal.Orthonormal()(x), (X,), expected=gram_schmidt, order=0),
    Case("Multinomial", lambda x: random.multinomial(x, 5, seed=1), (X,), order=0),
    Case("RandomUniform", lambda x: dropout.dropout(x, 0.5, seed=1), (X,), label="dropout"),
    Case("RandomUniform", lambda x, keep: dropout.dropout(x, keep, [4, 1], seed=1), (X, np.array(0.7)),
         label="dropout rows"),
]  # fmt: skip
