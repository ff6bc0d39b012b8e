"""Layouts: how to go through values as rows so that each input is all of them, one row, one column or one number."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...graph.shapes import Dims

#: Longer rows do not go through the stages of a compiled function in one piece.
LONGEST_ROW = 4096


def layouts(dims: tuple[int, ...], inputs: Sequence[Dims]) -> frozenset[int]:
    """How many dimensions may number the rows, the others being a row: 0 where no input is broadcast but numbers."""
    return frozenset(
        [
            split
            for split in range(max(1, len(dims)))
            if (not split or prod(dims[split:]) <= LONGEST_ROW) and all(place(dims, each, split) for each in inputs)
        ]
    )


def place(dims: tuple[int, ...], given: Dims, split: int) -> str:
    """How an input lies in memory beside values of these dimensions: "full", "row", "column", "one", or "" for none of these."""
    if given is None or len(given) > len(dims):
        return ""
    given = (1,) * (len(dims) - len(given)) + given
    if given == dims:
        return "full"
    if all(dim == 1 for dim in given):
        return "one"
    if not split:
        return ""
    if all(dim == 1 for dim in given[:split]) and given[split:] == dims[split:]:
        return "row"
    if given[:split] == dims[:split] and all(dim == 1 for dim in given[split:]):
        return "column"
    return ""
