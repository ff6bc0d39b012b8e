"""Sums of matrix products, in tiles so small that BLAS leaves both matrices where they are, and in few calls of NumPy.

That is faster than its large products (docs/decisions/0013), and BLAS computes each tile in the calling thread, whatever
threads it has. Kernels run tiles in several threads at a time, which wait for each other at the interpreter's lock: so a
call should take long.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: OpenBLAS keeps to one thread below so many multiplications: of two matrices, and of a matrix and a vector.
ALONE, ALONE_WITH_VECTOR = 1 << 19, 9216
#: A tile's sums are at most so long, and its rows so wide: else too few rows would go into it to be worth the packing.
DEPTH, WIDTH = 384, 64
#: BLAS works on multiples of so many rows at a time.
ROWS = 4
#: So many bytes of products are added at a time.
TERMS_BYTES = 1 << 20


def room_for(terms: int, out: tuple[int, ...], itemsize: int) -> int:
    """How many numbers of memory `add_products` needs for so many terms."""
    size = int(np.prod(out))
    return 0 if not size else size * (min(terms, max(1, TERMS_BYTES // (size * itemsize))) + 1)


def add_products(a: Array, b: Array, out: Array, room: Array, add: bool = False) -> None:
    """`out` = the sum of `a[i] @ b[i]`, or with `add` that much more; the terms are (stacks of) matrices.

    `room` is memory of `room_for` numbers. Sums inside a term should not be longer than DEPTH.
    """
    if len(a) == 1 and not add:
        _tiles(a[0], b[0], out)
        return
    if not len(a) or not out.size:
        if not add:
            out.fill(0)
        return
    most = room.size // out.size - 1
    total = room[: out.size].reshape(out.shape)
    for start in range(0, len(a), most):
        stop = min(start + most, len(a))
        terms = room[out.size : (stop - start + 1) * out.size].reshape(stop - start, *out.shape)
        _tiles(a[start:stop], b[start:stop], terms)
        if start or add:
            np.add(out, np.add.reduce(terms, 0, out=total) if len(terms) > 1 else terms[0], out)
        else:
            np.add.reduce(terms, 0, out=out)


def multiply(a: Array, b: Array, out: Array) -> Array:
    """`out` = `a @ b`, of two matrices whose sums are at most DEPTH long."""
    (rows, depth), width = a.shape, b.shape[1]
    group = _rows_of_tile(rows, depth, width)
    if group:
        np.matmul(a.reshape(-1, group, depth), b, out.reshape(-1, group, width))
    else:
        _tiles(a, b, out)
    return out


def add_turned(a: Array, b: Array, out: Array, room: Array, add: bool) -> None:
    """`out` = `a.T @ b`, or with `add` that much more, of matrices with many rows. `room` is memory of some such results."""
    (count, rows), width = a.shape, b.shape[1]
    length = part_length(count, DEPTH) if count else 1
    terms = count // length
    group = _rows_of_tile(rows, length, width)
    if not group or not 0 < terms < len(room):
        stacked = a.reshape(terms, length, rows).transpose(0, 2, 1), b.reshape(terms, length, width)
        add_products(*stacked, out, room.reshape(-1), add)
        return
    products = room[:terms]
    turned = a.reshape(terms, length, rows // group, group).transpose(0, 2, 3, 1)
    np.matmul(turned, b.reshape(terms, 1, length, width), products.reshape(terms, rows // group, group, width))
    if not add:
        np.add.reduce(products, 0, out=out)
    else:
        np.add(out, np.add.reduce(products, 0, out=room[terms]) if terms > 1 else products[0], out)


def part_length(size: int, most: int) -> int:
    """How long equal parts of `size` are, as long as `most` allows; where that would be short, `size` itself."""
    if size <= most:
        return size
    length = next(length for length in range(most, 0, -1) if size % length == 0)
    return length if length * 4 >= most else size


def pieces(size: int, most: int) -> list[tuple[int, int]]:
    """Starts and ends of parts of about one size, at most `most`."""
    if not size:
        return []
    count = -(-size // most)
    step = -(-size // count)
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def _tiles(a: Array, b: Array, out: Array) -> None:
    """Products of stacks: first, where sums are long, in parts."""
    for start, end in pieces(b.shape[-1], WIDTH):
        _columns(a, b[..., start:end], out[..., start:end])


def _columns(a: Array, b: Array, out: Array) -> None:
    """Products of groups of rows, and of the rows that are left over."""
    (rows, depth), width = a.shape[-2:], b.shape[-1]
    vector = rows == 1 or width == 1
    group = max(1, ((ALONE_WITH_VECTOR if vector else ALONE) - 1) // max(1, depth * width))
    if rows <= group and not (vector and depth * width * rows >= ALONE_WITH_VECTOR):
        np.matmul(a, b, out)
        return
    if rows == 1 and width > 1:
        middle = width // 2
        _columns(a, b[..., :middle], out[..., :middle])
        _columns(a, b[..., middle:], out[..., middle:])
        return
    group = _even(rows, group)
    whole = rows - rows % group
    lead = a.shape[:-2]
    np.matmul(
        a[..., :whole, :].reshape(*lead, -1, group, depth),
        b[..., None, :, :],
        out[..., :whole, :].reshape(*out.shape[:-2], -1, group, width),
    )
    if whole < rows:
        _columns(a[..., whole:, :], b, out[..., whole:, :])


@lru_cache(maxsize=1024)
def _rows_of_tile(rows: int, depth: int, width: int) -> int:
    """How many rows tiles have that are equal and leave none over; 0 where that does not go."""
    if rows < 2 or not 1 < width <= WIDTH or not depth:
        return 0
    group = min(rows, _even(rows, max(1, (ALONE - 1) // (depth * width))))
    return group if rows % group == 0 else 0


@lru_cache(maxsize=1024)
def _even(rows: int, most: int) -> int:
    """How many of the rows go into a tile: best so that none are left over, and a multiple of what BLAS works on."""
    for grain in (ROWS, 1):
        fitting = [size for size in range(most - most % grain, most // 2, -grain) if rows % size == 0]
        if fitting:
            return fitting[0]
    return max(1, most - most % ROWS) if most > ROWS else most
