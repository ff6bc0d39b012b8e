"""What a backend is: for each operation a kernel, and what the plan needs to know of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from ..graph.opdef import OpDef, Spec
from ..graph.record import Record, record
from ..graph.state import OpState
from .memory.workspace import Workspace


@record
class Kernel(Record):
    """A function of the inputs' arrays that gives the output (a tuple for several).

    `takes_out`: it may be given the array to write the result into, as `out` (for several results a tuple, with None
    for those that it makes itself). `strided`: the result does not depend on how the inputs lie in memory, so that they
    need not be row-major. `exact`: that too, and the output may take the place of an input: elementwise arithmetic.
    `may_replace`: for each result of another kernel, the inputs, by number, whose place it may take. `needs_state`: its
    first argument is the operation's OpState. `bind`: makes the function for an OpState, once a plan, where that is
    worth doing before the first call. `elementwise`: an element of the result depends on the same element of each input
    alone, inputs broadcast as NumPy's do, so that any part may be computed by itself. `in_frame`: makes the function for
    runs that do not overlap, with memory for what it computes on the way. `scalar`: where inputs and output are single
    numbers, a Python expression that computes the same of NumPy's scalars (`{0}` the first input), and what `{k}` is in it.
    `in_rows`: what makes one number of each row of a matrix, into the vector `out`, as the kernel does along the last axis.
    `meets`: it meets others of other devices: its first two arguments are the step's `send` and `receive`, and it gives a
    tuple, whatever the number of results. `moves`: it changes variables, and leaves their new values in their `spare` memory
    where they have any. `guarded`: as `in_frame`, for variables without spare memory: this function sees to it by itself that
    nobody else is at them while it changes them.
    """

    function: Callable[..., Any]
    takes_out: bool = False
    exact: bool = False
    may_replace: tuple[tuple[int, ...], ...] = ()
    needs_state: bool = False
    bind: Callable[[OpState], Callable[..., Any]] | None = None
    elementwise: bool = False
    strided: bool = False
    in_frame: Callable[[Workspace], Callable[..., Any]] | None = None
    scalar: tuple[str, Any] | None = None
    in_rows: Callable[[Any, Any], Any] | None = None
    meets: bool = False
    moves: bool = False
    guarded: Callable[[Workspace], Callable[..., Any]] | None = None


class Backend(Protocol):
    """The kernels of a kind of device."""

    #: The device type it serves, as in `/device:CPU:0`.
    device_type: str

    def kernel(self, definition: OpDef, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel | None:
        """The kernel of an operation for these types and shapes, or None when this backend has none."""
        ...


@runtime_checkable
class CompilingBackend(Backend, Protocol):
    """A backend that compiles elementwise operations, so that small ones are worth putting into one region, too."""

    def layouts(self, definition: OpDef, inputs: tuple[Spec, ...], output: Spec) -> frozenset[int]:
        """How it can compile an operation on such values, if at all: see `layouts.layouts`."""
        ...

    def check(self, plan: Any) -> None:
        """Look at a plan that came from elsewhere. Raises ValueError where shapes that code would go by are not those of what it
        computes."""
        ...

    def note(self, plan: Any, place: str = "") -> list[str]:
        """What of a plan it compiles, as lines for people; `place`: where, if not in this process."""
        ...
