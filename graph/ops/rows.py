"""Kernels on rows that gathers, scatters and segment sums share: checked indices, and combining rows in a fixed order."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..errors import InvalidArgumentError
from .rooms import BLOCK, CAPACITY

Array = np.ndarray[Any, Any]

_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}

#: Rows of fewer elements than this are combined element by element.
_NARROW = 16

#: Up to how many repeated rows of a block are combined one after the other.
_FEW = 16

#: Numbers below this have equal ones found by marks, in a table of so many; greater ones are sorted.
MARKED = 1 << 22


def as_unsigned(ids: Array) -> Array:
    """Integers as ones without a sign: negative ones are the largest."""
    return ids.view(_UNSIGNED[ids.dtype.itemsize])


def check_range(indices: Any, limit: int, what: str = "indices", lowest: int = 0) -> None:
    """Raises InvalidArgumentError that names the first index outside of [0, limit), as TF words it; `lowest` allows more."""
    if not indices.size:
        return
    if lowest == 0:  # as unsigned numbers, negative ones are the largest
        fine = np.maximum.reduce(as_unsigned(indices), axis=None) < limit
    else:
        fine = indices.min() >= lowest and indices.max() < limit
    if not fine:
        place = np.argwhere((indices < lowest) | (indices >= limit))[0]
        where = f"[{','.join(str(i) for i in place)}]" if place.size else ""
        raise InvalidArgumentError(
            None, None, f"{what}{where} = {indices[tuple(place)]} is not in [0, {limit}): out of range"
        )


def sorted_order(ids: Array) -> tuple[Array, Array]:
    """The places of a vector of integers in the order of their values, equal ones as they come; and where a new value begins.

    The second is True at each place of that order that holds another value than the one before it.
    """
    bits = max(ids.size - 1, 0).bit_length()
    starts = np.empty(ids.size, np.bool_)
    starts[:1] = True
    if ids.dtype.itemsize > 4 and ids.size and max(abs(int(ids.min())), abs(int(ids.max()))) >> (62 - bits):
        order = np.argsort(ids, kind="stable")
        in_order = ids[order]
    else:  # value and place in one number each: sorting numbers is several times as fast as finding their order
        order = ids.astype(np.int64)
        np.left_shift(order, bits, out=order)
        np.bitwise_or(order, np.arange(ids.size), out=order)
        order.sort()
        in_order = np.right_shift(order, bits)
        np.bitwise_and(order, (1 << bits) - 1, out=order)
    np.not_equal(in_order[1:], in_order[:-1], out=starts[1:])
    return order, starts


def take_rows(table: Array, ids: Array, out: Array) -> Array:
    """The rows of a contiguous `table` that a vector of ids names, into `out`. The ids have been checked."""
    return np.take(table, ids, axis=0, out=out, mode="clip")  # the other modes copy once more


def put_rows(table: Array, ids: Array, rows: Array) -> None:
    """The inverse, with contiguous `rows`: of equal ids the last one wins."""
    if rows.size:
        whole = np.dtype((np.void, rows.nbytes // len(rows)))  # twice as fast as an assignment to rows of elements
        np.put(table.reshape(-1, copy=False).view(whole), ids, rows.reshape(-1).view(whole), mode="clip")


def combine_in_turn(ufunc: Any, table: Array, ids: Array, rows: Array) -> None:
    """`table[ids[i]] = ufunc(table[ids[i]], rows[i])` for i = 0, 1, ..., in that order, in place, in a contiguous `table`.

    `rows` may be a broadcast view. 1,024 rows of 64 floats take 0.04 ms, where elements one by one (`ufunc.at`) take
    0.16 ms; the part of the rows whose id came before takes that still.
    """
    width = int(np.prod(table.shape[1:], dtype=np.int64))
    if ids.size == 0 or width == 0:
        return
    table, rows = table.reshape(-1, width, copy=False), rows.reshape(-1, width)
    if width < _NARROW:
        _one_by_one(ufunc, table, ids, rows)
        return
    count = max(1, CAPACITY // width)
    for start in range(0, ids.size, count):
        _combine_block(ufunc, table, ids[start : start + count], rows[start : start + count])


def _combine_block(ufunc: Any, table: Array, ids: Array, rows: Array) -> None:
    """Rows are worked on where they are copied to; a repeated one where its id comes first, and then all have its result."""
    (work,) = BLOCK.vectors(table.dtype, rows.size, 1)
    work = work.reshape(rows.shape)
    ufunc(take_rows(table, ids, work), rows, out=work)
    first, again = repeated(ids, len(table))
    if len(again):
        _combine_in_order(ufunc, work, first, rows, again)
        work[again] = work[first]
    put_rows(table, ids, work)


class _Marks(threading.local):
    def __init__(self) -> None:
        self.of_rows = self.places = np.empty(0, np.int32)


_marks = _Marks()


def marked(ids: Array, count: int) -> tuple[Array, Array, Array]:
    """A mark for each number below `count`, the place where a vector of such numbers has it first; that of each of the
    vector's numbers; and the places themselves.

    `count` is at most MARKED. Of numbers that do not come, marks are anything. Valid until the thread asks again.
    """
    if len(_marks.of_rows) < count:
        _marks.of_rows = np.empty(count, np.int32)
    size, places = len(ids), _marks.places
    if size > len(places):
        places = np.arange(size, dtype=np.int32)
        if size <= CAPACITY:
            _marks.places = places
    places, marks = places[:size], _marks.of_rows[:count]
    marks[ids[::-1]] = places[::-1]  # of equal numbers the last one counts, which is the first
    return marks, marks.take(ids), places


def repeated(ids: Array, count: int) -> tuple[Array, Array]:
    """For each number of a vector that came before where it came first, and its place. The numbers are below `count`.

    Those of equal numbers are in their order.
    """
    if count <= MARKED:
        _, first, places = marked(ids, count)
        again = np.flatnonzero(first != places)
        return first[again], again
    order, starts = sorted_order(ids)
    more = np.flatnonzero(~starts)
    begins = np.flatnonzero(starts)
    return order[begins[np.searchsorted(begins, more) - 1]], order[more]


def _combine_in_order(ufunc: Any, table: Array, places: Array, rows: Array, chosen: Array) -> None:
    """`table[places[i]] = ufunc(table[places[i]], rows[chosen[i]])` for i = 0, 1, ..., in place; few in a loop."""
    if len(places) > _FEW:
        _one_by_one(ufunc, table, places, rows[chosen])
        return
    for place, row in zip(places.tolist(), chosen.tolist(), strict=True):
        ufunc(table[place], rows[row], out=table[place])


def _one_by_one(ufunc: Any, table: Array, ids: Array, rows: Array) -> None:
    """Element by element: as one flat vector, for which NumPy has a fast loop."""
    width = table.shape[1]
    places = ids.astype(np.int64, copy=False)
    if width > 1:
        places = (places[:, None] * width + np.arange(width)).reshape(-1)
    ufunc.at(table.reshape(-1, copy=False), places, rows.reshape(-1))


def add_rows(out: Array, ids: Array, rows: Array) -> Array:
    """`out[ids[i]] += rows[i]` for i = 0, 1, …, in that order, in place; `ids` is a vector of rows of a contiguous `out`."""
    combine_in_turn(np.add, out, ids, rows)
    return out


def summed_rows(count: int, ids: Array, rows: Array) -> Array:
    """`count` rows, each the sum of the `rows` whose id it is, in their order."""
    shape = (count, *rows.shape[1:])
    width = int(np.prod(rows.shape[1:], dtype=np.int64))
    if width < _NARROW or not ids.size:
        return add_rows(np.zeros(shape, rows.dtype), ids, rows)
    if count > MARKED:
        order, starts = sorted_order(ids)
        firsts, again = order[starts], order[~starts]
    else:
        firsts, first, places = marked(ids, count)
        again = np.flatnonzero(first != places)
        if len(ids) - len(again) < count:
            firsts = np.flatnonzero(first == places)
    sums = rows.take(firsts, axis=0)
    np.add(sums, 0, out=sums, dtype=sums.dtype)  # -0 becomes 0, as in a sum that starts at 0
    if len(firsts) < count or count > MARKED:
        out = np.zeros(shape, rows.dtype)
        put_rows(out, ids[firsts], sums)
    else:  # all of them, in order
        out = sums
    if len(again):
        _combine_in_order(np.add, out.reshape(-1, width), ids[again], rows.reshape(-1, width), again)
    return out


def flat_ids(indices: Any, dims: tuple[int, ...]) -> Any:
    """Multi-indices (shape [..., len(dims)]) into a tensor whose leading dimensions are `dims`, as a vector of row numbers.

    Raises InvalidArgumentError that names the first one out of range.
    """
    table = np.asarray(indices).reshape(int(np.prod(indices.shape[:-1], dtype=np.int64)), len(dims))
    bad = ((table < 0) | (table >= np.array(dims, np.int64))).any(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        place = ",".join(str(i) for i in np.unravel_index(first, indices.shape[:-1]))
        raise InvalidArgumentError(
            None, None, f"indices[{place}] = {table[first].tolist()} does not index into shape {list(dims)}"
        )
    steps = np.array([int(np.prod(dims[axis + 1 :], dtype=np.int64)) for axis in range(len(dims))], np.int64)
    return table @ steps
