"""Where a gradient would arrive on its way back, and which operations cut it: the walk of `gradients`, building nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..graph.dtypes import resource
from ..graph.function import Function, FunctionGraph, functions_of
from ..graph.ir import Graph, Operation, Tensor
from ..graph.ops.branching import If
from ..graph.ops.constant import Const
from ..graph.ops.looping import While
from ..graph.ops.placeholders import placeholder
from ..graph.ops.tapes import below, heads
from .custom import Override
from .reach import between
from .registry import GradientFunction, gradient_function, is_users
from .repeat import standing
from .starts import refuse_starts

#: Of a gradient: the entries that it holds if it is a tape, else nothing.
Entries = tuple[str, ...]


class _Arrival(NamedTuple):
    """A gradient at a tensor: the operation that hands it on (None where the walk started), and its entries."""

    through: Operation | None
    entries: Entries


class Flow:
    """The way back through one graph, from the tensors in `starts` to those in `ends`; functions inside are walked too."""

    def __init__(self, starts: Mapping[Tensor, Entries], ends: Iterable[Tensor]) -> None:
        self.ends = frozenset(ends)
        self.repeats = standing(next(iter(starts)).graph, self.ends) if starts else {}
        starts = {self.repeats.get(tensor, tensor): entries for tensor, entries in starts.items()}
        self.part = between(self.ends, list(starts), any_type=True, repeats=self.repeats).operations
        self.arrived: dict[Tensor, _Arrival] = {}
        #: A line for each operation that keeps a gradient from one of its inputs; and for each that cannot be asked.
        self.cuts: dict[str, None] = {}
        self.errors: dict[str, None] = {}
        #: Operations whose gradient function is a user's: it is not called, and taken to return a gradient for each input.
        self.assumed: set[Operation] = set()
        #: The ways back through the functions of an operation.
        self.inside: dict[Operation, list[tuple[Function, Flow]]] = {}
        #: In a function that is being built: what it captures of the tensors around it, and its own tensor for each.
        self.captured: dict[Tensor, Tensor] = {}
        for tensor, entries in starts.items():
            if tensor in self.ends or tensor.op in self.part:
                self._arrive(tensor, None, entries)
        for operation in sorted(self.part, key=lambda operation: operation.id, reverse=True):
            if any(tensor in self.arrived for tensor in operation.outputs):
                self._visit(operation)

    def _arrive(self, tensor: Tensor, through: Operation | None, entries: Entries) -> None:
        if not tensor.dtype.is_trainable:
            self.cuts[of_other_type(tensor)] = None
            return
        before = self.arrived.get(tensor, _Arrival(through, ()))
        self.arrived[tensor] = before._replace(entries=_union(before.entries, entries))

    def _visit(self, operation: Operation) -> None:
        try:
            function = gradient_function(operation)
            found = None if function is None else self._passed(operation, function)
        except LookupError as error:
            self.errors[f"{described(operation)}: {error}"] = None
            return
        if found is None:
            self.cuts[f"{described(operation)}: {_stopped(operation)}"] = None
            return
        for index in self._wanted(operation):
            tensor, entries = self._inputs(operation)[index], found[index]
            if entries is not None or not tensor.dtype.is_trainable:
                self._arrive(tensor, operation, entries or ())
            else:
                self._note_withheld(operation, index)

    def _wanted(self, operation: Operation) -> list[int]:
        """Which inputs lead on to an end."""
        inputs = enumerate(self._inputs(operation))
        return [index for index, tensor in inputs if tensor in self.ends or tensor.op in self.part]

    def _inputs(self, operation: Operation) -> list[Tensor]:
        """What an operation takes; of what recomputing repeated, what that repeats."""
        return [self.repeats.get(tensor, tensor) for tensor in operation.inputs]

    def _passed(self, operation: Operation, function: GradientFunction) -> Sequence[Entries | None] | None:
        """For each input the entries of the gradient that it gets, or None; None altogether where gradients stop."""
        if isinstance(function, Override):
            self.assumed.add(operation)
            return [() if index >= function.results else None for index in range(len(operation.inputs))]
        if is_users(operation):
            self.assumed.add(operation)
            return [()] * len(operation.inputs)
        arrived = {tensor: self.arrived[tensor].entries for tensor in operation.outputs if tensor in self.arrived}
        definition = operation.definition
        if isinstance(definition, If):
            return self._through_branches(operation, definition, arrived)
        if isinstance(definition, While):
            return self._through_loop(operation, definition, arrived) if definition.back_prop else None
        return _tried(operation, function, arrived)

    def _through_branches(
        self, operation: Operation, definition: If, arrived: Mapping[Tensor, Entries]
    ) -> list[Entries | None]:
        """An input gets a gradient if it does in one branch or the other."""
        found: list[Entries | None] = [None] * len(operation.inputs)
        wanted = [index for index in self._wanted(operation) if index]
        for function in (definition.then, definition.orelse):
            starts = _starts(function, operation, arrived)
            flow = self._within(operation, function, Flow(starts, [function.inputs[index - 1] for index in wanted]))
            for index in wanted:
                arrival = flow.arrived.get(function.inputs[index - 1])
                if arrival is not None:
                    found[index] = _union(found[index] or (), arrival.entries)
        return found

    def _through_loop(
        self, operation: Operation, definition: While, arrived: Mapping[Tensor, Entries]
    ) -> list[Entries | None]:
        """A variable whose last value has a gradient carries one back to its first; others get theirs in the body."""
        body, count = definition.body, definition.count
        starts = _starts(body, operation, arrived)
        ends = _depending(body, [body.inputs[index] for index in self._wanted(operation)])
        carried = {at: arrived[tensor] for at, tensor in enumerate(operation.outputs[:count]) if tensor in arrived}
        while True:
            flow = Flow(starts, ends)
            grown = dict(carried)
            for at in range(count):
                arrival = flow.arrived.get(body.inputs[at])
                if arrival is not None and body.inputs[at].dtype is not resource:
                    grown[at] = _union(grown.get(at, ()), arrival.entries)
            if grown == carried:
                break
            carried = grown
            for at, entries in carried.items():
                starts[body.outputs[at]] = _union(starts.get(body.outputs[at], ()), entries)
        self._within(operation, body, flow)
        found = [None if arrival is None else arrival.entries for arrival in map(flow.arrived.get, body.inputs)]
        return [carried.get(at, entries) for at, entries in enumerate(found)]

    def _within(self, operation: Operation, function: Function, flow: Flow) -> Flow:
        """Take up what was found in a function."""
        self.inside.setdefault(operation, []).append((function, flow))
        self.cuts |= flow.cuts
        self.errors |= flow.errors
        self.assumed |= flow.assumed
        return flow

    def _note_withheld(self, operation: Operation, index: int) -> None:
        flows = [flow for _, flow in self.inside.get(operation, ())]
        if any(flow.cuts or flow.errors for flow in flows):
            return  # told already, by the operations inside
        self.cuts[f"{described(operation)}: {_withheld(operation, index)}"] = None

    def path(self, tensor: Tensor, zeros: dict[Function, Flow]) -> tuple[list[Operation], Tensor]:
        """The operations that the gradient passes on its way to `tensor`, those next to it first; and where it started.

        Adds to `zeros` the functions on the way through which nothing comes, so that zeros stand for it.
        """
        found: list[Operation] = []
        operation = self.arrived[tensor].through
        while operation is not None:
            found.append(operation)
            onward = next(output for output in operation.outputs if output in self.arrived)
            for function, flow in self.inside.get(operation, ()):
                offset = len(operation.inputs) - len(function.inputs)
                places = (at - offset for at, given in enumerate(operation.inputs) if given is tensor and at >= offset)
                argument = next((function.inputs[at] for at in places if function.inputs[at] in flow.arrived), None)
                if argument is None:
                    zeros[function] = flow
                    continue
                passed, onward = self._path_inside(operation, function, flow, argument, onward, zeros)
                found += passed
            tensor = onward
            operation = self.arrived[tensor].through
        return found, tensor

    def _path_inside(
        self, operation: Operation, function: Function, flow: Flow, argument: Tensor, onward: Tensor,
        zeros: dict[Function, Flow],
    ) -> tuple[list[Operation], Tensor]:  # fmt: skip
        """The way through a function, of a loop's body as often as needed, and the result of the operation it came from."""
        found: list[Operation] = []
        seen: set[Tensor] = set()
        following: Tensor | None = argument
        while following is not None and following not in seen:
            seen.add(following)
            passed, end = flow.path(following, zeros)
            found += passed
            if end not in function.outputs:
                return found, operation.outputs[-1] if operation.outputs[-1] in self.arrived else onward
            places = [at for at, tensor in enumerate(function.outputs) if tensor is end]
            for at in places:
                if operation.outputs[at] in self.arrived:
                    return found, operation.outputs[at]
            following = next((function.inputs[at] for at in places if function.inputs[at] in flow.arrived), None)
        return found, onward


def flows(y: Tensor, x: Tensor) -> list[Flow]:
    """The way back from y to x, a part for each graph: from the function that y is in, outwards to the graph of x."""
    found = []
    starts: dict[Tensor, Entries] = {y: y.entries}
    level: Graph = y.graph
    while True:
        ends = _ends(level, x)
        found.append(Flow(starts, ends.values()))
        found[-1].captured = ends
        if level is x.graph or not isinstance(level, FunctionGraph):
            return found
        try:
            refuse_starts(level, list(starts), [x])
        except ValueError as error:
            found[-1].errors[str(error)] = None
        arrived = found[-1].arrived
        starts = {outer: arrived[inner].entries for outer, inner in ends.items() if inner in arrived}
        level = level.outer


def _ends(level: Graph, x: Tensor) -> dict[Tensor, Tensor]:
    """How x comes into a graph: itself, or what depends on it and is captured, with what stands for it there."""
    if x.graph is level:
        return {x: x}
    if not isinstance(level, FunctionGraph):
        return {}
    around = _ends(level.outer, x).values()
    leading = (t for t in level.captured() if t in around or between(list(around), [t], any_type=True).operations)
    return {tensor: level.captures[tensor] for tensor in leading}


def _starts(function: Function, operation: Operation, arrived: Mapping[Tensor, Entries]) -> dict[Tensor, Entries]:
    """Where gradients enter a function: at its results, and at what a later gradient reads from its tape."""
    found: dict[Tensor, Entries] = {}
    for inner, outer in zip(function.outputs, operation.outputs, strict=False):
        if outer in arrived:
            found[inner] = _union(found.get(inner, ()), arrived[outer])
    taped = arrived.get(operation.outputs[-1], ())
    for head in heads(taped):
        if function.owns(head):
            found[function.tensor(head)] = below(taped, head)
    return found


def _depending(body: Function, ends: Iterable[Tensor]) -> list[Tensor]:
    """The inputs of a loop's body that are among `ends` or that, after some iterations, depend on one of them."""
    found = list(ends)
    while True:
        late = [
            variable
            for variable, after in zip(body.inputs, body.outputs, strict=False)
            if variable not in found and (after in found or between(found, [after], any_type=True).operations)
        ]
        if not late:
            return found
        found += late


def _tried(operation: Operation, function: GradientFunction, arrived: Mapping[Tensor, Entries]) -> list[Entries | None]:
    """What the inputs get from an operation's definition: found by asking it about a copy in a graph of its own."""
    with Graph().as_default() as scratch:
        copy = scratch.create(operation.definition, tuple(_stand_in(tensor, scratch) for tensor in operation.inputs))
        dys = []
        for tensor, like in zip(copy.outputs, operation.outputs, strict=True):
            tensor.dims, tensor.known, tensor.entries = like.dims, like.known, like.entries
            dy = placeholder(tensor.dtype, tensor.dims) if tensor.dtype.is_trainable else None
            if dy is not None:
                dy.entries = arrived.get(like, ())
            dys.append(dy)
        returned = function(copy, *dys)
    grads = returned if isinstance(returned, (list, tuple)) else [returned]
    return [None if grad is None else getattr(grad, "entries", ()) for grad in grads]


def _stand_in(tensor: Tensor, scratch: Graph) -> Tensor:
    if isinstance(tensor.op.definition, Const):
        return scratch.create(tensor.op.definition, ()).outputs[0]
    found = placeholder(tensor.dtype, tensor.dims)
    found.known, found.entries = tensor.known, tensor.entries
    return found


def _union(a: Entries, b: Entries) -> Entries:
    return tuple(dict.fromkeys(a + b))


# in words


def described(operation: Operation) -> str:
    """An operation, the function it is in, the user's line that made it, and of which forward operation's gradient it is."""
    within = f" in {operation.graph.context}" if isinstance(operation.graph, FunctionGraph) else ""
    text = f"'{operation.name}' ({operation.type}){within}, made at {operation.location}"
    forward = operation.original
    return text if forward is None else f"{text} (for the gradient of '{forward.name}', made at {forward.location})"


def of_other_type(tensor: Tensor) -> str:
    """That gradients stop at a tensor because of its type."""
    return (
        f"{described(tensor.op)}: its result is of type {tensor.dtype.name}, and only floating-point and complex numbers "
        "have gradients"
    )


def _stopped(operation: Operation) -> str:
    if operation.type == "StopGradient":
        return "it stops gradients"
    if isinstance(operation.definition, While):
        return "the loop was made with back_prop=False"
    name = operation.gradient_override or operation.type
    text = f"operations of type {name} are not differentiable"
    if len(operation.inputs) == len(operation.outputs) == 1 and operation.gradient_override is None:
        text += f" (made under gradient_override_map({{'{name}': 'Identity'}}), it passes gradients on as they are)"
    return text


def _withheld(operation: Operation, index: int) -> str:
    if isinstance(operation.gradient_override, Override):
        return "the gradient goes to the arguments of the function with a custom gradient, not through the function"
    if functions_of(operation.definition):
        return f"inside of it, no path leads from its input '{operation.inputs[index].name}' to the result that is used"
    return f"its gradient function gives None for input {index}"
