"""Sums of floats over the last axis, all others, or many over all, as products with ones: BLAS is faster at it than NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .. import shapes
from ..parallel import for_blocks
from ..shapes import Dims

#: How many numbers are added in one product. So many, and then their sums, lose less than all in a row.
LONGEST = 1 << 13
#: Longer rows are summed by NumPy: in pairs, which loses less than BLAS.
WIDEST = 1 << 12
#: Sums of so many elements are made in pieces, over threads; a piece is so many rows of WIDEST elements.
MANY, PIECE = 1 << 17, 16
#: Fewer pieces are summed before another thread has woken up.
FEW = 8


def sum_rows(x: Any, out: Any = None) -> Any:
    """The sum of all rows of an array of float32 or float64, as a vector (or in `out`, one)."""
    width = x.shape[-1]
    count = x.size // max(1, width)
    rows = np.ascontiguousarray(x).reshape(count, width)
    if count <= LONGEST:
        return np.dot(_ones(x.dtype, count), rows, out)
    totals = np.empty((-(-count // LONGEST), width), x.dtype)
    for index, total in enumerate(totals):
        some = rows[index * LONGEST : (index + 1) * LONGEST]
        np.dot(_ones(x.dtype, len(some)), some, total)
    return sum_rows(totals, out)


def sum_in_rows(x: Any, out: Any = None) -> Any:
    """The sums along the last axis of an array of float32 or float64, as a vector (or in `out`, one)."""
    width, whole = x.shape[-1], np.ascontiguousarray(x)
    if width > WIDEST or not x.size:
        return np.add.reduce(whole, -1).reshape(-1) if out is None else _reduced(whole, out)
    return np.dot(whole.reshape(x.size // width, width), _ones(x.dtype, width), out)


def _reduced(x: Any, out: Any) -> Any:
    np.add.reduce(x, -1, out=out.reshape(x.shape[:-1]))
    return out


def sum_all(x: Any, out: Any = None) -> Any:
    """The sum of all elements of an array of float32 or float64, as a vector of one element (or in `out`, one)."""
    flat = np.ascontiguousarray(x).reshape(-1)
    if flat.size < MANY:
        return np.add.reduce(flat.reshape(1, -1), 1, out=out)
    size = PIECE * WIDEST
    count, ones = flat.size // size, _ones(flat.dtype, WIDEST)
    totals = np.empty((count, PIECE), flat.dtype)

    def block(index: int, thread: int) -> None:
        np.dot(flat[index * size : (index + 1) * size].reshape(PIECE, WIDEST), ones, totals[index])

    if count < FEW:
        for index in range(count):
            block(index, 0)
    else:
        for_blocks(block, count)
    left = np.add.reduce(flat[count * size :].reshape(1, -1), 1)
    return np.add(np.add.reduce(totals.reshape(1, -1), 1), left, out)


def summing(dtype: np.dtype[Any], axes: tuple[int, ...] | None, ndim: int) -> Callable[..., Any] | None:
    """The one of these functions that sums over these axes (None: all); None where that is neither's work."""
    if ndim < 1 or dtype.kind != "f" or dtype.itemsize == 2:
        return None
    places = list(range(ndim)) if axes is None else sorted(axis % ndim for axis in axes)
    if places == list(range(ndim)):
        return sum_all
    if places == [ndim - 1]:
        return sum_in_rows
    return sum_rows if places == list(range(ndim - 1)) else None


def for_matrices(function: Callable[..., Any] | None, dtype: np.dtype[Any], dims: Dims) -> Callable[..., Any] | None:
    """One of these functions for row-major arrays of one shape, of which it asks nothing more, mostly matrices; else as it is."""
    count = shapes.count(dims)
    if function is sum_all and count is not None and 0 < count < MANY:
        return lambda x, out=None: np.add.reduce(x.reshape(1, count), 1, None, out)
    if dims is None or len(dims) != 2:
        return function
    rows, columns = (dim or 0 for dim in dims)
    if function is sum_rows and 0 < rows <= LONGEST:
        ones = _ones(dtype, rows)
        return lambda x, out=None: np.dot(ones, x, out)
    if function is sum_in_rows and 0 < columns <= WIDEST and rows:
        ones = _ones(dtype, columns)
        return lambda x, out=None: np.dot(x, ones, out)
    return function


def sum_over(x: Any, axes: tuple[int, ...] | None, keepdims: bool = False) -> Any:
    """The sum over some axes (None: all), in the type of `x`."""
    x = np.asarray(x)
    function = summing(x.dtype, axes, x.ndim)
    if function is None:
        return np.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype)
    one, ndim = (1,) * keepdims, x.ndim
    if function is sum_all:
        return function(x).reshape(one * ndim)
    return function(x).reshape((*x.shape[:-1], *one) if function is sum_in_rows else (*one * (ndim - 1), x.shape[-1]))


@lru_cache(maxsize=256)
def _ones(dtype: np.dtype[Any], count: int) -> Any:
    found = np.ones(count, dtype)
    found.flags.writeable = False
    return found
