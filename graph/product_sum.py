"""ProductSum: a sum of matrix products whose factors come a few rows at a time; many rows are multiplied at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import InternalError, InvalidArgumentError

#: So many rows of both factors are kept at most before they are multiplied. Measured: decision 0036.
ROWS = 512

#: The product of two matrices, the first transposed, written into the third.
Multiply = Callable[[Any, Any, Any], Any]
#: An array of that shape and type, with anything in it.
New = Callable[[tuple[int, ...], Any], Any]


class ProductSum:
    """The sum of `left_i^T @ right_i` over what was added. Adding gives a new value, and uses up the old one.

    What has no rows yet can be added to any number of times. What is multiplied together, and so the bits, follows from the
    number of rows that were added each time, and from nothing else.
    """

    __slots__ = ("_added", "_rows")

    def __init__(self, rows: _Rows | None = None, added: int = 0) -> None:
        self._rows = rows
        self._added = added

    def add(self, left: Any, right: Any, multiply: Multiply, new: New) -> ProductSum:
        """The sum with one product more. Raises InvalidArgumentError for factors that do not fit."""
        if len(left) != len(right):
            raise InvalidArgumentError(
                None, None, f"Matrix size-incompatible: a sum of products over {len(left)} and {len(right)} rows"
            )
        rows = self._current()
        if rows is None:
            rows = _Rows(left, right, new)
        rows.add(left, right, multiply)
        return ProductSum(rows, rows.added)

    def total(self, multiply: Multiply, out: Any) -> bool:
        """Writes the sum into `out`, if anything was added; returns whether it was."""
        rows = self._current()
        if rows is None:
            return False
        rows.total_into(out, multiply)
        return True

    def _current(self) -> _Rows | None:
        if self._rows is not None and self._rows.added != self._added:
            raise InternalError(None, None, "a sum of products was added to twice")
        return self._rows


def capacity(count: int) -> int:
    """How many rows are kept of factors that have `count` rows each time: a multiple of that; 0, if none."""
    return ROWS // count * count if 0 < 2 * count <= ROWS else 0


class _Rows:
    """The rows that were not multiplied yet, and the sum of what was. Changed in place."""

    __slots__ = ("_filled", "_left", "_new", "_product", "_right", "_sum", "added")

    def __init__(self, left: Any, right: Any, new: New) -> None:
        room = capacity(len(left))
        self._new = new
        self._left = new((room, left.shape[1]), left.dtype)
        self._right = new((room, right.shape[1]), right.dtype)
        #: The sum, and where a product is made that is added to it: when there is something.
        self._sum: Any = None
        self._product: Any = None
        self._filled = 0
        self.added = 0

    def add(self, left: Any, right: Any, multiply: Multiply) -> None:
        self.added += 1
        count, room = len(left), len(self._left)
        if 2 * count > room:
            self._multiply(left, right, multiply)
            return
        if self._filled + count > room:
            self._flush(multiply)
        end = self._filled + count
        self._left[self._filled : end] = left
        self._right[self._filled : end] = right
        self._filled = end
        if end == room:
            self._flush(multiply)

    def _flush(self, multiply: Multiply) -> None:
        self._multiply(self._left[: self._filled], self._right[: self._filled], multiply)
        self._filled = 0

    def _multiply(self, left: Any, right: Any, multiply: Multiply) -> None:
        dims = (left.shape[1], right.shape[1])
        if self._sum is None:
            self._sum = multiply(left, right, self._new(dims, left.dtype))
            return
        if self._product is None:
            self._product = self._new(dims, left.dtype)
        np.add(self._sum, multiply(left, right, self._product), self._sum)

    def total_into(self, out: Any, multiply: Multiply) -> None:
        if not self._filled:
            np.copyto(out, 0 if self._sum is None else self._sum)
            return
        multiply(self._left[: self._filled], self._right[: self._filled], out)
        if self._sum is not None:
            np.add(self._sum, out, out)
