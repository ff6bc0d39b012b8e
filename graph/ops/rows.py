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


#: Tables of more rows have repeated ids found by sorting.
MARKED = 1 << 22


def check_range(indices: Any, limit: int, what: str = "indices", lowest: int = 0) -> None:
    """Raises InvalidArgumentError that names the first index outside of [0, limit), as TF words it; `lowest` allows more."""
    if not indices.size:
        return
    if lowest == 0:  # as unsigned numbers, negative ones are the largest
        fine = np.maximum.reduce(indices.view(_UNSIGNED[indices.dtype.itemsize]), axis=None) < limit
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
    if len(table) > MARKED or not _combine_few(ufunc, ids, rows, work, len(table)):
        order, starts = sorted_order(ids)
        repeated = np.flatnonzero(~starts)
        if len(repeated):
            begins = np.flatnonzero(starts)
            first, again = order[begins[np.searchsorted(begins, repeated) - 1]], order[repeated]
            _combine_in_order(ufunc, work, first, rows, again)
            work[again] = work[first]
    put_rows(table, ids, work)


class _Marks(threading.local):
    def __init__(self) -> None:
        self.of_rows = self.places = np.empty(0, np.int32)


_marks = _Marks()


def _combine_few(ufunc: Any, ids: Array, rows: Array, work: Array, count: int) -> bool:
    """What is left to do for repeated ids, if these are few; False where they are not. The ids are below `count`.

    Each id's place is noted at the row that it names. Who finds another place there than its own is not the only one.
    """
    if len(_marks.of_rows) < count:
        _marks.of_rows = np.empty(count, np.int32)
    if len(_marks.places) < len(ids):
        _marks.places = np.arange(len(ids), dtype=np.int32)
    places = _marks.places[: len(ids)]
    _marks.of_rows[ids] = places
    found = _marks.of_rows.take(ids)
    repeated = np.flatnonzero(found != places)
    if len(repeated) > _FEW:
        return False
    groups: dict[int, list[int]] = {}
    for place, one in zip(repeated.tolist(), found[repeated].tolist(), strict=True):
        groups.setdefault(one, [one]).append(place)
    for group in groups.values():
        first, *others = sorted(group)
        for place in others:
            ufunc(work[first], rows[place], out=work[first])
        for place in others:
            work[place] = work[first]
    return True


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
    order, starts = sorted_order(ids)
    begins = np.flatnonzero(starts)
    first = order[begins]
    sums = rows.take(first, axis=0)
    np.add(sums, 0, out=sums, dtype=sums.dtype)  # -0 becomes 0, as in a sum that starts at 0
    if len(begins) < len(ids):
        repeated = np.flatnonzero(~starts)
        places = np.searchsorted(begins, repeated) - 1
        _combine_in_order(np.add, sums.reshape(-1, width), places, rows.reshape(-1, width), order[repeated])
    if len(begins) == count:  # all of them, in order
        return sums
    out = np.zeros(shape, rows.dtype)
    put_rows(out, ids[first], sums)
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
