"""inline: a function planned by the stages of any plan, to be run from within another plan's step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..graph.devices import DeviceSpec
from ..graph.function import Function
from ..graph.opdef import Spec
from .backends.kernels import Backend
from .fuse import fuse
from .lower import Draft, lower
from .order import order
from .partition import Partition, partition
from .plan import Plan
from .program import on_devices
from .tapes import inner_program

_HERE = DeviceSpec()


def plan_of(
    function: Function,
    inputs: Sequence[Spec],
    saves: Iterable[str],
    shared: frozenset[int],
    backend: Backend,
    look: Callable[[Draft], None] | None = None,
) -> tuple[Plan, list[str]]:
    """The plan of a function for inputs of which this is known, all on one device, and the entries it saves.

    The plan gives the function's outputs, then what `saves` names. They may lie in the memory of the inputs in `shared`,
    and of nothing else that changes; what is saved also in that of a variable, which a write then leaves as it is.
    `look` as for `lower`.
    """
    program, entries = inner_program(function, inputs, saves)
    program = on_devices(program, [_HERE] * len(program.nodes))
    parts = partition(program, order(program))
    part = fuse(program, parts[0], backend) if parts else Partition(str(_HERE))
    plan = lower(program, part, backend, True, shared, len(function.outputs), look)
    return plan, entries
