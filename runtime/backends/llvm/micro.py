"""Micro-kernels: the text of functions that compute a small tile of a matrix product in the processor's registers.

An element of a tile is the sum of its products one after the other, each added by one fused operation: neither the tile's
size nor the length of the processor's vectors shows in its bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import llvmlite.binding as llvm

from .text import TYPES, Text, in_memory


class Tile(NamedTuple):
    """How large tiles are best: what fits into the registers beside what is multiplied.

    `bits` of a vector; `rows` of two vectors, or `narrow` rows of one.
    """

    bits: int
    rows: int
    narrow: int

    def lanes(self, kind: str) -> int:
        """How many numbers of a type a vector has."""
        return self.bits // 8 // TYPES[kind][2]

    def heights(self, rows: int, narrow: bool) -> tuple[int, int, int]:
        """How many rows a tile has, at most, and how many tiles have so many: all others have one row less. And all tiles."""
        tiles = -(-rows // (self.narrow if narrow else self.rows))
        height = -(-rows // tiles)
        return height, rows - tiles * (height - 1), tiles


#: For 32 registers of 512 bits, and for 16 of 256.
WIDE, HALF = Tile(512, 14, 24), Tile(256, 6, 12)


@cache
def tile() -> Tile | None:
    """That of this processor; None for one that does not add products in one operation, or that nobody has tried."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return WIDE
    return HALF if features.get("avx2") and features.get("fma") else None


class Micro(NamedTuple):
    """A micro-kernel: for tiles of so many rows and vectors, the last of which has `valid` numbers.

    `row`, `step`: how far apart the numbers of the first matrix lie from row to row, and from one product to the next. With
    `run`, each so many products end a run of them, and from there to the next it is `jump` numbers.
    """

    kind: str
    lanes: int
    rows: int
    vectors: int
    valid: int
    row: int
    step: int
    run: int = 0
    jump: int = 0

    @property
    def name(self) -> str:
        """The function's name, the same for the same text."""
        return f"micro_{self.kind}_{'_'.join(str(number) for number in self[1:])}"

    def call(
        self, text: Text, a: str, b: str, c: str, line: int, count: str, step: int, first: str, start: str,
        left: str = "0",
    ) -> None:  # fmt: skip
        """The line that calls it: `count` products of a and b make a tile of c.

        `line`, `step`: how far apart rows of c and of b lie. `first`: the sums begin at `start`, else they are added to c.
        `left`: how many products there are in the first run.
        """
        number = TYPES[self.kind][0]
        text.declared.add(f"declare void @{self.name}(ptr, ptr, ptr, i64, i64, i64, i1, {number}, i64)")
        text.put(
            f"call void @{self.name}(ptr {a}, ptr {b}, ptr {c}, i64 {line}, i64 {count}, i64 {step}, "
            f"i1 {first}, {number} {start}, i64 {left})"
        )

    def written(self) -> str:
        """The text."""
        return _Writing(self).written()


def first_row(text: Text, heights: tuple[int, int, int], tile: str) -> str:
    """The first row of the tile of that number: `heights` as `Tile.heights` gives them."""
    height, high, _ = heights
    less = text.intrinsic("llvm.usub.sat.i64", "i64", [("i64", tile), ("i64", str(high))])
    return text.let(f"sub i64 {text.let(f'mul i64 {tile}, {height}')}, {less}")


def for_tiles(text: Text, heights: tuple[int, int, int], body: Callable[[bool, str], None]) -> None:
    """`body(short, row)` for all tiles: whether it has a row less than others, and its first row."""
    _, high, tiles = heights
    for short, begin, end in ((False, 0, high), (True, high, tiles)):
        if begin < end:

            def one(tile: str, short: bool = short) -> None:
                body(short, first_row(text, heights, tile))

            text.loop(str(begin), str(end), 1, one)


class _Writing:
    """A micro-kernel as it is written."""

    def __init__(self, micro: Micro) -> None:
        self.micro, self.text = micro, Text()
        self.vector = in_memory(micro.kind, micro.lanes)
        self.number = TYPES[micro.kind][0]
        #: The sums, a row after the other, and what they are after one more product.
        self.sums = [[self.text.name() for _ in range(micro.vectors)] for _ in range(micro.rows)]
        self.next = [[self.text.name() for _ in range(micro.vectors)] for _ in range(micro.rows)]
        self.mask = f"<{', '.join(f'i1 {int(n < micro.valid)}' for n in range(micro.lanes))}>"

    def written(self) -> str:
        text = self.text
        text.define(
            f"void @{self.micro.name}(ptr %a, ptr %b, ptr %c, i64 %line, i64 %count, i64 %step, i1 %first, "
            f"{self.number} %start, i64 %left)"
        )
        self._ask()
        text.put("br label %head")
        self._products()
        text.begin("end")
        text.put("br i1 %first, label %begun, label %added")
        text.begin("begun")
        start = text.splat("%start", self.micro.kind, self.micro.lanes)
        self._stores(lambda place, mask: start)
        text.begin("added")
        self._stores(lambda place, mask: text.load(place, self.micro.kind, self.micro.lanes, mask))
        text.lines.append("}")
        return text.whole()

    def _ask(self) -> None:
        """Ask for the tile's places in memory, which are needed when all products are made."""
        line = "%c"
        for row in range(self.micro.rows):
            line = self._at(line, "%line") if row else line
            for number in range(self.micro.vectors):
                self.text.ask_for(self._at(line, str(number * self.micro.lanes)), True)

    def _products(self) -> None:
        """The loop: a number of each row times the vectors of the second matrix, added to the sums."""
        text, micro = self.text, self.micro
        text.begin("head")
        counted = [("at", "i64", "0"), ("x", "ptr", "%a"), ("y", "ptr", "%b"), ("run", "i64", "%left")]
        for name, kind, first in counted if micro.run else counted[:3]:
            text.put(f"%{name} = phi {kind} [ {first}, %entry ], [ %{name}.next, %head ]")
        for sums, following in zip(self.sums, self.next, strict=True):
            for one, other in zip(sums, following, strict=True):
                text.put(f"{one} = phi {self.vector} [ zeroinitializer, %entry ], [ {other}, %head ]")
        vectors = [self._vector("%y", n) for n in range(micro.vectors)]
        fma = f"llvm.fma.v{micro.lanes}{TYPES[micro.kind][1]}"
        text.declared.add(f"declare {self.vector} @{fma}({', '.join([self.vector] * 3)})")
        for row in range(micro.rows):
            factor = text.load(self._at("%x", str(row * micro.row)), micro.kind, 1)
            factor = text.splat(factor, micro.kind, micro.lanes)
            for one, other, vector in zip(self.sums[row], self.next[row], vectors, strict=True):
                taken = ", ".join(f"{self.vector} {value}" for value in (factor, vector, one))
                text.put(f"{other} = call {self.vector} @{fma}({taken})")
        text.put(f"%x.next = getelementptr {self.number}, ptr %x, i64 {self._move()}")
        text.put(f"%y.next = getelementptr {self.number}, ptr %y, i64 %step")
        text.put("%at.next = add i64 %at, 1")
        going = text.let("icmp ult i64 %at.next, %count")
        text.put(f"br i1 {going}, label %head, label %end")

    def _move(self) -> str:
        """How far it is to the next number of a row."""
        text, micro = self.text, self.micro
        if not micro.run:
            return str(micro.step)
        fewer = text.let("sub i64 %run, 1")
        ends = text.let(f"icmp eq i64 {fewer}, 0")
        text.put(f"%run.next = select i1 {ends}, i64 {micro.run}, i64 {fewer}")
        return text.let(f"select i1 {ends}, i64 {micro.jump}, i64 {micro.step}")

    def _vector(self, start: str, number: int) -> str:
        micro = self.micro
        return self.text.load(self._at(start, str(number * micro.lanes)), micro.kind, micro.lanes, self._masked(number))

    def _masked(self, number: int) -> str:
        micro = self.micro
        return self.mask if number == micro.vectors - 1 and micro.valid < micro.lanes else ""

    def _at(self, start: str, index: str) -> str:
        return self.text.at(start, index, self.micro.kind)

    def _stores(self, base: Callable[[str, str], str]) -> None:
        """Each sum added to what there was: a function of the place in memory and the mask."""
        text, micro = self.text, self.micro
        line = "%c"
        for row in range(micro.rows):
            if row:
                line = self._at(line, "%line")
            for number, value in enumerate(self.next[row]):
                place, mask = self._at(line, str(number * micro.lanes)), self._masked(number)
                total = text.let(f"fadd {self.vector} {base(place, mask)}, {value}")
                text.store(total, place, micro.kind, micro.lanes, mask)
        text.put("ret void")
