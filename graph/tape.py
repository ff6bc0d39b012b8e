"""Tape: named values by index, as one value. What a branch or a loop keeps for its gradient, and what a TensorArray holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import InvalidArgumentError

#: The values of an entry by index; a loop keeps one an iteration, a branch one at index 0. Of a loop's list all or none are
#: NumPy's scalars.
Column = dict[int, Any] | list[Any]


class Tape:
    """Values by entry and index. Never changed once made; a sum of tapes is a new one that adds up when first read.

    `length`: over how many iterations it was recorded, or how many elements a TensorArray has.
    """

    __slots__ = ("_columns", "_once", "_parts", "length")

    def __init__(
        self, columns: dict[str, Column] | None, length: int, parts: tuple[Tape, ...] = (), once: bool = False
    ) -> None:
        self._columns = columns
        self._parts = parts
        self._once = once
        self.length = length

    @property
    def columns(self) -> dict[str, Column]:
        """The values by entry, then by index."""
        if self._columns is None:
            self._columns = _merged(self._parts, self._once)
            self._parts = ()
        return self._columns

    def find(self, entry: str, index: int) -> Any:
        """The value there, or None."""
        column = self.columns.get(entry, ())
        if isinstance(column, dict):
            return column.get(index)
        return column[index] if 0 <= index < len(column) else None

    def leaves(self) -> list[Tape]:
        """The tapes it is the sum of, in their order."""
        found: list[Tape] = []
        waiting = [self]
        while waiting:
            tape = waiting.pop()
            if tape._columns is None:
                waiting += reversed(tape._parts)
            else:
                found.append(tape)
        return found


def total(tapes: tuple[Tape, ...], once: bool = False) -> Tape:
    """The sum of some tapes: where several hold a value at one place, the sum of these, from left to right.

    With `once` that is an error, InvalidArgumentError when it is first read. So is a sum of arrays of two shapes.
    """
    length = max(tape.length for tape in tapes)
    parts = tuple(tape for tape in tapes if tape._columns != {})
    if len(parts) == 1 and parts[0]._columns is not None:
        return Tape(parts[0]._columns, length)
    if not once and len({_only(part) for part in parts} - {None}) == 1 and None not in map(_only, parts):
        return Tape(_merged(parts, once), length)  # it takes no more memory than one of them, where all would wait
    return Tape(None, length, parts, once)


def _only(tape: Tape) -> tuple[str, int, tuple[int, ...]] | None:
    """Where the only value of a tape is, an array, and its shape; None for a tape of more, or that is not yet added up."""
    if tape._columns is None or len(tape._columns) != 1:
        return None
    ((entry, column),) = tape._columns.items()
    if not isinstance(column, dict) or len(column) != 1:
        return None
    ((index, value),) = column.items()
    return (entry, index, value.shape) if isinstance(value, np.ndarray) else None


def boxed(value: Any) -> Any:
    """What a column holds, for who expects no single number of NumPy: loops keep those as they compute them."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def _merged(parts: tuple[Tape, ...], once: bool) -> dict[str, Column]:
    merged: dict[str, dict[int, Any]] = {}
    for part in parts:
        for leaf in part.leaves():
            for entry, column in leaf.columns.items():
                into = merged.setdefault(entry, {})
                for index, value in column.items() if isinstance(column, dict) else enumerate(column):
                    if once and index in into:
                        raise InvalidArgumentError(
                            None,
                            None,
                            f"Could not write to TensorArray index {index} because it has already been written to.",
                        )
                    into[index] = _sum(into[index], value, index) if index in into else value
    return dict(merged)


def _sum(a: Any, b: Any, index: int) -> Any:
    if isinstance(a, Tape):
        return total((a, b))
    if np.shape(a) != np.shape(b):
        raise InvalidArgumentError(
            None,
            None,
            f"Could not aggregate to TensorArray index {index} because the existing shape is {list(np.shape(a))} but the "
            f"new input shape is {list(np.shape(b))}.",
        )
    return np.add(a, b)
