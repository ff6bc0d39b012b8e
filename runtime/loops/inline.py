"""inline: functions planned by the stages of any plan, to be run from within another plan's step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ...graph.devices import DeviceSpec
from ...graph.function import Function
from ...graph.opdef import Spec
from ..kernels import Backend
from ..regions.fuse import fuse
from ..stages.lower import Draft, lower
from ..stages.order import order
from ..stages.partition import Partition, partition
from ..stages.plan import Plan
from ..stages.program import Program, on_devices
from ..stages.tapes import inner_program
from ..stages.waits import part_waits
from .hoist import hoisted
from .numbers import loosened

_HERE = DeviceSpec()


class Step(NamedTuple):
    """The plan of a condition or a body.

    `first`: what is the same in each iteration, to be run in the first one; it gives the feeds `given` of `plan`.
    """

    plan: Plan
    first: Plan | None = None
    given: tuple[int, ...] = ()


def plan_of(
    function: Function, inputs: Sequence[Spec], saves: Iterable[str], shared: frozenset[int], backend: Backend
) -> tuple[Plan, list[str]]:
    """The plan of a function for inputs of which this is known, all on one device, and the entries it saves.

    The plan gives the function's outputs, then what `saves` names. They may lie in the memory of the inputs in `shared`,
    and of nothing else that changes; what is saved also in that of a variable, which a write then leaves as it is.
    """
    program, entries = inner_program(function, inputs, saves)
    return _planned(part_waits(program), shared, backend, len(function.outputs)), entries


def step_of(
    function: Function,
    inputs: Sequence[Spec],
    saves: Iterable[str],
    shared: frozenset[int],
    backend: Backend,
    fixed: frozenset[int],
    number: int,
    look: Callable[[Draft], None] | None = None,
) -> tuple[Step, list[str]]:
    """As `plan_of`, of a function that is run again and again, while the inputs in `fixed` stay the same.

    What need not be computed again is fed from number `number` on. `look` as for `lower`. The plans have single numbers
    computed one by one, for whoever writes them as statements.
    """
    program, entries = inner_program(function, inputs, saves)
    program = part_waits(program)
    kept = len(function.outputs)
    parts = hoisted(program, fixed, number)
    if parts is None:
        return Step(loosened(_planned(program, shared, backend, kept, look))), entries
    first, rest = parts
    given = tuple(range(number, number + len(first.fetches)))
    once = loosened(_planned(first, frozenset(), backend, len(given)))
    return Step(loosened(_planned(rest, shared.union(given), backend, kept, look)), once, given), entries


def _planned(
    program: Program,
    shared: frozenset[int],
    backend: Backend,
    kept: int,
    look: Callable[[Draft], None] | None = None,
) -> Plan:
    program = on_devices(program, [_HERE] * len(program.nodes))
    parts = partition(program, order(program))
    part = fuse(program, parts[0], backend) if parts else Partition(str(_HERE))
    return lower(program, part, backend, True, shared, kept, look)
