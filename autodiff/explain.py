"""explain_gradient: why a gradient is None, or on which path it flows, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..graph.function import Function, FunctionGraph
from ..graph.indexed_slices import IndexedSlices
from ..graph.ir import Operation, Tensor
from ..graph.variable import Variable
from .flow import Flow, described, flows, of_other_type
from .gradients import common_graph

#: Of a longer path or list only both ends are told.
_TOLD = 20


def explain_gradient(y: Any, x: Any) -> str:
    """Why the gradient of `y` by `x` (tensors or variables) is what it is, as text for people.

    Either no path leads from x to y; or each path is cut, by which operation, in which branch or body, for which reason,
    made at which line; or gradients would raise an error; or it is not None, along which operations it flows, and in which
    branches and bodies it is 0. Adds nothing to the graph, and looks only at the operations between x and y. Raises
    ValueError for tensors of two graphs, TypeError for what is neither.
    """
    common_graph([y, x])
    target, source = _element(y, "y"), _element(x, "x")
    what = f"The gradient of '{target.name}' by '{source.name}'"
    if target is source:
        return f"{what} is not None: they are the same tensor."
    ways = flows(target, source)
    errors = [error for way in ways for error in way.errors]
    if errors:
        return "\n".join([f"{what} cannot be built:", *_told(errors)])
    if source in ways[-1].arrived:
        return "\n".join([f"{what} is not None. It flows back through:", *_passed(ways, source)])
    roles = {of_other_type(target): "y: ", of_other_type(source): "x: "}
    cuts = [roles.get(cut, "") + cut for way in ways for cut in way.cuts]
    if cuts:
        return "\n".join([f"{what} is None: each path between them is cut.", *_told(cuts)])
    return f"{what} is None: no path leads from '{source.name}' to '{target.name}'.{_hint(target, source)}"


def _element(value: Any, which: str) -> Tensor:
    """The tensor that a value is in the graph: of a variable y its value, of a variable x its handle."""
    inside = value.values if isinstance(value, IndexedSlices) else value
    if isinstance(inside, Variable):
        inside = inside.handle if which == "x" else inside._as_graph_element()
    if not isinstance(inside, Tensor):
        raise TypeError(f"{which} must be a tensor or a variable, not {value!r}")
    return inside


def _passed(ways: list[Flow], source: Tensor) -> list[str]:
    """The path from x to y, where it is 0, and what was taken for granted."""
    path: list[Operation] = []
    zeros: dict[Function, Flow] = {}
    tensor = source
    for way in reversed(ways):
        passed, tensor = way.path(way.captured.get(tensor, tensor), zeros)
        path += passed
    text = _told(described(operation) for operation in path)
    assumed = {operation for way in ways for operation in way.assumed}
    asked = [described(operation) for operation in path if operation in assumed]
    if asked:
        text += ["unless a gradient function of the program returns None:", *_told(asked)]
    for function, flow in zeros.items():
        text += [f"It is 0 where {function.name} runs{':' if flow.cuts else '.'}", *_told(flow.cuts)]
    return text


def _told(told: Iterable[str]) -> list[str]:
    """The lines indented; of many only the first and the last."""
    lines = list(told)
    if len(lines) > _TOLD:
        half = _TOLD // 2
        lines = [*lines[:half], f"... and {len(lines) - _TOLD} more ...", *lines[-half:]]
    return [f"  {line}" for line in lines]


def _hint(y: Tensor, x: Tensor) -> str:
    """What may have been meant where there is no path."""
    if isinstance(x.graph, FunctionGraph) and not y.graph.reaches(x.graph):
        return f" '{x.name}' is made in {x.graph.context}, which hands '{y.name}' none of it: ask inside of it."
    if x.op.definition.access == "read":
        return f" '{x.name}' is one read of a variable, and y may use another: ask by the variable itself."
    if x.graph.reaches(y.graph) and flows(x, y)[-1].part:
        return f" But one leads from '{y.name}' to '{x.name}'."
    return ""
