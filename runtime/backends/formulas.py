"""Formulas: elementwise arithmetic written down as a list of steps on numbers, which a compiler turns into code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

#: The types of numbers that formulas know, by NumPy's name, and whether they are floats.
KINDS = {"float32": True, "float64": True, "int32": False, "int64": False, "bool": False}


class UnfitError(Exception):
    """A formula does not hold for numbers of such a type."""


class Step(NamedTuple):
    """One step: what is done with the values of which steps, and the type of its own value.

    `name`: "input" (`extra`: its number), "constant" (its value), "call" (NumPy's ufunc), or what is done.
    """

    name: str
    arguments: tuple[int, ...]
    kind: str
    extra: Any = None


class Recorder:
    """The steps so far. What was written down before is not written down again."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._known: dict[Any, int] = {}

    def step(self, name: str, arguments: Sequence[Value], kind: str, extra: Any = None) -> Value:
        """The value of a step."""
        step = Step(name, tuple([value.number for value in arguments]), kind, extra)
        key = (*step[:3], repr(extra) if name == "constant" else extra)
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self.steps)
            self.steps.append(step)
        return Value(self, number, kind)


class Value:
    """The value of a step, with which formulas are written."""

    __slots__ = ("kind", "number", "recorder")

    def __init__(self, recorder: Recorder, number: int, kind: str) -> None:
        self.recorder, self.number, self.kind = recorder, number, kind

    def do(self, name: str, *others: Value, kind: str = "", kinds: str = "fi", extra: Any = None) -> Value:
        """A step on values of one type: of floats ("f"), integers ("i") or bools ("b")."""
        own = "f" if KINDS[self.kind] else "b" if self.kind == "bool" else "i"
        if own not in kinds or any(other.kind != self.kind for other in others):
            raise UnfitError
        return self.recorder.step(name, (self, *others), kind or self.kind, extra)

    def constant(self, number: float) -> Value:
        """A number of this value's type."""
        if self.kind == "bool":
            raise UnfitError
        return self.recorder.step("constant", (), self.kind, float(number) if KINDS[self.kind] else int(number))

    def __add__(self, other: Value) -> Value:
        return self.do("add", other)

    def __sub__(self, other: Value) -> Value:
        return self.do("sub", other)

    def __rsub__(self, number: float) -> Value:
        return self.constant(number) - self

    def __mul__(self, other: Value) -> Value:
        return self.do("mul", other)

    def __truediv__(self, other: Value) -> Value:
        return self.do("div", other, kinds="f")

    def __neg__(self) -> Value:
        return self.do("neg")

    def __lt__(self, other: Value) -> Value:
        return self.do("lt", other, kind="bool")

    def __le__(self, other: Value) -> Value:
        return self.do("le", other, kind="bool")

    def __gt__(self, other: Value) -> Value:
        return self.do("gt", other, kind="bool")

    def __ge__(self, other: Value) -> Value:
        return self.do("ge", other, kind="bool")

    def equals(self, other: Value) -> Value:
        return self.do("eq", other, kind="bool")

    def differs(self, other: Value) -> Value:
        return self.do("ne", other, kind="bool")

    def sqrt(self) -> Value:
        return self.do("sqrt", kinds="f")

    def choose(self, x: Value, y: Value) -> Value:
        """x where this holds, else y."""
        if self.kind != "bool" or x.kind != y.kind:
            raise UnfitError
        return self.recorder.step("select", (self, x, y), x.kind)

    def keep(self, x: Value) -> Value:
        """x where this holds, else 0."""
        return self.choose(x, x.constant(0))

    def maximum(self, other: Value) -> Value:
        """The larger of both; of a nan and a number the nan, of two zeros the second, as the processor's own instruction."""
        larger = (self > other).choose(self, other)
        return self.differs(self).choose(self, larger) if KINDS[self.kind] else larger

    def minimum(self, other: Value) -> Value:
        smaller = (self < other).choose(self, other)
        return self.differs(self).choose(self, smaller) if KINDS[self.kind] else smaller

    def sign(self) -> Value:
        zero, one = self.constant(0), self.constant(1)
        return (self > zero).choose(one, (self < zero).choose(-one, self.equals(zero).choose(zero, self)))

    def cast(self, kind: str) -> Value:
        """As a number of another type; not from floats to integers, which have no value for all of them."""
        if self.kind == kind:
            return self
        if kind == "bool" or (KINDS[self.kind] and not KINDS[kind]):
            raise UnfitError
        return self.recorder.step("cast", (self,), kind)

    def call(self, ufunc: Any) -> Value:
        """NumPy's own function of this."""
        if not KINDS[self.kind]:
            raise UnfitError
        return self.recorder.step("call", (self,), self.kind, ufunc)


Formula = Callable[..., Value]
