"""Sums of rows as machine code: the text of functions that add up the rows that have a number in common."""

from __future__ import annotations

from typing import NamedTuple

from ..formulas import KINDS
from .frame import begun, closing, extent, opening, unless, working
from .rows import LEAST_RELEASED, Rows, ask_for_row, for_numbers, largest, load_index, row_at
from .text import TYPES, Text, in_memory, repeated


class Sums(NamedTuple):
    """What is to be written: each row of a table becomes the sum of the given rows that have its number, in their order.

    Rows with a negative number are left out.
    """

    rows: Rows

    def written(self) -> str:
        """The text: of the rows, their numbers, the table, and anything."""
        rows, text = self.rows, Text()
        given = opening(text, [rows.chosen(False), rows.indices(), rows.table(True)])
        count, limit = extent(text, 1, 0, rows.rank), extent(text, 2, 0)
        unless(text, [text.let(f"icmp eq i64 {count}, {extent(text, 0, 0, rows.rank)}")])
        unless(text, [text.let(f"icmp slt i64 {largest(text, given[1], count, rows.id_kind, 's')}, {limit}")])
        size = text.let(f"mul i64 {text.let(f'add i64 {count}, {limit}')}, {rows.bytes}")
        working(text, given, (count, limit), release=text.let(f"icmp uge i64 {size}, {2 * LEAST_RELEASED}"))
        closing(text, 2)
        data, ids, out, count, limit = begun(text, 3, 2)
        top = text.room("i64")
        text.put(f"store i64 0, ptr {top}, align 8")
        last = text.let(f"sub i64 {count}, 1")

        def one(number: str) -> None:
            soon = text.least(text.let(f"add i64 {number}, {rows.ahead}"), last)
            ask_for_row(text, rows, row_at(text, rows, out, load_index(text, ids, soon, rows.id_kind)), True)
            place = load_index(text, ids, number, rows.id_kind)
            counts, after = text.block(), text.block()
            # A negative number is no row; nor is one that was changed after it was looked at.
            text.put(f"br i1 {text.let(f'icmp ult i64 {place}, {limit}')}, label %{counts}, label %{after}")
            text.begin(counts)
            self._add(text, row_at(text, rows, data, number), out, place, top)
            text.put(f"br label %{after}")
            text.begin(after)

        text.loop("0", count, 1, one)
        self._clear(text, out, text.let(f"load i64, ptr {top}, align 8"), limit)
        text.end()
        return text.whole()

    def _add(self, text: Text, source: str, out: str, place: str, top: str) -> None:
        """Add a row to the one of its number. Rows from `top` on hold nothing yet: one becomes what is added to 0."""
        begun = text.let(f"load i64, ptr {top}, align 8")
        first, gap, new, again, after = (text.block() for _ in range(5))
        target = row_at(text, self.rows, out, place)
        text.put(f"br i1 {text.let(f'icmp uge i64 {place}, {begun}')}, label %{first}, label %{again}")
        text.begin(first)
        text.put(f"br i1 {text.let(f'icmp ugt i64 {place}, {begun}')}, label %{gap}, label %{new}")
        text.begin(gap)
        self._clear(text, out, begun, place)
        text.put(f"br label %{new}")
        text.begin(new)
        text.put(f"store i64 {text.let(f'add i64 {place}, 1')}, ptr {top}, align 8")
        self._sum(text, source, target, False)
        text.put(f"br label %{after}")
        text.begin(again)
        self._sum(text, source, target, True)
        text.put(f"br label %{after}")
        text.begin(after)

    def _sum(self, text: Text, source: str, target: str, more: bool) -> None:
        """`more`: to what is there, else to 0."""
        kind, lanes = self.rows.kind, self.rows.lanes
        vector = in_memory(kind, lanes)
        zero = repeated("0x0000000000000000" if KINDS[kind] else "0", TYPES[kind][0], lanes)

        def some(at: str, mask: str) -> None:
            value = text.load(text.at(source, at, kind), kind, lanes, mask)
            where = text.at(target, at, kind)
            known = text.load(where, kind, lanes, mask) if more else zero
            total = text.let(f"{'fadd' if KINDS[kind] else 'add'} {vector} {known}, {value}")
            text.store(total, where, kind, lanes, mask)

        for_numbers(text, self.rows, some)

    def _clear(self, text: Text, out: str, low: str, high: str) -> None:
        """Rows from `low` to below `high` become 0."""
        start = row_at(text, self.rows, out, low)
        size = text.let(f"mul i64 {text.let(f'sub i64 {high}, {low}')}, {self.rows.bytes}")
        text.fill(start, size)
