"""Updates of rows as machine code: the text of functions that change tables in place, the rows that indices name or all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..formulas import Step
from .frame import ANY, Array, begun, closing, extent, opening, unless
from .rows import Rows, all_within, for_numbers, in_blocks, largest, load_index, over_chosen, row_at
from .text import Text, constant


class Formulas(NamedTuple):
    """What becomes of tables: the steps, and what each input is.

    That is a "table", a "number", "rows" (one for each index), "indices", or "marks"; tables come first.
    """

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def tables(self) -> int:
        """How many tables there are."""
        return self.inputs.count("table")

    def arrays(self, rows: Rows) -> list[Array]:
        """The inputs as arrays of such rows."""
        forms = {
            "table": rows.table(True), "number": Array(rows.kind, (), False), "rows": rows.chosen(False),
            "indices": rows.indices(), "marks": Array("int32", (ANY,), False),
        }  # fmt: skip
        return [forms[each] for each in self.inputs]

    def uniform(self, text: Text, data: Sequence[str], lanes: int) -> dict[int, str]:
        """The values of the steps that are the same for all numbers, as vectors."""
        single: dict[int, str] = {}
        for number, step in enumerate(self.steps):
            if not self._is_uniform(number):
                continue
            if step.name == "input":
                single[number] = text.load(data[step.extra], step.kind, 1)
            else:
                single[number] = self._step(text, step, single, 1)
        return {n: text.splat(value, self.steps[n].kind, lanes) for n, value in single.items()}

    def _is_uniform(self, number: int) -> bool:
        step = self.steps[number]
        if step.name == "input":
            return self.inputs[int(step.extra)] == "number"
        return all(self._is_uniform(each) for each in step.arguments)

    def change(
        self, text: Text, rows: Rows, results: Sequence[int], starts: dict[int, str], uniform: dict[int, str]
    ) -> None:
        """Rows of the tables become the values of some steps. `starts`: where the row of an input begins, by its number."""

        def some(at: str, mask: str) -> None:
            values = dict(uniform)
            places = {n: text.at(start, at, rows.kind) for n, start in starts.items()}
            for number in self._needed(results):  # all are read before any is written
                step = self.steps[number]
                if number in values:
                    continue
                if step.name == "input":
                    values[number] = text.load(places[step.extra], step.kind, rows.lanes, mask)
                else:
                    values[number] = self._step(text, step, values, rows.lanes)
            for table, number in enumerate(results):
                text.store(values[number], places[table], rows.kind, rows.lanes, mask)

        for_numbers(text, rows, some)

    def _needed(self, results: Sequence[int]) -> list[int]:
        """The steps that these need, in their order."""
        found, left = set(results), list(results)
        while left:
            more = [each for each in self.steps[left.pop()].arguments if each not in found]
            found.update(more)
            left += more
        return sorted(found)

    def _step(self, text: Text, step: Step, values: dict[int, str], lanes: int) -> str:
        """The value of a step that is no input."""
        if step.name == "constant":
            return constant(step, lanes)
        kinds = [self.steps[n].kind for n in step.arguments]
        return text.step(step, kinds, [values[n] for n in step.arguments], lanes)


class Update(NamedTuple):
    """What is to be written: the rows of tables that indices name change in place, one after the other.

    `results`: the steps that give the tables' new values.
    """

    rows: Rows
    formulas: Formulas
    results: tuple[int, ...]

    def written(self) -> str:
        """The text: of the inputs, and how many threads help: none, where indices may be equal."""
        rows, text, formulas = self.rows, Text(), self.formulas
        data = opening(text, formulas.arrays(rows))
        given, ids = formulas.inputs.index("rows"), formulas.inputs.index("indices")
        limit, count = extent(text, 0, 0), extent(text, ids, 0, rows.rank)
        same = [text.let(f"icmp eq i64 {extent(text, n, 0)}, {limit}") for n in range(1, formulas.tables)]
        unless(text, [*same, text.let(f"icmp eq i64 {count}, {extent(text, given, 0, rows.rank)}")])
        all_within(text, rows, data[ids], limit, count)
        in_blocks(text, rows, data, (count, limit), 0)
        *data, count, limit = begun(text, len(data), 2)
        uniform, tables = formulas.uniform(text, data, rows.lanes), data[: formulas.tables]

        def row(number: str, place: str) -> None:
            starts = {n: row_at(text, rows, table, place) for n, table in enumerate(tables)}
            starts[given] = row_at(text, rows, data[given], number)
            formulas.change(text, rows, self.results, starts, uniform)

        over_chosen(text, rows, data[ids], (count, limit), tables, True, row)
        text.end()
        return text.whole()


class Marking(NamedTuple):
    """What is to be written: for each row of a table the place of the index that names it, or -1."""

    id_kind: str
    rank: int

    def written(self) -> str:
        """The text: of the indices, the marks (int32), and anything.

        It gives back the indices, or the last where one is no row or comes twice.
        """
        text = Text()
        arrays = [Array(self.id_kind, (ANY,) * self.rank, False), Array("int32", (ANY,), True)]
        ids, marks = opening(text, arrays)
        twice = text.room("i64")
        count, limit = extent(text, 0, 0, self.rank), extent(text, 1, 0)
        unless(text, [text.let(f"icmp ult i64 {largest(text, ids, count, self.id_kind)}, {limit}")])
        text.fill(marks, text.let(f"shl i64 {limit}, 2"), -1)
        text.put(f"store i64 0, ptr {twice}, align 8")
        last = text.let(f"sub i64 {limit}, 1")

        def one(number: str) -> None:
            # The indices are somebody's memory, which may change after it was looked at.
            where = text.at(marks, text.least(load_index(text, ids, number, self.id_kind), last), "int32")
            free = text.let(f"icmp slt i32 {text.load(where, 'int32', 1)}, 0")
            known = text.let(f"load i64, ptr {twice}, align 8")
            text.put(f"store i64 {text.let(f'select i1 {free}, i64 {known}, i64 1')}, ptr {twice}, align 8")
            text.store(text.let(f"trunc i64 {number} to i32"), where, "int32", 1)

        text.loop("0", count, 1, one)
        unless(text, [text.let(f"icmp eq i64 {text.let(f'load i64, ptr {twice}, align 8')}, 0")])
        closing(text, 0)
        return text.whole()


class Sweep(NamedTuple):
    """What is to be written: all rows of tables change in place, those with a mark by one formula, the others by another.

    `named`: the steps that give the new values of rows with a mark, which is the place of their row among the "rows";
    `others`: of the others.
    """

    rows: Rows
    formulas: Formulas
    named: tuple[int, ...]
    others: tuple[int, ...]

    def written(self) -> str:
        """The text: of the inputs, and how many threads help."""
        rows, text, formulas = self.rows, Text(), self.formulas
        data = opening(text, formulas.arrays(rows))
        given, marks = formulas.inputs.index("rows"), formulas.inputs.index("marks")
        limit = extent(text, 0, 0)
        lengths = [extent(text, n, 0) for n in (*range(1, formulas.tables), marks)]
        unless(text, [text.let(f"icmp eq i64 {each}, {limit}") for each in lengths])
        in_blocks(text, rows, data, (limit,), 0)
        *data, limit = begun(text, len(data), 1)
        uniform = formulas.uniform(text, data, rows.lanes)

        def row(number: str) -> None:
            starts = {n: row_at(text, rows, table, number) for n, table in enumerate(data[: formulas.tables])}
            named, other, after = (text.block() for _ in range(3))
            mark = load_index(text, data[marks], number, "int32")
            text.put(f"br i1 {text.let(f'icmp slt i64 {mark}, 0')}, label %{other}, label %{named}")
            text.begin(named)
            formulas.change(text, rows, self.named, starts | {given: row_at(text, rows, data[given], mark)}, uniform)
            text.put(f"br label %{after}")
            text.begin(other)
            formulas.change(text, rows, self.others, starts, uniform)
            text.put(f"br label %{after}")
            text.begin(after)

        text.loop(*text.share("%block", rows.block, limit), 1, row)
        text.end()
        return text.whole()
