"""inline: a function compiled by the stages of any plan, to be called from within another plan's step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..graph.devices import DeviceSpec
from ..graph.function import Function
from ..graph.opdef import Spec
from ..graph.state import State
from .backends.kernels import Backend
from .compile import CompiledPlan
from .fuse import fuse
from .lower import lower
from .order import order
from .partition import Partition, partition
from .program import on_devices
from .tapes import inner_program
from .waits import part_waits

_HERE = DeviceSpec()


def compile_function(
    function: Function,
    inputs: Sequence[Spec],
    saves: Iterable[str],
    shared: frozenset[int],
    backend: Backend,
    state: State,
    arrays: bool = True,
) -> tuple[CompiledPlan, list[str]]:
    """The plan of a function for inputs of which this is known, all on one device, and the entries it saves.

    The plan gives the function's outputs, then what `saves` names. They may lie in the memory of the inputs in `shared`,
    and of nothing else that changes; what is saved also in that of a variable, which a write then leaves as it is.
    `arrays` as for CompiledPlan.
    """
    program, entries = inner_program(function, inputs, saves)
    program = part_waits(program)
    program = on_devices(program, [_HERE] * len(program.nodes))
    parts = partition(program, order(program))
    part = fuse(program, parts[0], backend) if parts else Partition(str(_HERE))
    plan = lower(program, part, backend, sends_by_reference=True, shared=shared, kept=len(function.outputs))
    return CompiledPlan(plan, backend, state, arrays), entries
