"""Exclusive: writes to variables while no other step writes to or looks at their memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

#: Memory that a variable's next value goes to, where its present one is still read elsewhere.
Spare = Callable[[Any], Any]


def exclusive(write: Callable[..., Any], spares: Sequence[Spare | None], moves: bool) -> Callable[..., Any]:
    """A write to the variables that come first, of which some have spare memory, with nobody else at them meanwhile.

    `moves`: it leaves their new values in spare memory where they have any, as a kernel of that name does.
    """
    for place, spare in reversed([*enumerate(spares)]):
        write = partial(_alone, write, place, spare, moves)
    return write


def _alone(write: Callable[..., Any], place: int, spare: Spare | None, moves: bool, *values: Any) -> Any:
    slot = values[place]
    with slot.writing:
        slot.begin_change(None if spare is None else spare(slot), moves)
        try:
            return write(*values)
        finally:
            slot.end_change()
