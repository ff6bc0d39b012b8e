"""Nodes that call functions: TensorFlow's If, While, Case and PartitionedCall, built as weft's branches and loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..dtypes import variant
from ..ir import Tensor
from ..ops.conditions import cond, switch_case
from ..ops.loops import while_loop
from ..shapes import Dims, TensorShape
from .attributes import FunctionName
from .library import Library
from .rows import Node

#: Attributes of a loop that weft wrote: how many of its inputs are loop variables, and whether it has a gradient.
LOOP_VARIABLES, BACK_PROP = "_loop_variables", "_back_prop"

#: Builds the results of a function, by its name, of these arguments, in the default graph.
Call = Callable[[str, Sequence[Tensor]], list[Tensor]]


class _Grown(Exception):
    """The body of a loop gives variables of other shapes than it was built for: these hold for both."""

    def __init__(self, dims: list[Dims]) -> None:
        super().__init__(dims)
        self.dims = dims


def grown_loop(
    goes_on: Callable[..., Tensor],
    body: Callable[..., Sequence[Tensor]],
    start: Sequence[Tensor],
    name: str,
    back_prop: bool = True,
) -> list[Tensor]:
    """A while loop whose variables may change their shapes: it is built for those they begin with, then for wider ones."""
    dims = [tensor.dims for tensor in start]

    def step(*variables: Tensor) -> list[Tensor]:
        after = list(body(*variables))
        wider = [
            mine if tensor.dtype is variant else _both(mine, tensor.dims)
            for mine, tensor in zip(dims, after, strict=True)
        ]
        if wider != dims:
            raise _Grown(wider)
        return after

    while True:
        try:
            invariants = [TensorShape(each) for each in dims]
            return list(
                while_loop(goes_on, step, list(start), invariants, 10, back_prop, name=name, return_same_structure=True)
            )
        except _Grown as grown:
            dims = grown.dims


def _both(one: Dims, other: Dims) -> Dims:
    """The shape that holds for values of both shapes."""
    if one is None or other is None or len(one) != len(other):
        return None
    return tuple(a if a == b else None for a, b in zip(one, other, strict=True))


def _function(node: Node, name: str) -> str:
    value = node.attrs.get(name)
    if not isinstance(value, FunctionName):
        raise ValueError(f"attr '{name}' must be a function")
    return value


def _if(node: Node, call: Call, library: Library) -> list[Tensor]:
    predicate, *arguments = node.inputs
    then, orelse = (partial(call, _function(node, name), arguments) for name in ("then_branch", "else_branch"))
    return list(cond(predicate, then, orelse, True, f"{node.name}/"))


def _while(node: Node, call: Call, library: Library) -> list[Tensor]:
    """What the body only hands on, a variable's handle among it, is no loop variable but used from around."""
    condition, body = _function(node, "cond"), _function(node, "body")
    results: list[Tensor] = list(node.inputs)
    moving, back_prop = _moving(node, library.handed_on(body)), node.attrs.get(BACK_PROP) is not False

    def arguments(variables: Sequence[Tensor]) -> list[Tensor]:
        now = list(node.inputs)
        for at, tensor in zip(moving, variables, strict=True):
            now[at] = tensor
        return now

    def goes_on(*variables: Tensor) -> Tensor:
        return call(condition, arguments(variables))[0]

    def step(*variables: Tensor) -> list[Tensor]:
        after = call(body, arguments(variables))
        return [after[at] for at in moving]

    found = grown_loop(goes_on, step, [results[at] for at in moving], f"{node.name}/", back_prop)
    for at, tensor in zip(moving, found, strict=True):
        results[at] = tensor
    return results


def _moving(node: Node, handed_on: set[int]) -> list[int]:
    """The places of the loop variables among the inputs."""
    every = list(range(len(node.inputs)))
    told = node.attrs.get(LOOP_VARIABLES)
    if isinstance(told, int) and 0 < told <= len(every) and handed_on.issuperset(every[told:]):
        return every[:told]
    return [at for at in every if at not in handed_on] or every


def _case(node: Node, call: Call, library: Library) -> list[Tensor]:
    index, *arguments = node.inputs
    branches = node.attrs.get("branches")
    if not isinstance(branches, tuple) or not all(isinstance(branch, FunctionName) for branch in branches):
        raise ValueError("attr 'branches' must be a list of functions")
    return list(switch_case(index, [partial(call, branch, arguments) for branch in branches]))


def _call(node: Node, call: Call, library: Library) -> list[Tensor]:
    return call(_function(node, "f"), node.inputs)


#: By node type.
CALLS: dict[str, Any] = {
    "If": _if,
    "StatelessIf": _if,
    "While": _while,
    "StatelessWhile": _while,
    "Case": _case,
    "StatelessCase": _case,
    "PartitionedCall": _call,
    "StatefulPartitionedCall": _call,
}
