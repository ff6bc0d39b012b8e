"""Stages: which steps of a formula are computed in one loop, and what lies in memory between the loops and NumPy's functions.

Loops and calls of NumPy's functions take turns on a piece of the values that stays in the nearest cache: stages with even
numbers are loops, those with odd ones calls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..formulas import Step
from .text import TYPES


@dataclass(slots=True)
class Stages:
    """The stage of each step, and where the values are that another stage takes.

    `places`: how each input lies in memory: "full" (as the results), "cut" (so, but its rows lie apart), "row", "column",
    "one".
    """

    steps: Sequence[Step]
    places: Sequence[str]
    results: Sequence[int]
    stage: list[int] = field(default_factory=list)
    #: The steps whose values are the same for all elements.
    uniform: set[int] = field(default_factory=set)
    #: For each result that a call writes in place, the result; for all others that cross, their place in scratch memory.
    written: dict[int, int] = field(default_factory=dict)
    scratch: dict[int, int] = field(default_factory=dict)
    #: How many bytes an element each piece of scratch memory has.
    sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, step in enumerate(self.steps):
            if self._is_uniform(step):
                self.uniform.add(number)
            self.stage.append(self._stage(step))
        self._place()

    def _is_uniform(self, step: Step) -> bool:
        if step.name in ("constant", "input"):
            return step.name == "constant" or self.places[step.extra] == "one"
        return step.name != "call" and self.uniform.issuperset(step.arguments)

    def _stage(self, step: Step) -> int:
        if step.name == "call":
            argument = step.arguments[0]
            after = self.stage[argument]
            return after if after % 2 else after + (0 if self.is_full_input(argument) else 1) or 1
        stages = [self.stage[argument] for argument in step.arguments]
        return max([0, *(stage + stage % 2 for stage in stages)])

    def is_full_input(self, number: int) -> bool:
        """Whether a step's value lies in memory as the results do from the start."""
        step = self.steps[number]
        return step.name == "input" and self.places[step.extra] == "full"

    def is_free(self, number: int) -> bool:
        """Whether a value is at hand in any loop: an input, or the same for all elements."""
        return number in self.uniform or self.steps[number].name == "input"

    def last_uses(self) -> dict[int, int]:
        """For each step, the last stage that takes its value from memory: not the one that makes it, but for calls."""
        last: dict[int, int] = {}
        for number, step in enumerate(self.steps):
            if number in self.uniform:
                continue
            for argument in step.arguments:
                made = self.stage[argument]
                if step.name == "call" or (not self.is_free(argument) and made != self.stage[number]):
                    last[argument] = max(last.get(argument, 0), self.stage[number])
        for number in self.results:
            if self.steps[number].name == "call":  # copied, where it is another result, too
                last[number] = max(last.get(number, 0), self.stage[number] + 1)
        return last

    def _place(self) -> None:
        for index, number in enumerate(self.results):
            if number not in self.written and number not in self.uniform and self.steps[number].name != "input":
                self.written[number] = index
        last = self.last_uses()
        ending: dict[int, list[int]] = defaultdict(list)
        free: dict[int, list[int]] = defaultdict(list)
        order = sorted((self.stage[n], n) for n in last if n not in self.written and not self.is_full_input(n))
        for stage, number in order:
            for each in [each for each in ending if each < stage]:
                for done in ending.pop(each):
                    free[TYPES[self.steps[done].kind][2]].append(self.scratch[done])
            size = TYPES[self.steps[number].kind][2]
            if not free[size]:
                free[size].append(len(self.sizes))
                self.sizes.append(size)
            self.scratch[number] = free[size].pop()
            ending[last[number]].append(number)

    def stores(self, stage: int) -> list[tuple[int, int | None]]:
        """What a loop puts into memory: steps, each with a result's number, or None for scratch memory."""
        found: list[tuple[int, int | None]] = []
        for index, number in enumerate(self.results):
            call = self.steps[number].name == "call"
            if self.stage[number] + call == stage and not (call and self.written[number] == index):
                found.append((number, index))
        found += [(n, None) for n in self.scratch if self.stage[n] == stage and self.steps[n].name != "call"]
        return found

    def last_read(self, number: int) -> int:
        """The last stage that reads an input, by its number."""
        takers = [
            self.stage[at]
            for at, step in enumerate(self.steps)
            if any(self.steps[a].name == "input" and self.steps[a].extra == number for a in step.arguments)
        ]
        stored = [
            self.stage[n] for n in self.results if self.steps[n].name == "input" and self.steps[n].extra == number
        ]
        return max([-1, *takers, *stored])
