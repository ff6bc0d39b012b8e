"""Equal numbers as machine code: the text of functions that find them, in a table where each lies at its hash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .frame import ANY, Array, begun, closing, extent, given_number, opening, unless, working
from .rows import largest, load_index
from .text import TYPES, Text

#: 2^64 divided by the golden ratio: multiplied by it, numbers that are near each other go far apart.
_FACTOR = -7046029254386353131
#: The slots of numbers so many places further on are asked for.
_AHEAD = 16
#: A number looks at so many slots at most on the average, and a few; with more, sorting is better.
_PATIENCE, _FEW = 16, 256
#: From so many numbers on others run meanwhile.
_MANY = 1 << 14


def slots_for(count: int) -> int:
    """How many slots a table for so many numbers has."""
    return 1 << max(4, (2 * count - 1).bit_length())


class Distinct(NamedTuple):
    """What is to be written: whether indices are all in a range and none comes twice."""

    id_kind: str
    rank: int

    def written(self) -> str:
        """The text: of the indices, memory for a table (int32), and the number that all must be below.

        It gives back the indices, or the number where they are not so, or where that took too long to find out.
        """
        text = Text()
        arrays = [Array(self.id_kind, (ANY,) * self.rank, False), Array("int32", (ANY,), True)]
        data = opening(text, arrays)
        count, limit = extent(text, 0, 0, self.rank), given_number(text)
        unless(text, [text.let(f"icmp ult i64 {largest(text, data[0], count, self.id_kind)}, {limit}")])
        ids, table, *search = _searching(text, data, count, extent(text, 1, 0), 0)
        found = _Search(text, self.id_kind, ids, table, *search)
        found.over(lambda number, value: found.find(value, ids, number, found.give_up))
        text.end()
        return text.whole()


class Uniques(NamedTuple):
    """What is to be written: the distinct values of a vector as they first come, each element's number among them, and, if

    `counted`, how often each comes. `number`: the type of these.
    """

    id_kind: str
    number: str
    counted: bool

    def arrays(self) -> list[Array]:
        """The vector; its distinct values, numbers and, if they are counted, counts, each as long as the vector; memory for

        a table; and for how many values there are.
        """
        return [
            Array(self.id_kind, (ANY,), False), Array(self.id_kind, (ANY,), True),
            *[Array(self.number, (ANY,), True)] * (1 + self.counted),
            Array("int32", (ANY,), True), Array("int64", (), True),
        ]  # fmt: skip

    def written(self) -> str:
        """The text: of these arrays, and anything."""
        text, arrays = Text(), self.arrays()
        data = opening(text, arrays)
        count = extent(text, 0, 0)
        unless(text, [text.let(f"icmp eq i64 {extent(text, n, 0)}, {count}") for n in range(1, len(arrays) - 2)])
        x, values, numbers, *times, table, total, fine, count, slots = _searching(
            text, data, count, extent(text, len(arrays) - 2, 0), 2
        )
        search = _Search(text, self.id_kind, x, table, fine, count, slots)
        text.put(f"store i64 0, ptr {total}, align 8")
        search.over(lambda at, value: self._element(search, (at, value), (values, numbers, *times), total))
        text.end()
        return text.whole()

    def _element(self, search: _Search, given: tuple[str, str], made: Sequence[str], total: str) -> None:
        """An element at a place: its number is that of its value, or the next one."""
        text, (at, value), (values, numbers, *times) = search.text, given, made
        following = text.let(f"load i64, ptr {total}, align 8")
        again, after = text.block(), text.block()

        def known(place: str) -> None:
            store_narrow(text, place, text.at(numbers, at, self.number), self.number)
            for each in times:
                where = text.at(each, place, self.number)
                more = text.let(f"add {TYPES[self.number][0]} {text.load(where, self.number, 1)}, 1")
                text.store(more, where, self.number, 1)
            text.put(f"br label %{again}")

        search.find(value, values, following, known)
        store_narrow(text, value, text.at(values, following, self.id_kind), self.id_kind)
        store_narrow(text, following, text.at(numbers, at, self.number), self.number)
        for each in times:
            text.store("1", text.at(each, following, self.number), self.number, 1)
        text.put(f"store i64 {text.let(f'add i64 {following}, 1')}, ptr {total}, align 8")
        text.put(f"br label %{after}")
        text.begin(again)
        text.put(f"br label %{after}")
        text.begin(after)


def store_narrow(text: Text, value: str, place: str, kind: str) -> None:
    """A number of 64 bits into memory, as an integer of some type."""
    text.store(value if kind == "int64" else text.let(f"trunc i64 {value} to i32"), place, kind, 1)


def _searching(text: Text, data: Sequence[str], count: str, slots: str, result: int) -> list[str]:
    """The end of a function that looks for so many numbers in a table of so many slots, and the beginning of its work.

    It refuses where the table does not suit, and where the search gave up, else gives back the argument of the number `result`.
    Returns the arrays, a place for whether all went well, the count and the slots.
    """
    enough = text.let(f"icmp uge i64 {slots}, {text.let(f'shl i64 {count}, 1')}")
    less = text.let(f"sub i64 {slots}, 1")
    power = text.let(f"icmp eq i64 {text.let(f'and i64 {slots}, {less}')}, 0")
    unless(text, [enough, power, text.let(f"icmp ugt i64 {slots}, 1")])
    fine = text.room("i64")
    text.put(f"store i64 1, ptr {fine}, align 8")
    working(text, [*data, fine], (count, slots), release=text.let(f"icmp uge i64 {count}, {_MANY}"))
    unless(text, [text.let(f"icmp ne i64 {text.let(f'load i64, ptr {fine}, align 8')}, 0")])
    closing(text, result)
    return begun(text, len(data) + 1, 2)


class _Search:
    """A table in which each slot holds the place of a number, or -1; as it is written into a function.

    `fine`: the place that tells whether all went well.
    """

    def __init__(self, text: Text, kind: str, ids: str, table: str, fine: str, count: str, slots: str) -> None:
        self.text, self.kind, self.ids, self.table, self.fine, self.count = text, kind, ids, table, fine, count
        self.left, self.end = text.room("i64"), text.block()
        self.mask = text.let(f"sub i64 {slots}, 1")
        # The highest bits of the product are the slot.
        bits = text.intrinsic("llvm.ctpop.i64", "i64", [("i64", self.mask)])
        self.shift = text.let(f"sub i64 64, {bits}")
        text.fill(table, text.let(f"shl i64 {slots}, 2"), -1)
        patience = text.let(f"add i64 {text.let(f'mul i64 {count}, {_PATIENCE}')}, {_FEW}")
        text.put(f"store i64 {patience}, ptr {self.left}, align 8")

    def over(self, one: Callable[[str, str], None]) -> None:
        """`one(place, number)` for all numbers, until one gives up."""
        text = self.text
        last = text.let(f"sub i64 {self.count}, 1")

        def each(at: str) -> None:
            soon = text.least(text.let(f"add i64 {at}, {_AHEAD}"), last)
            slot = self._slot(load_index(text, self.ids, soon, self.kind))
            text.ask_for(text.at(self.table, slot, "int32"), True)
            one(at, load_index(text, self.ids, at, self.kind))

        text.loop("0", self.count, 1, each)
        text.put(f"br label %{self.end}")
        text.begin(self.end)

    def give_up(self, place: str = "") -> None:
        """A jump out of `over`."""
        self.text.put(f"store i64 0, ptr {self.fine}, align 8")
        self.text.put(f"br label %{self.end}")

    def _slot(self, value: str) -> str:
        text = self.text
        return text.let(f"lshr i64 {text.let(f'mul i64 {value}, {_FACTOR}')}, {self.shift}")

    def find(self, value: str, values: str, own: str, known: Callable[[str], None]) -> None:
        """Look for a number; one that is not there gets a slot, with `own` for its place among `values`, and goes on here.

        `known(place)`: where it is there; it ends with a jump. Looking for too long gives up.
        """
        text = self.text
        before, head, taken, found, other, more, enough, new = (text.block() for _ in range(8))
        first = self._slot(value)
        left = text.let(f"load i64, ptr {self.left}, align 8")
        text.put(f"br label %{before}")
        text.begin(before)
        text.put(f"br label %{head}")
        text.begin(head)
        slot, following, patience, less = (text.name() for _ in range(4))
        text.put(f"{slot} = phi i64 [ {first}, %{before} ], [ {following}, %{more} ]")
        text.put(f"{patience} = phi i64 [ {left}, %{before} ], [ {less}, %{more} ]")
        where = text.at(self.table, slot, "int32")
        entry = text.load(where, "int32", 1)
        text.put(f"br i1 {text.let(f'icmp slt i32 {entry}, 0')}, label %{new}, label %{taken}")
        text.begin(taken)
        place = text.let(f"zext i32 {entry} to i64")
        same = text.let(f"icmp eq i64 {load_index(text, values, place, self.kind)}, {value}")
        text.put(f"br i1 {same}, label %{found}, label %{other}")
        text.begin(found)
        known(place)
        text.begin(other)
        text.put(f"{less} = sub i64 {patience}, 1")
        text.put(f"{following} = and i64 {text.let(f'add i64 {slot}, 1')}, {self.mask}")
        text.put(f"br i1 {text.let(f'icmp slt i64 {less}, 0')}, label %{enough}, label %{more}")
        text.begin(enough)
        self.give_up()
        text.begin(more)
        text.put(f"br label %{head}")
        text.begin(new)
        text.put(f"store i32 {text.let(f'trunc i64 {own} to i32')}, ptr {where}, align 4")
        text.put(f"store i64 {patience}, ptr {self.left}, align 8")
