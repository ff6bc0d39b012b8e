"""Products: the text of a compiled function for products of matrices of known shape, tile by tile, in blocks for threads."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

from .frame import Array, begun, closing, opening, place_of, room_of_thread, working
from .micro import Micro, Tile, first_row
from .packing import call_pack, copied, turned
from .pool import pool_library
from .text import TYPES, Text

#: How many bytes of the first matrix are packed at a time: about what the second-level cache holds beside the rest.
BLOCK_BYTES = 512 << 10
#: How far apart packed rows lie, if that is enough: few distances make few micro-kernels.
USUAL_ROW = 464
#: The nearest cache has so many bytes between places that meet each other, which it has that often.
_PERIOD, _WAYS = 4096, 8
#: A matrix is packed if so many tiles read each part of it, or it is read that badly where it lies.
OFTEN, FAR = 8, 2048


class Sides(NamedTuple):
    """Which products: so many of `rows` x `inner` by `inner` x `columns`, where each matrix may be given transposed."""

    kind: str
    batch: int
    rows: int
    inner: int
    columns: int
    across_a: bool
    across_b: bool

    def work(self) -> int:
        """How many multiplications that takes."""
        return self.batch * self.rows * self.inner * self.columns


class Cut(NamedTuple):
    """How the work is cut into blocks for threads: so many, along "batch", "rows" or "columns".

    `long`: it is worth waking threads that sleep.
    """

    blocks: int
    side: str
    long: bool = True


class Product(NamedTuple):
    """What is to be written.

    `arrays`: what the function is given, the result last. `parts`: how many products are summed before they are added to the
    result. `negative`: an empty sum is -0. `release`: other threads of Python run meanwhile.
    """

    sides: Sides
    arrays: tuple[Array, ...]
    tile: Tile
    parts: tuple[int, ...]
    negative: bool
    cut: Cut
    release: bool

    @property
    def lanes(self) -> int:
        """How many numbers a vector has."""
        return self.tile.lanes(self.sides.kind)

    @property
    def width(self) -> int:
        """How many columns a panel has: as many as a tile."""
        return self.lanes * (2 if self.sides.columns > self.lanes else 1)

    @property
    def heights(self) -> tuple[int, int, int]:
        """The heights of tiles: see `Tile.heights`."""
        return self.tile.heights(self.sides.rows, self.width == self.lanes)

    @property
    def lines(self) -> tuple[int, int]:
        """How far apart the lines of the first matrix lie, and of the second, as they are given."""
        sides = self.sides
        plain = sides.rows if sides.across_a else sides.inner, sides.inner if sides.across_b else sides.columns
        if not self.arrays:
            return plain
        one, other = (
            array.strides[-2] if array.strides else line for array, line in zip(self.arrays[:2], plain, strict=True)
        )
        return one, other

    @property
    def panels(self) -> int:
        """How many panels of columns there are."""
        return -(-self.sides.columns // self.width)

    @property
    def deep(self) -> int:
        """How many numbers of the inner dimension there is room for, packed: whole vectors."""
        return -(-max(self.parts) // 16) * 16

    @property
    def packed_row(self) -> int:
        """How far apart rows of the first matrix lie, packed along the inner dimension."""
        return max(USUAL_ROW, self.deep + 16)

    @property
    def packed_tile(self) -> int:
        """How far apart tiles of the first matrix lie, packed."""
        return self.heights[0] * (self.deep if self.sides.across_a else self.packed_row)

    def packs_a(self) -> bool:
        """Whether the first matrix is packed. Rows far apart may drive each other out of the nearest cache."""
        sides, size = self.sides, TYPES[self.sides.kind][2]
        if self._is_apart(0):
            return True
        if sides.across_a:
            return self.panels >= OFTEN and self.lines[0] * size % FAR == 0
        apart = self.lines[0] * size
        return _PERIOD // gcd(apart, _PERIOD) * _WAYS < self.heights[0]

    def packs_b(self) -> bool:
        """Whether the second matrix is packed: always if it is given transposed, for then its rows do not lie together."""
        sides = self.sides
        far = self.lines[1] * TYPES[sides.kind][2] >= FAR
        return sides.across_b or self._is_apart(1) or (far and self.heights[2] >= OFTEN)

    def _is_apart(self, number: int) -> bool:
        """Whether something else lies between the rows of a matrix."""
        return bool(self.arrays) and self.arrays[number].strides != ()

    def block_tiles(self) -> int:
        """How many tiles of rows are packed at a time."""
        tiles = self.heights[2]
        if not self.packs_a():
            return tiles
        return min(tiles, max(1, BLOCK_BYTES // (self.packed_tile * TYPES[self.sides.kind][2])))

    def room(self) -> tuple[int, int]:
        """How many numbers of the first matrix are packed at a time, and how many in all."""
        first = self.block_tiles() * self.packed_tile if self.packs_a() else 0
        return first, first + (self.deep * self.width if self.packs_b() else 0)

    def most_bytes(self) -> int:
        """How much memory a thread needs to work in, however the matrices of a batch lie."""
        if self.sides.batch == 1:
            return self.room_bytes()
        tiles = min(self.heights[2], max(1, BLOCK_BYTES // (self.packed_tile * TYPES[self.sides.kind][2])))
        return (tiles * self.packed_tile + self.deep * self.width) * TYPES[self.sides.kind][2]

    def room_bytes(self) -> int:
        """How much memory a thread needs to work in."""
        return self.room()[1] * TYPES[self.sides.kind][2]

    def micro(self, short: bool, last: bool) -> Micro:
        """The micro-kernel of tiles that are one row short, or of the last panel, which has less columns."""
        sides, height = self.sides, self.heights[0] - short
        columns = sides.columns % self.width if last else self.width
        vectors = -(-columns // self.lanes)
        if sides.across_a:
            row, step = 1, self.heights[0] if self.packs_a() else self.lines[0]
        else:
            row, step = self.packed_row if self.packs_a() else self.lines[0], 1
        return Micro(sides.kind, self.lanes, height, vectors, columns - (vectors - 1) * self.lanes, row, step)

    def micros(self) -> list[Micro]:
        """All micro-kernels that it calls."""
        _, high, tiles = self.heights
        full, rest = divmod(self.sides.columns, self.width)
        shorts = [short for short, count in ((False, high), (True, tiles - high)) if count]
        lasts = [last for last, count in ((False, full), (True, rest)) if count]
        return [self.micro(short, last) for short in shorts for last in lasts]

    def library(self) -> dict[str, str]:
        """The functions that it calls, which others call as well: their texts by name."""
        found = {micro.name: micro.written() for micro in self.micros()}
        return found | dict([copied(self.sides.kind, self.lanes), turned(self.sides.kind, self.lanes)]) | pool_library()

    def written(self) -> str:
        """The text."""
        return _Writing(self).written()


class _Writing:
    """A product's function as it is written: its frame, then what computes some tiles of some panels of one product."""

    def __init__(self, product: Product) -> None:
        self.product, self.sides = product, product.sides
        self.kind = product.sides.kind
        self.text = Text()

    def written(self) -> str:
        text, product = self.text, self.product
        values = [*opening(text, product.arrays), place_of(text, len(product.arrays) + 1)]
        working(text, values, (), product.cut.blocks, product.release, long=product.cut.long)
        closing(text, len(product.arrays) - 1)
        *data, rooms = begun(text, len(values))
        self._block(data, room_of_thread(text, rooms, product.room_bytes()))
        text.end()
        self._part()
        return text.whole()

    def _block(self, data: Sequence[str], room: str) -> None:
        """One block: its tiles and panels, of all products or of its share of them."""
        product, sides, text = self.product, self.sides, self.text
        whole = {"batch": sides.batch, "rows": product.heights[2], "columns": product.panels}
        bounds = {side: ("0", str(count)) for side, count in whole.items()}
        cut = product.cut
        step = -(-whole[cut.side] // cut.blocks)
        bounds[cut.side] = text.share("%block", step, whole[cut.side])

        def one(number: str) -> None:
            places = [self._matrix(start, array, number) for start, array in zip(data, product.arrays, strict=True)]
            done = 0
            for length in product.parts:
                taken = [*(f"ptr {place}" for place in (*places, room))]
                taken += [f"i64 {value}" for side in ("rows", "columns") for value in bounds[side]]
                text.put(f"call void @part({', '.join(taken)}, i64 {done}, i64 {length}, i1 {int(not done)})")
                done += length

        text.loop(*bounds["batch"], 1, one)

    def _matrix(self, start: str, array: Array, number: str) -> str:
        """Where the matrix of that number lies in an array of them."""
        if not array.strides:
            return self._at(start, number, array.dims[-2] * array.dims[-1])
        left = number
        for axis in reversed(range(len(array.dims) - 2)):
            dim = array.dims[axis]
            left, own = (self.text.let(f"{what} i64 {left}, {dim}") for what in ("udiv", "urem"))
            start = self._at(start, own, array.strides[axis])
        return start

    def _part(self) -> None:
        """The function that adds one part of the sums to some tiles of some panels."""
        text, product = self.text, self.product
        text.define(
            "internal void @part(ptr %a, ptr %b, ptr %c, ptr %space, i64 %low, i64 %high, i64 %left, i64 %right, "
            "i64 %done, i64 %length, i1 %first)"
        )
        second = self._at("%space", str(product.room()[0]))
        text.loop("%low", "%high", product.block_tiles(), lambda start: self._tiles(start, second))
        text.end()

    def _tiles(self, start: str, second: str) -> None:
        """Some tiles of rows, packed if they need it, for each panel. `second`: where panels are packed."""
        text, product = self.text, self.product
        end = text.least(text.let(f"add i64 {start}, {product.block_tiles()}"), "%high")
        if product.packs_a():
            text.loop(start, end, 1, lambda tile: self._pack_a(tile, start))
        full = self.sides.columns // product.width
        if full:
            right = text.least("%right", str(full))
            text.loop("%left", right, 1, lambda panel: self._panel(panel, start, end, second, False))
        if self.sides.columns % product.width:
            last, after = text.block(), text.block()
            reached = text.let(f"icmp ugt i64 %right, {full}")
            begun = text.let(f"icmp ule i64 %left, {full}")  # a block behind the end has nothing to do
            text.put(f"br i1 {text.let(f'and i1 {reached}, {begun}')}, label %{last}, label %{after}")
            text.begin(last)
            self._panel(str(full), start, end, second, True)
            text.put(f"br label %{after}")
            text.begin(after)

    def _pack_a(self, tile: str, first: str) -> None:
        text, product, sides = self.text, self.product, self.sides
        height, high, _ = product.heights
        target = self._packed(tile, first)
        is_high = text.let(f"icmp ult i64 {tile}, {high}")
        rows = text.let(f"select i1 {is_high}, i64 {height}, i64 {height - 1}")
        if sides.across_a:
            lines, length, placed = "%length", rows, height
        else:
            lines, length, placed = rows, "%length", product.packed_row
        name, apart = copied(self.kind, product.lanes)[0], product.lines[0]
        call_pack(text, name, self._in_a(tile), target, lines, length, apart, placed)

    def _panel(self, panel: str, start: str, end: str, second: str, last: bool) -> None:
        """One panel, packed if it needs it, for some tiles."""
        text, product, sides = self.text, self.product, self.sides
        _, high, tiles = product.heights
        width, line = product.width, product.lines[1]
        column = text.let(f"mul i64 {panel}, {width}")
        columns = sides.columns % width if last else width
        if not product.packs_b():
            place, step = self._at(self._at("%b", "%done", line), column), line
        elif sides.across_b:
            place, step = second, width
            source = self._at(self._at("%b", column, line), "%done")
            name = turned(self.kind, product.lanes)[0]
            call_pack(text, name, source, second, str(columns), "%length", line, width)
        else:
            place, step = second, width
            source = self._at(self._at("%b", "%done", line), column)
            name = copied(self.kind, product.lanes)[0]
            call_pack(text, name, source, second, "%length", str(columns), line, width)
        zero = "-0.0" if product.negative else "0.0"

        def tile_of(short: bool, tile: str) -> None:
            first = self._packed(tile, start) if product.packs_a() else self._in_a(tile)
            result = self._at(self._at("%c", self._row(tile), sides.columns), column)
            product.micro(short, last).call(text, first, place, result, sides.columns, "%length", step, "%first", zero)

        if high:
            text.loop(start, text.least(end, str(high)), 1, lambda tile: tile_of(False, tile))
        if high < tiles:
            low = text.intrinsic("llvm.umax.i64", "i64", [("i64", start), ("i64", str(high))])
            text.loop(low, end, 1, lambda tile: tile_of(True, tile))

    def _row(self, tile: str) -> str:
        """The first row of a tile."""
        return first_row(self.text, self.product.heights, tile)

    def _in_a(self, tile: str) -> str:
        """Where a tile's part of the first matrix begins."""
        row, line = self._row(tile), self.product.lines[0]
        if self.sides.across_a:
            return self._at(self._at("%a", "%done", line), row)
        return self._at(self._at("%a", row, line), "%done")

    def _packed(self, tile: str, first: str) -> str:
        """Where it lies packed; `first` of the tiles that are."""
        number = self.text.let(f"sub i64 {tile}, {first}")
        return self._at("%space", number, self.product.packed_tile)

    def _at(self, start: str, index: str, size: int = 1) -> str:
        """Where the element of an index lies, or the line of it, each of some size."""
        return self.text.at(start, index, self.kind, size)
