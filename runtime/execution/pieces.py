"""Pieces: a long step as several functions in a row, because Python takes more than linear time to compile a long one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from ..stages.plan import Fetch, Free, Instruction, Receive, Run, Send, TakeFeed

#: Steps of up to twice as many instructions stay one function.
LENGTH = 1000

#: Some instructions of a step: it takes the feeds, `send`, `receive` and the values that live from piece to piece.
Piece = Callable[[Any, Any, Any, list[Any]], Any]


class Chain:
    """The function of a step that was cut: runs the pieces in a row; the last one returns the fetched values."""

    __slots__ = ("__weakref__", "pieces", "places")

    def __init__(self, pieces: Sequence[Piece], places: int) -> None:
        self.pieces = list(pieces)
        self.places = places

    def __call__(self, feeds: Any, send: Any, receive: Any) -> Any:
        live = [None] * self.places
        results = None
        for piece in self.pieces:
            results = piece(feeds, send, receive, live)
        return results


def piece_ends(instructions: Sequence[Instruction]) -> list[int]:
    """Where the pieces of a plan end. What it fetches, at its end, is never cut."""
    count = sum(not isinstance(instruction, Fetch) for instruction in instructions)
    pieces = max(1, count // LENGTH)
    return [count * piece // pieces for piece in range(1, pieces)] + [len(instructions)]


def crossing_places(instructions: Sequence[Instruction], ends: Sequence[int]) -> dict[int, int]:
    """For each slot that is used in another piece than the one that makes it: its place in the list of live values.

    Values that are never needed at the same time share a place.
    """
    if len(ends) == 1:
        return {}
    last, crossing = _lives(instructions, ends)
    ending: dict[int, list[int]] = defaultdict(list)
    for slot in crossing:
        ending[last[slot]].append(slot)
    places: dict[int, int] = {}
    free: list[int] = []
    count = 0
    for at, instruction in enumerate(instructions):
        for slot in _made(instruction):
            if slot in crossing:
                count += not free
                places[slot] = free.pop() if free else count - 1
        free += [places[slot] for slot in ending.get(at, ())]
    return places


def _lives(instructions: Sequence[Instruction], ends: Sequence[int]) -> tuple[dict[int, int], set[int]]:
    """The last instruction that names each slot, and the slots that cross."""
    home: dict[int, int] = {}
    last: dict[int, int] = {}
    crossing: set[int] = set()
    piece = 0
    for at, instruction in enumerate(instructions):
        piece += at == ends[piece]
        for slot in _made(instruction):
            home[slot] = piece
            last[slot] = at
        for slot in _used(instruction):
            last[slot] = at
            if home.get(slot, piece) != piece:  # constants and buffers have no home: each piece has them bound
                crossing.add(slot)
    return last, crossing


def _made(instruction: Instruction) -> tuple[int, ...]:
    match instruction:
        case TakeFeed(slot):
            return (slot,)
        case Run():
            return instruction.made
        case Receive(int(slot)):
            return (slot,)
    return ()  # what lies in a buffer is bound wherever it is used, as constants are


def _used(instruction: Instruction) -> tuple[int, ...]:
    match instruction:
        case Run():
            return instruction.inputs
        case Free(slots):
            return slots
        case Send(int(slot)) | Fetch(slot):
            return (slot,)
    return ()
