"""Loops: the text of a compiled function that computes formulas over arrays, block by block."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..formulas import Step
from .frame import Array, begun, closing, opening, pointer, row_strides, working
from .stages import Stages
from .text import TYPES, WIDTH, Text, constant

#: How many elements, about, go through all stages at a time, and how much scratch memory there may be, on the stack.
PIECE = 512
MOST_SCRATCH = 1 << 18
#: One text is written at a time: steps of several threads may want the same one.
_WRITING = threading.Lock()


class Form(NamedTuple):
    """How values are gone through: so many rows of so many elements. Where it does not matter what a row is, there is one.

    `block`: how many rows a block has, or elements where there is one row. `release`: let other threads of Python run meanwhile.
    `long`: it is worth waking threads that sleep.
    """

    rows: int
    row: int
    block: int
    release: bool
    long: bool = True

    @property
    def total(self) -> int:
        """How many rows there are, or elements where there is one row."""
        return self.row if self.rows == 1 else self.rows

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return -(-self.total // self.block)


@dataclass(slots=True)
class Function:
    """What is to be written: the steps, and the arrays of the inputs, with their places, and of the results."""

    steps: Sequence[Step]
    inputs: Sequence[Array]
    places: Sequence[str]
    outputs: Sequence[Array]
    results: Sequence[int]
    form: Form
    text: Text = field(default_factory=Text)
    stages: Stages = field(init=False)
    data: list[str] = field(default_factory=list)
    #: The names of values that are the same for all elements, and of those as vectors.
    uniform: dict[int, str] = field(default_factory=dict)
    splats: dict[int, str] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    #: Memory for what a loop of NumPy's is given: where its numbers are, how many, and how far apart.
    called: list[str] = field(default_factory=list)
    #: Of the inputs that are cut, how many bytes there are from one row to the next.
    strides: dict[int, str] = field(default_factory=dict)
    #: The text, once it is written.
    done: str = ""

    def __post_init__(self) -> None:
        self.stages = Stages(self.steps, self.places, self.results)

    def piece(self) -> int:
        """How many rows, or elements, go through the stages at a time."""
        if not any(step.name == "call" for step in self.steps):
            return self.form.block
        return PIECE if self.form.rows == 1 else max(1, PIECE // self.form.row)

    def scratch_bytes(self) -> int:
        """How much scratch memory a call takes."""
        if self.is_single():
            return 0
        return sum(self.stages.sizes) * self.piece() * (1 if self.form.rows == 1 else self.form.row)

    def is_single(self) -> bool:
        """Whether all values are single numbers."""
        return self.form.rows * self.form.row == 1

    def written(self) -> str:
        """The text."""
        with _WRITING:
            self.done = self.done or self._written()
        return self.done

    def _written(self) -> str:
        text, form = self.text, self.form
        self.data = opening(text, [*self.inputs, *self.outputs])
        if self.is_single():
            self._allocate()
            self._uniform()
            _Single(self).write()
            closing(text, len(self.inputs))
        else:
            strides = row_strides(text, self.inputs)
            working(text, self.data, [*strides.values()], form.blocks, form.release, long=form.long)
            closing(text, len(self.inputs))
            arrays = len(self.data)
            given = begun(text, arrays, len(strides))
            self.data, self.strides = given[:arrays], dict(zip(strides, given[arrays:], strict=True))
            self._allocate()
            self._uniform()
            self._blocks()
            text.end()
        return text.whole()

    def _allocate(self) -> None:
        """Memory on the stack: for calls of NumPy's loops, and for what goes from stage to stage."""
        text, count = self.text, self.piece() * (1 if self.form.rows == 1 else self.form.row)
        self.called = [text.room(kind) for kind in ("[2 x ptr]", "i64", "[2 x i64]")]
        if not self.is_single():
            self.pieces = [text.room(f"[{size * count} x i8]") for size in self.stages.sizes]

    def _uniform(self) -> None:
        for number in sorted(self.stages.uniform):
            step = self.steps[number]
            if step.name == "constant":
                continue
            if step.name == "input":
                value = self.text.load(self.data[step.extra], step.kind, 1)
            else:
                kinds = [self.steps[argument].kind for argument in step.arguments]
                value = self.text.step(step, kinds, [self._scalar(a) for a in step.arguments], 1)
            self.uniform[number] = value
            if not self.is_single():
                self.splats[number] = self.text.splat(value, step.kind, WIDTH)

    def _scalar(self, number: int) -> str:
        step = self.steps[number]
        return constant(step, 1) if step.name == "constant" else self.uniform[number]

    def _blocks(self) -> None:
        text, form = self.text, self.form
        low, high = text.share("%block", form.block, form.total)
        text.loop(low, high, self.piece(), lambda start: self._piece(start, text.least(
            text.let(f"add i64 {start}, {self.piece()}"), high)))  # fmt: skip

    def _piece(self, start: str, end: str) -> None:
        """All stages for the elements, or rows, from start to end."""
        text, form = self.text, self.form
        count = text.let(f"sub i64 {end}, {start}")
        for stage in range(max(self.stages.stage) + 2):
            if stage % 2:
                base = start if form.rows == 1 else text.let(f"mul i64 {start}, {form.row}")
                length = count if form.rows == 1 else text.let(f"mul i64 {count}, {form.row}")
                self._calls(stage, base, length)
            elif self.stages.stores(stage):
                if form.rows == 1:
                    _Body(self, stage, start, "0", {}, {}).over(count)
                else:
                    self.text.loop("0", count, 1, lambda row, stage=stage: self._row(stage, start, row))  # type: ignore[misc]

    def _row(self, stage: int, start: str, row: str) -> None:
        text, form = self.text, self.form
        number = text.let(f"add i64 {start}, {row}")
        columns = {}
        starts = {
            at: text.let(f"getelementptr i8, ptr {self.data[at]}, i64 {text.let(f'mul i64 {number}, {stride}')}")
            for at, stride in self.strides.items()
        }
        for at, step in enumerate(self.steps):
            if step.name == "input" and self.places[step.extra] == "column":
                place = self.text.at(self.data[step.extra], number, step.kind)
                columns[at] = text.splat(text.load(place, step.kind, 1), step.kind, WIDTH)
        base, inside = (text.let(f"mul i64 {each}, {form.row}") for each in (number, row))
        _Body(self, stage, base, inside, columns, starts).over(str(form.row))

    def _calls(self, stage: int, base: str, length: str) -> None:
        for number, step in enumerate(self.steps):
            if step.name == "call" and self.stages.stage[number] == stage:
                source = step.arguments[0]
                self.call(step, self._memory(source, base), self._memory(number, base), length)

    def _memory(self, number: int, base: str) -> str:
        """Where the values of a step begin, of the elements from `base` on."""
        step = self.steps[number]
        if self.stages.is_full_input(number):
            return self.text.at(self.data[step.extra], base, step.kind)
        if number in self.stages.written:
            return self.text.at(self.data[len(self.inputs) + self.stages.written[number]], base, step.kind)
        return self.pieces[self.stages.scratch[number]]

    def call(self, step: Step, source: str, target: str, length: str) -> None:
        """NumPy's own loop over so many numbers."""
        text, size = self.text, TYPES[step.kind][2]
        function, extra = loop_of(step.extra, step.kind)
        arguments, lengths, strides = self.called
        for start, values in ((arguments, (f"ptr {source}", f"ptr {target}")), (lengths, (f"i64 {length}",)),
                              (strides, (f"i64 {size}", f"i64 {size}"))):  # fmt: skip
            for place, value in enumerate(values):
                text.put(f"store {value}, ptr {text.at(start, str(place), 'int64')}, align 8")
        text.put(f"call void {pointer(function)}(ptr {arguments}, ptr {lengths}, ptr {strides}, ptr {pointer(extra)})")


class _Body:
    """What a loop does with the elements of one row, WIDTH at a time; the rest by masks."""

    def __init__(
        self, function: Function, stage: int, base: str, inside: str, columns: dict[int, str], starts: dict[int, str]
    ) -> None:
        self.function, self.stage, self.base, self.inside, self.columns = function, stage, base, inside, columns
        #: Where this row begins of the inputs that are cut.
        self.starts = starts
        self.text, self.stages = function.text, function.stages

    def over(self, count: str) -> None:
        """All elements below count."""
        text = self.text
        whole = text.let(f"and i64 {count}, {-WIDTH}")
        self.text.loop("0", whole, WIDTH, lambda at: self._elements(at, ""))
        rest, after = text.block(), text.block()
        some = text.let(f"icmp ne i64 {whole}, {count}")
        text.put(f"br i1 {some}, label %{rest}, label %{after}")
        text.begin(rest)
        mask = text.below(text.let(f"sub i64 {count}, {whole}"), WIDTH)
        self._elements(whole, mask)
        text.put(f"br label %{after}")
        text.begin(after)

    def _elements(self, at: str, mask: str) -> None:
        function, steps, stages = self.function, self.function.steps, self.stages
        whole = self.text.let(f"add i64 {self.base}, {at}")
        inside = self.text.let(f"add i64 {self.inside}, {at}")
        stores = stages.stores(self.stage)
        own = self._needed([number for number, _ in stores])
        values: dict[int, str] = {}
        for number in own:  # all that is read is read before anything is written
            step = steps[number]
            if step.name == "constant":
                values[number] = constant(step, WIDTH)
            elif number in stages.uniform:
                values[number] = function.splats[number]
            elif step.name == "input":
                values[number] = self.columns.get(number) or self._input(step, whole, at, mask)
            elif self._is_elsewhere(number):
                values[number] = self.text.load(self._place(number, whole, inside), step.kind, WIDTH, mask)
        for number in own:
            if number not in values:
                step = steps[number]
                kinds = [steps[argument].kind for argument in step.arguments]
                values[number] = self.text.step(step, kinds, [values[a] for a in step.arguments], WIDTH)
        for number, result in stores:
            kind = steps[number].kind
            if result is None:
                place = function.text.at(function.pieces[stages.scratch[number]], inside, kind)
            else:
                place = function.text.at(function.data[len(function.inputs) + result], whole, kind)
            self.text.store(values[number], place, kind, WIDTH, mask)

    def _needed(self, wanted: Sequence[int]) -> list[int]:
        """The steps that these need in this loop, in their order; those of other stages are not looked into."""
        found: set[int] = set()
        left = list(wanted)
        while left:
            number = left.pop()
            if number not in found:
                found.add(number)
                if not self.stages.is_free(number) and not self._is_elsewhere(number):
                    left += self.function.steps[number].arguments
        return sorted(found)

    def _is_elsewhere(self, number: int) -> bool:
        step = self.function.steps[number]
        return step.name == "call" or self.stages.stage[number] != self.stage

    def _input(self, step: Step, whole: str, at: str, mask: str) -> str:
        index = whole if self.function.places[step.extra] == "full" else at
        start = self.starts.get(step.extra) or self.function.data[step.extra]
        place = self.function.text.at(start, index, step.kind)
        return self.text.load(place, step.kind, WIDTH, mask)

    def _place(self, number: int, whole: str, inside: str) -> str:
        function, kind = self.function, self.function.steps[number].kind
        if number in self.stages.written:
            return function.text.at(function.data[len(function.inputs) + self.stages.written[number]], whole, kind)
        return function.text.at(function.pieces[self.stages.scratch[number]], inside, kind)


class _Single:
    """Formulas of single numbers: one step after the other."""

    def __init__(self, function: Function) -> None:
        self.function = function

    def write(self) -> None:
        function, text, values = self.function, self.function.text, dict(self.function.uniform)
        source, target = (text.let("alloca i64, align 8") for _ in range(2))
        for number, step in enumerate(function.steps):
            if number in values:
                continue
            if step.name == "constant":
                values[number] = constant(step, 1)
            elif step.name == "input":
                values[number] = text.load(function.data[step.extra], step.kind, 1)
            elif step.name == "call":
                text.store(values[step.arguments[0]], source, step.kind, 1)
                function.call(step, source, target, "1")
                values[number] = text.load(target, step.kind, 1)
            else:
                kinds = [function.steps[argument].kind for argument in step.arguments]
                values[number] = text.step(step, kinds, [values[a] for a in step.arguments], 1)
        for index, number in enumerate(function.results):
            text.store(values[number], function.data[len(function.inputs) + index], function.steps[number].kind, 1)


def loop_of(ufunc: Any, kind: str) -> tuple[int, int]:
    """The address of a ufunc's loop over numbers of a type, and what it is to be handed besides.

    It is the function that `ufunc` itself calls, in NumPy's public structure.
    """
    code = np.dtype(kind).char
    index = ufunc.types.index(f"{code}->{code}")
    start, words = id(ufunc) + object.__basicsize__ + 16, ctypes.c_void_p.from_address
    functions, extra = words(start).value or 0, words(start + 8).value or 0
    return words(functions + 8 * index).value or 0, words(extra + 8 * index).value or 0 if extra else 0


def has_loop(ufunc: Any, kind: str) -> bool:
    """Whether a ufunc has a loop for numbers of a type."""
    code = np.dtype(kind).char
    return f"{code}->{code}" in ufunc.types
