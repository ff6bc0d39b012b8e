"""Rows as machine code: how they lie, the way over those that indices name, asking for those ahead; and gathers.

What a row of a big table costs is the wait for its memory. So the rows some indices further on are asked for early, and
all that is to be done with a row is done in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

from .frame import ANY, Array, begun, closing, extent, opening, unless, working
from .tails import for_channels
from .text import TYPES, WIDTH, Text

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
        """The text: of the table, the indices, the result and how many threads help."""
        rows, text = self.rows, Text()
        data = opening(text, [rows.table(False), rows.indices(), rows.chosen(True)])
        limit, count = extent(text, 0, 0), extent(text, 1, 0, rows.rank)
        unless(text, [text.let(f"icmp eq i64 {count}, {extent(text, 2, 0, rows.rank)}")])
        all_within(text, rows, data[1], limit, count)
        in_blocks(text, rows, data, (count, limit), 2)
        table, ids, out, count, limit = begun(text, 3, 2)

        def row(number: str, place: str) -> None:
            source, target = row_at(text, rows, table, place), row_at(text, rows, out, number)

            def some(at: str, mask: str) -> None:
                value = text.load(text.at(source, at, rows.kind), rows.kind, rows.lanes, mask)
                text.store(value, text.at(target, at, rows.kind), rows.kind, rows.lanes, mask)

            for_numbers(text, rows, some)

        over_chosen(text, rows, ids, (count, limit), [table], False, row)
        text.end()
        return text.whole()


def all_within(text: Text, rows: Rows, ids: str, limit: str, count: str) -> None:
    """Refuse where one of so many indices is no row of a table of `limit` rows."""
    most = text.least(limit, 1 << (8 * TYPES[rows.id_kind][2] - 1))
    unless(text, [text.let(f"icmp ult i64 {largest(text, ids, count, rows.id_kind)}, {most}")])


def in_blocks(text: Text, rows: Rows, data: Sequence[str], numbers: Sequence[str], result: int) -> None:
    """The end of a function that works on blocks of so many rows as the first number says: `begun` follows.

    It gives back the argument of the number `result`.
    """
    count = numbers[0]
    blocks = text.let(f"udiv i64 {text.let(f'add i64 {count}, {rows.block - 1}')}, {rows.block}")
    working(text, data, numbers, blocks, is_much(text, rows, count))
    closing(text, result)


def is_much(text: Text, rows: Rows, count: str) -> str:
    """Whether work on so many rows takes so long that others could make use of the time."""
    return text.let(f"icmp uge i64 {text.let(f'mul i64 {count}, {rows.bytes}')}, {LEAST_RELEASED}")


def over_chosen(
    text: Text, rows: Rows, ids: str, counts: tuple[str, str], tables: Sequence[str], written: bool,
    row: Callable[[str, str], None],
) -> None:  # fmt: skip
    """`row(number, place)` for the indices of a block, of all of them, and rows of the tables: `counts` says how many.

    `tables`: in which the rows ahead are asked for, to be written to or read.
    """
    count, limit = counts
    last, top = text.let(f"sub i64 {count}, 1"), text.let(f"sub i64 {limit}, 1")

    def one(number: str) -> None:
        far = load_index(text, ids, text.least(text.let(f"add i64 {number}, {rows.ahead}"), last), rows.id_kind)
        for table in tables:
            ask_for_row(text, rows, row_at(text, rows, table, far), written)
        # The indices are somebody's memory, which may change after it was looked at.
        row(number, text.least(load_index(text, ids, number, rows.id_kind), top))

    text.loop(*text.share("%block", rows.block, count), 1, one)


def row_at(text: Text, rows: Rows, start: str, number: str) -> str:
    """Where a row begins."""
    return text.at(start, number, rows.kind, rows.width)


def ask_for_row(text: Text, rows: Rows, start: str, written: bool) -> None:
    """Ask for the memory of a row, to be written to or read."""
    size = min(rows.bytes, LONGEST_ASKED)
    for offset in sorted({*range(0, size, LINE), size - 1}):
        text.ask_for(text.let(f"getelementptr i8, ptr {start}, i64 {offset}"), written)


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


def load_index(text: Text, ids: str, number: str, kind: str) -> str:
    """An index, as a number of 64 bits with its sign."""
    value = text.load(text.at(ids, number, kind), kind, 1)
    return value if kind == "int64" else text.let(f"sext i32 {value} to i64")


def largest(text: Text, ids: str, count: str, kind: str, sign: str = "u") -> str:
    """The largest of some indices and 0: as numbers without a sign ("u"), where negative ones are largest, or with ("s")."""
    one, size = TYPES[kind][0], TYPES[kind][2]
    vector, name = f"<{WIDTH} x {one}>", f"llvm.{sign}max.v{WIDTH}{one}"
    best = text.room(vector)
    text.put(f"store {vector} zeroinitializer, ptr {best}, align {size}")
    whole = text.let(f"and i64 {count}, {-WIDTH}")

    def some(at: str, mask: str = "") -> None:
        value = text.load(text.at(ids, at, kind), kind, WIDTH, mask)
        known = text.load(best, kind, WIDTH)
        text.store(text.intrinsic(name, vector, [(vector, known), (vector, value)]), best, kind, WIDTH)

    text.loop("0", whole, WIDTH, some)
    some(whole, text.below(text.let(f"sub i64 {count}, {whole}"), WIDTH))
    found = text.intrinsic(f"llvm.vector.reduce.{sign}max.v{WIDTH}{one}", one, [(vector, text.load(best, kind, WIDTH))])
    return found if kind == "int64" else text.let(f"{sign.replace('u', 'z')}ext i32 {found} to i64")
