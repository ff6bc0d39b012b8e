"""The first values of a loop's variables: a gradient that is taken inside of the body does not go through them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..graph.function import FunctionGraph
from ..graph.ir import Tensor
from .reach import between


def refuse_starts(level: FunctionGraph, ys: Sequence[Tensor], outside: Iterable[Tensor]) -> None:
    """Raises ValueError where a path from an x around the loop enters its body by the first value of a loop variable.

    Only the first iteration's gradient would go that way, and the body is the same for all.
    """
    if not level.starts or not ys:
        return
    around = level.outer.captures if isinstance(level.outer, FunctionGraph) else {}
    xs = {around.get(x, x) for x in outside}
    for variable, start in level.starts.items():
        enters = start in xs or bool(between(xs, [start]).operations)
        if enters and start.dtype.is_trainable and (variable in ys or between([variable], ys).operations):
            raise ValueError(
                f"Cannot compute gradient inside while loop with respect to op '{start.op.name}': it is the initial value "
                f"of a loop variable, or leads to it. In {level.context}, made at {start.op.location}, gradients go to "
                "its own arguments and to what it uses from around the loop."
            )
