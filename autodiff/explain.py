"""explain_gradient: why a gradient is None, or on which path it flows, in words."""

from __future__ import annotations

from typing import Any

from ..graph.indexed_slices import IndexedSlices
from ..graph.ir import Graph, Operation, Tensor
from ..graph.ops.constant import Const
from ..graph.ops.placeholders import placeholder
from ..graph.variable import Variable
from .custom import Override
from .gradients import common_graph
from .reach import between
from .registry import GradientFunction, gradient_function, is_users

#: Of a longer path or list only both ends are told.
_TOLD = 20


def explain_gradient(y: Any, x: Any) -> str:
    """Why the gradient of `y` by `x` (tensors or variables) is what it is, as text for people.

    Either no path leads from x to y; or each path is cut, by which operation, for which reason, made at which line; or
    gradients would raise an error; or it is not None, and along which operations it flows. Adds nothing to the graph, and
    looks only at the operations between x and y. Raises ValueError for tensors of two graphs, TypeError for what is neither.
    """
    common_graph([y, x])
    target, source = _element(y, "y"), _element(x, "x")
    what = f"The gradient of '{target.name}' by '{source.name}'"
    if target is source:
        return f"{what} is not None: they are the same tensor."
    part = between([source], [target], any_type=True).operations
    if not part:
        return f"{what} is None: no path leads from '{source.name}' to '{target.name}'.{_hint(target, source)}"
    found = _Search(target, source, part)
    if found.errors:
        return "\n".join([f"{what} cannot be built:", *_told(found.errors)])
    if source not in found.arrived:
        return "\n".join([f"{what} is None: each path between them is cut.", *_told(found.cuts)])
    path = found.path()
    text = [f"{what} is not None. It flows back through:", *_told([_described(operation) for operation in path])]
    asked = [_described(operation) for operation in path if operation in found.assumed]
    if asked:
        text += ["unless a gradient function of the program returns None:", *_told(asked)]
    return "\n".join(text)


def _element(value: Any, which: str) -> Tensor:
    """The tensor that a value is in the graph: of a variable y its value, of a variable x its handle."""
    inside = value.values if isinstance(value, IndexedSlices) else value
    if isinstance(inside, Variable):
        inside = inside.handle if which == "x" else inside._as_graph_element()
    if not isinstance(inside, Tensor):
        raise TypeError(f"{which} must be a tensor or a variable, not {value!r}")
    return inside


class _Search:
    """A walk back from y as `gradients` takes it, that only notes where a gradient arrives."""

    def __init__(self, y: Tensor, x: Tensor, part: set[Operation]) -> None:
        self.y = y
        self.x = x
        #: For each tensor that a gradient reaches the operation that hands it on.
        self.arrived: dict[Tensor, Operation | None] = {}
        self.cuts: list[str] = []
        self.errors: list[str] = []
        #: Operations whose gradient function is a user's: it is not called, and taken to return a gradient for each input.
        self.assumed: set[Operation] = set()
        self._arrive(y, None)
        for operation in sorted(part, key=lambda operation: operation.id, reverse=True):
            if any(tensor in self.arrived for tensor in operation.outputs):
                self._visit(operation, part)

    def _arrive(self, tensor: Tensor, through: Operation | None) -> None:
        if tensor.dtype.is_trainable:
            self.arrived.setdefault(tensor, through)
            return
        who = "" if tensor is not self.x and tensor is not self.y else ("x: " if tensor is self.x else "y: ")
        cut = (
            f"{who}{_described(tensor.op)}: its result is of type {tensor.dtype.name}, and only floating-point and complex "
            "numbers have gradients"
        )
        if cut not in self.cuts:
            self.cuts.append(cut)

    def _visit(self, operation: Operation, part: set[Operation]) -> None:
        try:
            function = gradient_function(operation)
            flows = None if function is None else self._flows(operation, function)
        except LookupError as error:
            self.errors.append(f"{_described(operation)}: {error}")
            return
        if flows is None:
            self.cuts.append(f"{_described(operation)}: {_stopped(operation)}")
            return
        for index, tensor in enumerate(operation.inputs):
            if tensor is not self.x and tensor.op not in part:
                continue
            if flows[index] or not tensor.dtype.is_trainable:
                self._arrive(tensor, operation)
            else:
                self.cuts.append(f"{_described(operation)}: {_withheld(operation, index)}")

    def _flows(self, operation: Operation, function: GradientFunction) -> list[bool]:
        """Which inputs of an operation get a gradient."""
        if isinstance(function, Override):
            self.assumed.add(operation)
            return [index >= function.results for index in range(len(operation.inputs))]
        if is_users(operation):
            self.assumed.add(operation)
            return [True] * len(operation.inputs)
        return _tried(operation, function)

    def path(self) -> list[Operation]:
        """The operations from x to y that the gradient passes."""
        found = []
        operation = self.arrived[self.x]
        while operation is not None:
            found.append(operation)
            onward = next(tensor for tensor in operation.outputs if tensor in self.arrived)
            operation = self.arrived[onward]
        return found


def _tried(operation: Operation, function: GradientFunction) -> list[bool]:
    """Which inputs get a gradient from an operation's definition: found by asking it about a copy in a graph of its own."""
    with Graph().as_default() as scratch:
        copy = scratch.create(operation.definition, tuple(_stand_in(tensor, scratch) for tensor in operation.inputs))
        for tensor, like in zip(copy.outputs, operation.outputs, strict=True):
            tensor.dims, tensor.known = like.dims, like.known
        dys = [placeholder(t.dtype, t.dims) if t.dtype.is_trainable else None for t in copy.outputs]
        returned = function(copy, *dys)
    return [grad is not None for grad in (returned if isinstance(returned, (list, tuple)) else [returned])]


def _stand_in(tensor: Tensor, scratch: Graph) -> Tensor:
    if isinstance(tensor.op.definition, Const):
        return scratch.create(tensor.op.definition, ()).outputs[0]
    found = placeholder(tensor.dtype, tensor.dims)
    found.known = tensor.known
    return found


def _described(operation: Operation) -> str:
    return f"'{operation.name}' ({operation.type}), made at {operation.location}"


def _stopped(operation: Operation) -> str:
    if operation.type == "StopGradient":
        return "it stops gradients"
    name = operation.gradient_override or operation.type
    return f"operations of type {name} are not differentiable"


def _withheld(operation: Operation, index: int) -> str:
    if isinstance(operation.gradient_override, Override):
        return "the gradient goes to the arguments of the function with a custom gradient, not through the function"
    return f"its gradient function gives None for input {index}"


def _told(lines: list[str]) -> list[str]:
    """The lines indented; of many only the first and the last."""
    if len(lines) > _TOLD:
        half = _TOLD // 2
        lines = [*lines[:half], f"... and {len(lines) - _TOLD} more ...", *lines[-half:]]
    return [f"  {line}" for line in lines]


def _hint(y: Tensor, x: Tensor) -> str:
    """What may have been meant where there is no path."""
    if x.op.definition.access == "read":
        return f" '{x.name}' is one read of a variable, and y may use another: ask by the variable itself."
    if between([y], [x], any_type=True).operations:
        return f" But one leads from '{y.name}' to '{x.name}'."
    return ""
