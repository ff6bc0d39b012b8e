"""Sums over every axis but the last: several rows are taken for one, for NumPy is slow where rows are short."""

from __future__ import annotations

from typing import Any

import numpy as np

#: How many numbers a row should have.
WIDE = 1024


def sum_rows(x: Any, out: Any = None) -> Any:
    """The sum of all rows of an array of float32 or float64, as a vector (or in `out`, one)."""
    width = x.shape[-1]
    rows = np.ascontiguousarray(x).reshape(x.size // max(1, width), width)
    fold = WIDE // max(1, width)
    if width < 2 or fold < 2 or len(rows) < 4 * fold:
        return np.add.reduce(rows, 0, out=out)
    whole = len(rows) - len(rows) % fold
    folded = np.add.reduce(rows[:whole].reshape(-1, fold * width), 0)
    total = np.add.reduce(folded.reshape(fold, width), 0, out=out)
    return total if whole == len(rows) else np.add(total, np.add.reduce(rows[whole:], 0), out=total)


def is_sum_of_rows(dtype: np.dtype[Any], axes: tuple[int, ...], ndim: int) -> bool:
    """Whether a sum over these axes is one that `sum_rows` computes."""
    return dtype.kind == "f" and dtype.itemsize > 2 and ndim > 1 and axes == tuple(range(ndim - 1))
