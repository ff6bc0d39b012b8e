"""parts: what one device runs of a branch or a loop that spans several devices. The parts meet inside, by sends and receives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...graph.opdef import OpDef, Spec
from ...graph.record import record
from .plan import Instruction, Plan, Run

#: How many iterations a device may be ahead of one that it never hears from in an iteration.
AHEAD = 10
#: What the plans are called that run once.
_ONCE = ("before the first condition", "in the first iteration")


class DevicePart(OpDef):
    """A device's part. Its plans send and receive on edges of their own, each again in every iteration."""

    __slots__ = ()
    stateful = True
    #: For each input, what is done to the variable whose handle it is.
    accesses: tuple[str, ...]
    #: Of the results.
    specs: tuple[Spec, ...]
    #: Whether the last result is the tape of what this device has.
    records: bool

    @property
    def plans(self) -> tuple[tuple[str, Plan], ...]:
        """What it runs, and what that is called."""
        raise NotImplementedError

    @property
    def once(self) -> tuple[Plan, ...]:
        """Those of its plans that run once, however many iterations there are."""
        return ()

    def access_of(self, index: int) -> str:
        return self.accesses[index]

    def infer(self, *inputs: Any) -> tuple[Spec, ...]:
        return self.specs

    def lines(self, inputs: Sequence[int]) -> list[str]:
        """Its plans, for people."""
        found = []
        for name, plan in self.plans:
            if not plan.instructions:
                continue
            found.append(f"{name}:")
            found += [
                f"  {line}" for each in plan.instructions for line in str(each).replace("\n      ", "\n  ").split("\n")
            ]
        return found


@record
class IfPart(DevicePart):
    """Runs one of two plans, as the first input says.

    `feeds`: for each other input, which feed of the plans it is. Both plans give the results, and then their own `entries`
    of the tape.
    """

    then: Plan
    orelse: Plan
    feeds: tuple[int, ...]
    entries: tuple[tuple[str, ...], tuple[str, ...]]
    records: bool
    accesses: tuple[str, ...]
    specs: tuple[Spec, ...]
    type = "IfPart"

    @property
    def plans(self) -> tuple[tuple[str, Plan], ...]:
        return ("then", self.then), ("else", self.orelse)


@record
class WhilePart(DevicePart):
    """Runs `body` while `condition`, which gives the predicate on every device, gives true.

    `feeds`: for each input, which feed of the plans it is, of `count` of them. The body gives the next values of the loop
    variables in `following`, and then `entries` of the tape; `results` are those that the part gives in the end. `waits`:
    edges on which devices say that they have done an iteration, at most AHEAD iterations late; `tells`: the edge and the
    device to say so to.

    `before` runs first of all, and `first` in the first iteration before `body`: they give what is the same in all
    iterations, which are the feeds `given`. `starts`: edges to the devices that have a part in `first` and no other, on
    which they are told whether there is an iteration.
    """

    condition: Plan
    body: Plan
    before: Plan
    first: Plan
    given: tuple[tuple[int, ...], tuple[int, ...]]
    starts: tuple[tuple[int, str], ...]
    feeds: tuple[int, ...]
    count: int
    following: tuple[int, ...]
    results: tuple[int, ...]
    entries: tuple[str, ...]
    records: bool
    waits: tuple[int, ...]
    tells: tuple[int, str] | None
    accesses: tuple[str, ...]
    specs: tuple[Spec, ...]
    type = "WhilePart"

    @property
    def plans(self) -> tuple[tuple[str, Plan], ...]:
        return *zip(_ONCE, self.once, strict=True), ("condition", self.condition), ("body", self.body)

    @property
    def once(self) -> tuple[Plan, ...]:
        return self.before, self.first


@record
class OncePart(DevicePart):
    """The part of a device that has nothing to do in a While but what is the same in all iterations.

    It runs `before`, and `first` when it is told, on the edge `start` from a device, that there is an iteration. It gives
    nothing: what it computes is for the other parts. `feeds`: for each input, which feed of the plans it is, of `count` of them.
    """

    before: Plan
    first: Plan
    start: tuple[int, str] | None
    feeds: tuple[int, ...]
    count: int
    accesses: tuple[str, ...]
    specs: tuple[Spec, ...] = ()
    records: bool = False
    type = "OncePart"

    @property
    def plans(self) -> tuple[tuple[str, Plan], ...]:
        return tuple(zip(_ONCE, self.once, strict=True))

    @property
    def once(self) -> tuple[Plan, ...]:
        return self.before, self.first


def all_instructions(instructions: Sequence[Instruction]) -> Iterator[Instruction]:
    """The instructions of a plan, and those inside of its parts of branches and loops."""
    for instruction in instructions:
        yield instruction
        if isinstance(instruction, Run) and isinstance(instruction.definition, DevicePart):
            for _, plan in instruction.definition.plans:
                yield from all_instructions(plan.instructions)
