"""What a region does after its convolution, as text: a bias, formulas, pooling and formulas again, an image at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ....graph.ops.windows import Axis
from ..formulas import Step
from .text import Text, constant, in_memory


class Formula(NamedTuple):
    """What becomes of a number: the steps, the first of which is the number, and which of them is the result."""

    steps: tuple[Step, ...]
    result: int


class Tail(NamedTuple):
    """What follows a convolution: whether a number a channel is added; what becomes of each number; how they are pooled.

    `before` and `after`: what is done before and after pooling.
    """

    bias: bool
    before: Formula
    pool: tuple[Axis, Axis] | None
    after: Formula


class Stretch(NamedTuple):
    """Windows along an axis that hold as many places, of those from `begin` to below `end` inside the window."""

    first: int
    last: int
    begin: int
    end: int


def stretches(axis: Axis) -> list[Stretch]:
    """The windows along an axis, those together that the padding leaves as much of."""
    found: list[Stretch] = []
    for window in range(axis.out):
        start = window * axis.stride - axis.before
        begin, end = max(0, -start), min(axis.kernel, axis.size - start)
        if found and found[-1][2:] == (begin, end):
            found[-1] = found[-1]._replace(last=window + 1)
        else:
            found.append(Stretch(window, window + 1, begin, end))
    return found


def is_whole(axes: Sequence[Axis]) -> bool:
    """Whether each place of the images is in one window."""
    return all(axis.stride == axis.kernel and axis.out * axis.kernel >= axis.before + axis.size for axis in axes)


#: What is done with a window: the places inside it, each as how far it is from the corner; where the corner is in the
#: images; and where the window's own number is among those of all windows.
Window = Callable[[Sequence[int], str, str], object]


def for_windows(text: Text, axes: tuple[Axis, Axis], channels: int, window: Window) -> None:
    """All windows of an image."""
    rows, cols = axes
    for down in stretches(rows):
        for across in stretches(cols):
            places = [
                (i * cols.size + j) * channels
                for i in range(down.begin, down.end)
                for j in range(across.begin, across.end)
            ]

            def one(line: str, column: str, places: Sequence[int] = places) -> None:
                number = text.let(f"add i64 {text.let(f'mul i64 {line}, {cols.out}')}, {column}")
                top, left = (
                    text.let(f"sub i64 {text.let(f'mul i64 {at}, {axis.stride}')}, {axis.before}")
                    for at, axis in ((line, rows), (column, cols))
                )
                corner = text.let(f"add i64 {text.let(f'mul i64 {top}, {cols.size}')}, {left}")
                window(places, *(text.let(f"mul i64 {each}, {channels}") for each in (corner, number)))

            def line_of(line: str, across: Stretch = across, one: Callable[[str, str], None] = one) -> None:
                text.loop(str(across.first), str(across.last), 1, lambda column: one(line, column))

            text.loop(str(down.first), str(down.last), 1, line_of)


def for_channels(text: Text, channels: int, lanes: int, body: Callable[[str, str], object]) -> None:
    """A function of where a vector of channels begins, and the mask of those that there are, for all of them."""
    full = channels - channels % lanes
    if full:

        def vector(at: str) -> None:
            body(at, "")

        text.loop("0", str(full), lanes, vector)
    if full < channels:
        body(str(full), f"<{', '.join(f'i1 {int(n < channels - full)}' for n in range(lanes))}>")


class TailWriting:
    """A tail as it is written into a function: for images [lines, columns, channels] of some type."""

    def __init__(self, text: Text, tail: Tail, kind: str, lanes: int, dims: tuple[int, int, int]) -> None:
        self.text, self.tail, self.kind, self.lanes, self.dims = text, tail, kind, lanes, dims

    def image(self, whole: str, pooled: str, bias: str) -> None:
        """What is done with an image: where it is, and where the pooled one and the bias are."""
        tail, text = self.tail, self.text
        lines, columns, channels = self.dims
        # Where each number is in one window, it is changed when that is pooled.
        at_once = tail.pool is not None and is_whole(tail.pool)
        if not at_once and self._changes():

            def position(number: str) -> None:
                start = self._at(whole, text.let(f"mul i64 {number}, {channels}"))
                for_channels(text, channels, self.lanes, lambda at, mask: self._changed(start, at, at, mask, bias))

            text.loop("0", str(lines * columns), 1, position)
        if tail.pool is not None:

            def window(places: Sequence[int], corner: str, number: str) -> None:
                source, target = self._at(whole, corner), self._at(pooled, number)

                def some(at: str, mask: str) -> None:
                    value = self._pooled(places, source, at, mask, bias if at_once else None)
                    text.store(value, self._at(target, at), self.kind, self.lanes, mask)

                for_channels(text, channels, self.lanes, some)

            for_windows(text, tail.pool, channels, window)

    def _changes(self) -> bool:
        """Whether anything is done before pooling."""
        return self.tail.bias or len(self.tail.before.steps) > 1

    def _changed(self, start: str, place: str, channel: str, mask: str, bias: str) -> str:
        """Numbers of an image with the bias and the formula, written where they were."""
        text, kind, lanes = self.text, self.kind, self.lanes
        where = self._at(start, place)
        value = text.load(where, kind, lanes, mask)
        if not self._changes():
            return value
        if self.tail.bias:
            more = text.load(self._at(bias, channel), kind, lanes, mask)
            value = text.let(f"fadd {in_memory(kind, lanes)} {value}, {more}")
        value = self._formula(self.tail.before, value)
        text.store(value, where, kind, lanes, mask)
        return value

    def _pooled(self, places: Sequence[int], source: str, at: str, mask: str, bias: str | None) -> str:
        """The maximum of a window, with what comes after; before it, where `bias` is given, the numbers are changed."""
        text = self.text
        best = ""
        for place in places:
            offset = text.let(f"add i64 {at}, {place}")
            if bias is None:
                value = text.load(self._at(source, offset), self.kind, self.lanes, mask)
            else:
                value = self._changed(source, offset, at, mask, bias)
            best = self._larger(best, value) if best else value
        return self._formula(self.tail.after, best)

    def _larger(self, one: str, other: str) -> str:
        """As `Value.maximum` of formulas."""
        text, vector, truths = self.text, in_memory(self.kind, self.lanes), f"<{self.lanes} x i1>"
        above = text.let(f"fcmp ogt {vector} {one}, {other}")
        larger = text.let(f"select {truths} {above}, {vector} {one}, {vector} {other}")
        is_nan = text.let(f"fcmp uno {vector} {one}, {one}")
        return text.let(f"select {truths} {is_nan}, {vector} {one}, {vector} {larger}")

    def _formula(self, formula: Formula, value: str) -> str:
        values: list[str] = []
        for step in formula.steps:
            if step.name == "input":
                values.append(value)
            elif step.name == "constant":
                values.append(constant(step, self.lanes))
            else:
                kinds = [formula.steps[number].kind for number in step.arguments]
                taken = [values[number] for number in step.arguments]
                values.append(self.text.step(step, kinds, taken, self.lanes))
        return values[formula.result]

    def _at(self, start: str, index: str) -> str:
        return self.text.at(start, index, self.kind)
