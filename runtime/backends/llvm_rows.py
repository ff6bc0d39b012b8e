"""Rows as machine code: how they lie, the way over those that indices name, asking for those ahead; and gathers.

What a row of a big table costs is the wait for its memory. So the rows some indices further on are asked for early, and
all that is to be done with a row is done in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

from .llvm_frame import ANY, Array, allocate, closing, extent, given_number, let_go, opening, take_back, unless
from .llvm_packing import below, element
from .llvm_steps import TYPES, WIDTH, Text
from .llvm_tails import for_channels

#: How many bytes of rows are asked for before they are worked on, and how many rows at most.
AHEAD, MOST_AHEAD = 4096, 32
#: Of a longer row the first bytes are asked for: the processor foresees the rest.
LONGEST_ASKED = 1024
#: Rows of so many vectors are written out, longer ones are a loop.
UNROLLED = 8
#: A block of rows has about so many bytes in each array, and below that nobody else could make use of the time.
BLOCK_BYTES, LEAST_RELEASED = 1 << 19, 1 << 18
LINE = 64


class Rows(NamedTuple):
    """How rows lie in memory: numbers of a type, the dimensions of a row; and the indices' type and rank."""

    kind: str
    dims: tuple[int, ...]
    id_kind: str
    rank: int

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return prod(self.dims)

    @property
    def bytes(self) -> int:
        """How long a row is."""
        return self.width * TYPES[self.kind][2]

    @property
    def lanes(self) -> int:
        """How many numbers are worked on at a time."""
        return min(WIDTH, 1 << (self.width - 1).bit_length())

    @property
    def block(self) -> int:
        """How many rows a block has."""
        return max(1, BLOCK_BYTES // self.bytes)

    @property
    def ahead(self) -> int:
        """How many rows ahead are asked for."""
        return max(1, min(MOST_AHEAD, AHEAD // self.bytes))

    def table(self, written: bool) -> Array:
        """A table of such rows."""
        return Array(self.kind, (ANY, *self.dims), written)

    def chosen(self, written: bool) -> Array:
        """A row for each index."""
        return Array(self.kind, (*([ANY] * self.rank), *self.dims), written)

    def indices(self) -> Array:
        """The indices."""
        return Array(self.id_kind, (ANY,) * self.rank, False)


class Gather(NamedTuple):
    """What is to be written: rows of a table, by indices, into an array."""

    rows: Rows

    def written(self) -> str:
        """The text: of the table, the indices, the result and the number of a block."""
        rows, text = self.rows, Text()
        table, ids, out = opening(text, [rows.table(False), rows.indices(), rows.chosen(True)])
        limit, count = extent(text, 0, 0), extent(text, 1, 0, rows.rank)
        unless(text, [text.let(f"icmp eq i64 {count}, {extent(text, 2, 0, rows.rank)}")])
        walk = Walk(text, rows, ids, limit, count)

        def row(number: str, place: str) -> None:
            source, target = row_at(text, rows, table, place), row_at(text, rows, out, number)

            def some(at: str, mask: str) -> None:
                value = text.load(element(text, source, at, rows.kind), rows.kind, rows.lanes, mask)
                text.store(value, element(text, target, at, rows.kind), rows.kind, rows.lanes, mask)

            for_numbers(text, rows, some)

        walk.over([table], False, row)
        closing(text, 2)
        return ended(text)


class Walk:
    """The way over the rows that indices name, as it is written into a function."""

    def __init__(self, text: Text, rows: Rows, ids: str, limit: str, count: str) -> None:
        self.text, self.rows, self.ids, self.limit, self.count = text, rows, ids, limit, count

    def over(self, tables: Sequence[str], written: bool, row: Callable[[str, str], None]) -> None:
        """`row(number, place)` for the indices of the block that the last argument names: all where that is negative.

        Nothing is done where one of them is out of range. `tables`: in which the rows ahead are asked for, to be written
        to or read.
        """
        text, rows = self.text, self.rows
        state = allocate(text, "ptr")
        block = given_number(text)
        whole = text.let(f"icmp slt i64 {block}, 0")
        begin = text.let(f"mul i64 {block}, {rows.block}")
        end = least(text, text.let(f"add i64 {begin}, {rows.block}"), self.count)
        low = text.let(f"select i1 {whole}, i64 0, i64 {begin}")
        high = text.let(f"select i1 {whole}, i64 {self.count}, i64 {end}")
        most = least(text, self.limit, str(1 << (8 * TYPES[rows.id_kind][2] - 1)))
        unless(text, [text.let(f"icmp ult i64 {largest(text, self.ids, low, high, rows.id_kind)}, {most}")])
        size = text.let(f"mul i64 {text.let(f'sub i64 {high}, {low}')}, {rows.bytes}")
        let_go(text, state, text.let(f"icmp uge i64 {size}, {LEAST_RELEASED}"))
        last, top = text.let(f"sub i64 {self.count}, 1"), text.let(f"sub i64 {self.limit}, 1")

        def one(number: str) -> None:
            soon = least(text, text.let(f"add i64 {number}, {rows.ahead}"), last)
            far = load_index(text, self.ids, soon, rows.id_kind)
            for table in tables:
                ask_for(text, rows, row_at(text, rows, table, far), written)
            # The indices are somebody's memory, which may change after it was looked at.
            row(number, least(text, load_index(text, self.ids, number, rows.id_kind), top))

        text.loop(low, high, 1, one)
        take_back(text, state)


def row_at(text: Text, rows: Rows, start: str, number: str) -> str:
    """Where a row begins."""
    return element(text, start, text.let(f"mul i64 {number}, {rows.width}"), rows.kind)


def ask_for(text: Text, rows: Rows, start: str, written: bool) -> None:
    """Ask for the memory of a row, to be written to or read."""
    size = min(rows.bytes, LONGEST_ASKED)
    for offset in sorted({*range(0, size, LINE), size - 1}):
        prefetch(text, text.let(f"getelementptr i8, ptr {start}, i64 {offset}"), written)


def for_numbers(text: Text, rows: Rows, body: Callable[[str, str], None]) -> None:
    """`body(at, mask)` for the numbers of a row, some at a time."""
    width, lanes = rows.width, rows.lanes
    if width > UNROLLED * lanes:
        for_channels(text, width, lanes, body)
        return
    full = width - width % lanes
    for at in range(0, full, lanes):
        body(str(at), "")
    if full < width:
        body(str(full), f"<{', '.join(f'i1 {int(n < width - full)}' for n in range(lanes))}>")


def least(text: Text, one: str, other: str) -> str:
    """The smaller of two numbers without a sign."""
    return text.intrinsic("llvm.umin.i64", "i64", [("i64", one), ("i64", other)])


def load_index(text: Text, ids: str, number: str, kind: str) -> str:
    """An index, as a number of 64 bits with its sign."""
    value = text.load(element(text, ids, number, kind), kind, 1)
    return value if kind == "int64" else text.let(f"sext i32 {value} to i64")


def prefetch(text: Text, place: str, written: bool) -> None:
    """Ask for a line of memory."""
    text.intrinsic("llvm.prefetch.p0", "void", [("ptr", place), ("i32", str(int(written))), ("i32", "3"), ("i32", "1")])


def largest(text: Text, ids: str, low: str, high: str, kind: str, sign: str = "u") -> str:
    """The largest of some indices and 0: as numbers without a sign ("u"), where negative ones are largest, or with ("s")."""
    one, size = TYPES[kind][0], TYPES[kind][2]
    vector, name = f"<{WIDTH} x {one}>", f"llvm.{sign}max.v{WIDTH}{one}"
    best = allocate(text, vector)
    text.put(f"store {vector} zeroinitializer, ptr {best}, align {size}")
    count = text.let(f"sub i64 {high}, {low}")
    whole = text.let(f"add i64 {low}, {text.let(f'and i64 {count}, {-WIDTH}')}")

    def some(at: str, mask: str = "") -> None:
        value = text.load(element(text, ids, at, kind), kind, WIDTH, mask)
        known = text.load(best, kind, WIDTH)
        text.store(text.intrinsic(name, vector, [(vector, known), (vector, value)]), best, kind, WIDTH)

    text.loop(low, whole, WIDTH, some)
    some(whole, below(text, text.let(f"sub i64 {high}, {whole}"), WIDTH))
    found = text.intrinsic(f"llvm.vector.reduce.{sign}max.v{WIDTH}{one}", one, [(vector, text.load(best, kind, WIDTH))])
    return found if kind == "int64" else text.let(f"{sign.replace('u', 'z')}ext i32 {found} to i64")


def ended(text: Text) -> str:
    """All of the text."""
    return "\n".join([*text.lines, *sorted(text.declared), 'attributes #0 = { nounwind "prefer-vector-width"="512" }'])
