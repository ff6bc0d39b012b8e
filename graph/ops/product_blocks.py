"""Big matrix products in blocks over threads: what the bits are follows from the shapes, never from the threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..parallel import for_blocks

#: How many blocks of rows or columns there are at most (a power of two, so that they go round), and how many
#: multiplications each has at least: enough to be worth handing to another thread.
BLOCKS, LEAST_WORK = 8, 6_000_000
#: Blocks begin at multiples of this, and large blocks, one for each thread, at multiples of that: BLAS computes that many
#: rows and columns best, and threads should have the same to do.
GRAIN, LARGE_GRAIN = 64, 16

Form = Callable[..., Any]


def block_sides(sides: list[int]) -> list[int]:
    """The sides (rows, inner, inner, columns) of a block of a product of such sides: all of it, where that is not big."""
    rows, inner, inner_b, columns = sides
    fitting = rows * inner * columns // LEAST_WORK if inner == inner_b else 0
    if fitting < 2:
        return sides
    blocks = 1 << min(fitting, BLOCKS).bit_length() - 1
    step = -(-max(rows, columns) // (blocks * GRAIN)) * GRAIN
    return [rows, inner, inner, min(step, columns)] if columns > rows else [min(step, rows), inner, inner, columns]


def in_blocks(form: Form, sides: list[int], across_a: bool, across_b: bool) -> Form:
    """The function for products of matrices of these sides, from that for one block."""
    rows, _, _, columns = block_sides(sides)
    if (rows, columns) == (sides[0], sides[3]):
        return form
    if columns < sides[3]:
        return InBlocks(form, (sides[0], sides[3]), columns, across_b, True)
    return InBlocks(form, (sides[0], sides[3]), rows, across_a, False)


@dataclass(frozen=True, slots=True)
class InBlocks:
    """A product computed `step` columns or rows at a time. `across`: whether the matrix that is cut is transposed."""

    form: Form
    dims: tuple[int, int]
    step: int
    across: bool
    by_columns: bool

    def __call__(self, x: Any, y: Any, out: Any = None) -> Any:
        result = np.empty(self.dims, x.dtype) if out is None else out

        def block(index: int, thread: int) -> None:
            part = slice(index * self.step, (index + 1) * self.step)
            cut = part if self.across == self.by_columns else (slice(None), part)
            if self.by_columns:
                self.form(x, y[cut], result[:, part])
            else:
                self.form(x[cut], y, result[part])

        for_blocks(block, self.count())
        return result

    def count(self) -> int:
        """How many blocks there are."""
        return -(-self.dims[self.by_columns] // self.step)

    def fewer(self, count: int) -> InBlocks:
        """The same product in about `count` blocks."""
        step = -(-self.dims[self.by_columns] // (count * LARGE_GRAIN)) * LARGE_GRAIN
        return replace(self, step=step)
