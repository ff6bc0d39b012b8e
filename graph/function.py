"""Graphs inside graphs: what a branch or a loop's body computes, which tensors around it it uses, and its frozen form."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .context import misplaced
from .dtypes import DType, resource
from .ir import Graph, Operation, Tensor
from .opdef import Known, OpDef, Spec
from .record import record
from .shapes import Dims


@record
class Argument(OpDef):
    """Stands for an input of a function: a loop variable, or a tensor of the graph around it."""

    dtype: DType
    dims: Dims
    known: Known = None
    entries: tuple[str, ...] = ()
    type = "Argument"

    def infer(self) -> Spec:
        return Spec(self.dtype, self.dims, self.known, self.entries)


class _Repeating(threading.local):
    """Whether the thread is making operations once more, for a gradient."""

    now = False


_repeating = _Repeating()


@contextmanager
def repeating() -> Iterator[None]:
    """What is made in the block repeats other operations: what it captures does not count as used in the function."""
    before, _repeating.now = _repeating.now, True
    try:
        yield
    finally:
        _repeating.now = before


def is_repeating() -> bool:
    """Whether the thread is in such a block."""
    return _repeating.now


class FunctionGraph(Graph):
    """The graph of a function: an operation in it that uses a tensor of a graph around it captures that tensor.

    `context` says in errors what it is: "the true branch of 'cond'". Names are unique together with those around it.
    """

    def __init__(self, outer: Graph, context: str) -> None:
        super().__init__()
        self.outer = outer
        self.context: str = context
        self.seed = outer.seed
        #: The tensors around it that it uses, each with the argument that stands for it.
        self.captures: dict[Tensor, Tensor] = {}
        #: Those of them that only repeated operations use. They come last, so that the others have the order that they have
        #: without recomputing: the terms of gradients are added up in the order of inputs.
        self.early: dict[Tensor, None] = {}
        #: Of repeated operations' results that nothing has used yet: what each repeats, a tensor of another graph.
        self.unused: dict[Tensor, Tensor] = {}
        #: Of a loop's function: its arguments that are loop variables, each with the tensor that it starts from.
        self.starts: dict[Tensor, Tensor] = {}
        #: Operations around it that must have run before it.
        self.controls: dict[Operation, None] = {}
        self._lock = outer._lock
        self._names_in_use = outer._names_in_use
        self._collections = outer._collections
        scope, around = self._scope, outer._scope
        scope.name, scope.original, scope.gradient_overrides = around.name, around.original, around.gradient_overrides

    @property
    def root(self) -> Graph:
        return self.outer.root

    def _around(self) -> Graph:
        return self.root

    @property
    def outside(self) -> Any:
        return self.outer.outside

    @property
    def operations_made(self) -> int:
        return self.root.operations_made

    def create(self, definition: OpDef, inputs: tuple[Tensor, ...], name: str | None = None) -> Operation:
        """As Graph.create, with the tensors of graphs around it captured."""
        self.root._made_inside += 1
        if self.unused and not _repeating.now:
            for tensor in inputs:
                self._use(tensor)
        return super().create(definition, inputs, name)

    def reaches(self, graph: Graph) -> bool:
        return graph is self or self.outer.reaches(graph)

    def capture(self, tensor: Tensor) -> Tensor:
        """The tensor itself if it is of this graph, else the argument that stands for it. Raises ValueError."""
        if tensor.op.graph is self:
            if self.unused and not _repeating.now:
                self._use(tensor)
            return tensor
        if tensor not in self.captures:
            around = self.outer.capture(tensor)
            if around not in self.captures:
                spec = Spec(around.dtype, around.dims, around.known, around.entries)
                self.captures[around] = self.argument(spec, around.op.name)
                if _repeating.now:
                    self.early[around] = None
            self.captures[tensor] = self.captures[around]
        if self.early and not _repeating.now:
            around = self.outer.capture(tensor)
            if around in self.early:
                del self.early[around]
                self.captures[around] = self.captures.pop(around)
        return self.captures[tensor]

    def _use(self, tensor: Tensor) -> None:
        """What a repeated tensor repeats is captured when something uses it, as if that had not been repeated."""
        original = self.unused.pop(tensor, None)
        if original is not None:
            here = self.capture(original)
            self.repeats[tensor] = self.repeats.get(here, here)

    def argument(self, spec: Spec, name: str) -> Tensor:
        """A new input of the function, also when it is finished otherwise; it waits for nothing, whatever the block around."""
        with self.reopened(), self.uncontrolled():
            return self.create(Argument(*spec), (), name.rpartition("/")[2]).outputs[0]

    @contextmanager
    def reopened(self) -> Iterator[None]:
        """Operations can be added for a block, also when it is finished."""
        with self._lock:
            finished, self._finalized = self._finalized, False
            try:
                yield
            finally:
                self._finalized = finished

    def source(self, tensor: Tensor) -> Tensor | None:
        """The tensor of the graph around it that an argument stands for; None for any other tensor."""
        for outer, inner in self.captures.items():
            if inner is tensor and outer.op.graph is self.outer:
                return outer
        return None

    def captured(self) -> list[Tensor]:
        """The tensors of the graph right around it that it uses, in the order of first use; what is `early` last."""
        return captured_by([self])

    def _control_op(self, item: Any) -> Operation | None:
        """The operation to wait for; one around the function is waited for before all of it runs."""
        element = self._by_string(item, True, True) if isinstance(item, str) else item
        element = getattr(element, "_as_graph_element", lambda: element)()
        operation = getattr(element, "op", element)
        if not isinstance(operation, Operation) or operation.graph is self:
            found = super()._control_op(element)
            return None if found is None or isinstance(found.definition, Argument) else found
        if not self.outer.reaches(operation.graph):
            made_inside = f": {misplaced(element)}" if operation.graph.context else "."
            raise ValueError(f"{operation} is not an element of this graph or of one around it{made_inside}")
        self.controls[operation] = None
        return None

    @contextmanager
    def _outside(self) -> Iterator[None]:
        around, name = self.outside, self._scope.name
        with self.uncontrolled(), around.as_default(), around.uncontrolled(), around.name_scope(name and f"{name}/"):
            yield

    def _by_string(self, name: str, allow_tensor: bool, allow_operation: bool) -> Tensor | Operation:
        if self.operation_named(name.partition(":")[0]) is not None:
            return super()._by_string(name, allow_tensor, allow_operation)
        return self.outer._by_string(name, allow_tensor, allow_operation)

    def _refuse(self, inputs: tuple[Tensor, ...]) -> None:
        what = next((misplaced(tensor) for tensor in inputs if tensor.op.graph is self), None)
        raise ValueError(what or f"{self.context} is complete: nothing can be added to it")


def captured_by(graphs: Sequence[FunctionGraph]) -> list[Tensor]:
    """What some functions, all in one graph, use of the tensors right around them; what is `early` last."""
    around = [(graph, tensor) for graph in graphs for tensor in graph.captures if tensor.op.graph is graph.outer]
    used = [tensor for graph, tensor in around if tensor not in graph.early]
    return list(dict.fromkeys([*used, *(tensor for _, tensor in around)]))


class Function:
    """A finished function graph with its inputs and outputs, all of that graph. Equal to one of the same content."""

    __slots__ = ("_access", "_operations", "graph", "inputs", "outputs")

    def __init__(self, graph: FunctionGraph, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        graph.finalize()
        self.graph = graph
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._operations: tuple[Operation, ...] | None = None
        self._access: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return self.graph.context

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What its outputs need, by data and control, without the inputs, in an order to run it in."""
        if self._operations is None:
            self._operations = tuple(needed(self.outputs, self.inputs))
        return self._operations

    def tensor(self, name: str) -> Tensor:
        """One of its tensors by name. Raises KeyError."""
        return self.graph.get_tensor_by_name(name)

    def owns(self, name: str) -> bool:
        """Whether one of its operations makes a tensor of that name."""
        return self.graph.operation_named(name.rpartition(":")[0]) is not None

    def access_of(self, index: int) -> str:
        """What it does to the variable whose handle is the input at this place; "write" includes reads."""
        if self._access is None:
            found: dict[Tensor, str] = {}
            for operation in reversed(self.operations):
                for place, tensor in enumerate(operation.inputs):
                    if tensor.dtype is resource:
                        own = operation.definition.access_of(place) or _passed_on(operation, found)
                        found[tensor] = max(found.get(tensor, ""), own)  # "" < "read" < "write"
            self._access = tuple(found.get(tensor, "") for tensor in self.inputs)
        return self._access[index]

    def _content(self) -> list[Any]:
        """The inputs, each operation with what it needs, and the outputs, by name."""
        inputs = [(tensor.op.name, tensor.dtype, tensor.dims) for tensor in self.inputs]
        body = [
            (op.name, op.definition, [tensor.name for tensor in op.inputs], [other.name for other in op.control_inputs])
            for op in self.operations
        ]
        return [inputs, body, [tensor.name for tensor in self.outputs]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Function):
            return NotImplemented
        return self is other or (self.name == other.name and self._content() == other._content())

    def __hash__(self) -> int:
        return hash((self.name, len(self.inputs), tuple(tensor.name for tensor in self.outputs)))

    def __repr__(self) -> str:
        return f"Function({self.name}: {len(self.inputs)} -> {len(self.outputs)})"


def functions_of(definition: OpDef) -> list[Function]:
    """The functions among the attributes of a definition."""
    values = (getattr(definition, name, None) for name in getattr(definition, "__dataclass_fields__", ()))
    return [value for value in values if isinstance(value, Function)]


def _passed_on(operation: Operation, found: dict[Tensor, str]) -> str:
    """What is done to the handles that an operation makes of the one it takes."""
    return max((found.get(tensor, "") for tensor in operation.outputs), default="")


def needed(fetches: Iterable[Tensor], given: Iterable[Tensor]) -> list[Operation]:
    """The operations that `fetches` need by data and control when the tensors in `given` are there, in order."""
    known = set(given)
    found: set[Operation] = set()
    waiting = [tensor.op for tensor in fetches if tensor not in known]
    while waiting:
        operation = waiting.pop()
        fed = bool(operation.outputs) and all(tensor in known for tensor in operation.outputs)
        if operation not in found and not fed:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs if tensor not in known]
            waiting += operation.control_inputs
    return sorted(found, key=lambda operation: operation.id)
