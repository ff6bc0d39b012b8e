"""The graph: Tensor, Operation and Graph. A graph only grows, and an operation never changes once it is made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, cast

from . import context, shapes
from .aging import LARGE, STRIDE, age
from .collections import Collections
from .dtypes import DType
from .listing import Listing
from .location import Location, location_of, user_place
from .opdef import Known, OpDef, Spec
from .operators import Operators
from .portable import Portable
from .scopes import Scopes, ScopeState
from .shapes import Dims, TensorShape

_OPERATION_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


class Tensor(Operators):
    """One output of an operation, which a run computes; its static shape may be partly unknown. Source: `tf.Tensor`."""

    __slots__ = ("_consumers", "dims", "dtype", "entries", "known", "op", "value_index")

    def __init__(self, op: Operation, value_index: int, spec: Spec) -> None:
        self.op = op
        self.value_index = value_index
        self.dtype: DType
        self.dims: Dims
        #: What shape inference knows of the value (`opdef.Known`).
        self.known: Known
        #: Of a variant: the paths of the entries that it may hold.
        self.entries: tuple[str, ...]
        self.dtype, self.dims, self.known, self.entries = spec
        #: None, the one operation that takes it, or a list of them in the order they were made: most have just one.
        self._consumers: Operation | list[Operation] | None = None

    @property
    def name(self) -> str:
        return f"{self.op.name}:{self.value_index}"

    @property
    def graph(self) -> Graph:
        return self.op.graph

    @property
    def device(self) -> str:
        return self.op.device

    @property
    def shape(self) -> TensorShape:
        return TensorShape(self.dims)

    def get_shape(self) -> TensorShape:
        """The static shape."""
        return TensorShape(self.dims)

    def set_shape(self, shape: Any) -> None:
        """Add to what is known of the static shape. Raises ValueError where it contradicts."""
        self.dims = shapes.merge(self.dims, shapes.as_dims(shape))

    def consumers(self) -> list[Operation]:
        """The operations that take this tensor as an input, each once."""
        users = self._consumers
        return [] if users is None else list(users) if isinstance(users, list) else [users]

    def eval(self, feed_dict: Any = None, session: Any = None) -> Any:
        """The value in a session, the default one when none is given. Raises ValueError without any."""
        return context.session_for(self, session, "eval").run(self, feed_dict)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(
            f"Cannot convert a symbolic Tensor ({self.name}) to a numpy array: run it in a session."
        )

    def __repr__(self) -> str:
        return f"<wf.Tensor '{self.name}' shape={self.shape} dtype={self.dtype.name}>"

    def __str__(self) -> str:
        device = f", device={self.device}" if self.device else ""
        return f'Tensor("{self.name}", shape={self.shape}, dtype={self.dtype.name}{device})'


class Operation:
    """A node: a definition applied to tensors, after its control inputs, on a requested device. Source: `tf.Operation`."""

    __slots__ = (
        "_code", "_instruction", "_outputs", "colocation", "control_inputs", "definition", "device",
        "gradient_override", "graph", "id", "inputs", "name", "original",
    )  # fmt: skip

    def __init__(
        self,
        graph: Graph,
        name: str,
        definition: OpDef,
        inputs: tuple[Tensor, ...],
        controls: tuple[Operation, ...],
        scope: ScopeState,
    ) -> None:
        self.graph = graph
        self.name = name
        self.definition = definition
        self.inputs = inputs
        self.control_inputs = controls
        #: One output stands here without its tuple: in a large graph each object that Python's garbage collector has to
        #: visit counts. For the same reason the place is not a pair.
        self._outputs: Tensor | tuple[Tensor, ...] = ()
        #: The position in the graph: inputs and control inputs always have a smaller one.
        self.id = -1
        self.device = ""
        #: Names of the operations whose device this one must share, as TF's `_class` attribute.
        self.colocation: tuple[str, ...] = ()
        self._code, self._instruction = scope.place or user_place()
        #: For an operation that `gradients` made: the forward operation it belongs to.
        self.original: Operation | None = scope.original
        #: A registered gradient's name, or a gradient function, that goes before the definition's own gradient.
        self.gradient_override: Any = None

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        found = self._outputs
        return found if type(found) is tuple else (cast(Tensor, found),)

    @property
    def type(self) -> str:
        return self.definition.type

    @property
    def location(self) -> Location:
        """The line of the user's program that made it."""
        return location_of((self._code, self._instruction))

    @property
    def node_def(self) -> Operation:
        """The operation itself: it answers `name`, `device` and `op` as TF's NodeDef does for device functions."""
        return self

    def get_attr(self, name: str) -> Any:
        """An attribute of the definition. Raises ValueError when it has none of that name."""
        if name == "_class" and self.colocation:
            return self.colocation_groups()
        if name == "_gradient_op_type" and isinstance(self.gradient_override, str):
            return self.gradient_override.encode()
        if not hasattr(self.definition, name):
            raise ValueError(f"Operation '{self.name}' has no attr named '{name}'.")
        return getattr(self.definition, name)

    def values(self) -> tuple[Tensor, ...]:
        """The outputs."""
        return tuple(self.outputs)

    def colocation_groups(self) -> list[bytes]:
        """The groups whose members share a device, as TF spells them: `loc:@name`."""
        return [f"loc:@{name}".encode() for name in (self.colocation or (self.name,))]

    def run(self, feed_dict: Any = None, session: Any = None) -> None:
        """Run it in a session, the default one when none is given. Raises ValueError without any."""
        context.session_for(self, session, "run").run(self, feed_dict)

    def __repr__(self) -> str:
        return f"<wf.Operation '{self.name}' type={self.type}>"


class Graph(Scopes, Collections, Portable, Listing["Operation"]):
    """Operations in the order they were made, under unique names. Building is safe from several threads. Source: `tf.Graph`."""

    #: What it is in errors, of the graph of a branch or a loop: "the true branch of 'cond'".
    context = ""

    def __init__(self) -> None:
        Scopes.__init__(self)
        Collections.__init__(self)
        Listing.__init__(self)
        self._finalized = False
        self._made_inside = 0
        #: Of tensors that recomputing made: which each repeats, to gradients the same one; and the operations repeated with it.
        self.repeats: dict[Tensor, Tensor] = {}
        self.repetitions: dict[Tensor, dict[Operation, Operation]] = {}
        #: The graph-level random seed, see `set_random_seed`.
        self.seed: int | None = None

    # building

    def create(self, definition: OpDef, inputs: tuple[Tensor, ...], name: str | None = None) -> Operation:
        """Add an operation. A name with a trailing `/` is taken as it is, without scope.

        Raises ValueError for tensors of another graph and for shapes that do not fit, TypeError for dtypes that do not,
        RuntimeError when the graph is finalized.
        """
        if self._finalized:
            self._refuse(inputs)
        for tensor in inputs:
            if tensor.op.graph is not self:
                inputs = tuple(self.capture(tensor) for tensor in inputs)
                break
        scope = self._threads.scope
        with self._lock:
            full_name = self._operation_name(name or definition.type)
            controls = self._control_inputs_for(inputs) if scope.controllers else ()
            operation = Operation(self, full_name, definition, inputs, controls, scope)
            operation._outputs = self._infer(operation)
            if scope.devices or scope.colocation or scope.gradient_overrides:
                self._settle(operation, scope)
            operation.id = len(self._operations)
            self._operations.append(operation)
            for tensor in inputs:
                users = tensor._consumers
                if users is None:
                    tensor._consumers = operation
                elif type(users) is not list:
                    if users is not operation:
                        tensor._consumers = [cast(Operation, users), operation]
                elif users[-1] is not operation:
                    users.append(operation)
            for controller in scope.controllers:
                controller.seen.add(operation)
            if operation.id % STRIDE == 0 and operation.id >= LARGE:
                age(STRIDE, operation.id)
        return operation

    def _refuse(self, inputs: tuple[Tensor, ...]) -> None:
        raise RuntimeError("Graph is finalized and cannot be modified.")

    def _building(self) -> Graph:
        return building_graph(self)

    def capture(self, tensor: Tensor) -> Tensor:
        """The tensor as one of this graph. Raises ValueError for another graph's."""
        if tensor.op.graph is not self:
            if tensor.op.graph.context:
                raise ValueError(context.misplaced(tensor))
            raise ValueError(f"{tensor} must be from the same graph as the operation that uses it")
        return tensor

    def reaches(self, graph: Graph) -> bool:
        """Whether operations of this graph can use tensors of the other."""
        return graph is self

    @property
    def operations_made(self) -> int:
        """How many operations there are, in branches and loops too."""
        return len(self._operations) + self._made_inside

    @property
    def root(self) -> Graph:
        """The graph that a session runs: itself, but for the graphs of branches and loops."""
        return self

    def _operation_name(self, name: str) -> str:
        if not name.endswith("/"):
            full_name = self.unique_name(name)
        elif self.operation_named(name[:-1]) is not None:
            with self.name_scope(None):
                full_name = self.unique_name(name[:-1])
        else:
            full_name = name[:-1]
            self._names_in_use.setdefault(full_name.lower(), 1)
        if not _OPERATION_NAME.fullmatch(full_name):
            raise ValueError(f"'{full_name}' is not a valid node name: it must match {_OPERATION_NAME.pattern}")
        return full_name

    def _infer(self, operation: Operation) -> Tensor | tuple[Tensor, ...]:
        definition = operation.definition
        try:
            inferred = definition.infer(*operation.inputs)
        except (ValueError, TypeError) as error:
            signature = ", ".join(shapes.text(t.dims) for t in operation.inputs)
            error.args = (f"{error} for '{operation.name}' (op: '{definition.type}') with input shapes: {signature}.",)
            raise
        if isinstance(inferred, Spec):
            return Tensor(operation, 0, inferred)
        return tuple(Tensor(operation, index, spec) for index, spec in enumerate(inferred))

    def _settle(self, operation: Operation, scope: ScopeState) -> None:
        """Device, colocation and gradient override, from the scopes in force."""
        if scope.devices:
            self._requested_device(operation)
        if scope.colocation:
            self._apply_colocation(operation)
        if scope.gradient_overrides:
            operation.gradient_override = scope.gradient_overrides.get(operation.type)

    def _control_op(self, item: Any) -> Operation | None:
        handle = getattr(item, "handle", None)  # a Variable: its handle is there before it has a value
        element = self.as_graph_element(item if handle is None else handle)
        return cast(Operation, getattr(element, "op", element))

    def as_default(self) -> AbstractContextManager[Graph]:
        """Make this graph the thread's default for a `with` block."""
        return context.as_default_graph(self)

    def finalize(self) -> None:
        """Make the graph read-only."""
        self._finalized = True

    @property
    def finalized(self) -> bool:
        return self._finalized

    # looking up

    def get_operation_by_name(self, name: str) -> Operation:
        """The operation of that name. Raises TypeError, KeyError."""
        return cast(Operation, self.as_graph_element(_string(name, "Operation"), allow_tensor=False))

    def get_tensor_by_name(self, name: str) -> Tensor:
        """The tensor of that name, `op:index`. Raises TypeError, ValueError, KeyError."""
        return cast(Tensor, self.as_graph_element(_string(name, "Tensor"), allow_operation=False))

    def as_graph_element(self, obj: Any, allow_tensor: bool = True, allow_operation: bool = True) -> Tensor | Operation:
        """The Tensor or Operation that an object or a name stands for.

        Raises KeyError for an unknown name, ValueError for a malformed one or an element of another graph, TypeError for
        what is no graph element or not of an allowed kind.
        """
        if not allow_tensor and not allow_operation:
            raise ValueError("allow_tensor and allow_operation can't both be False.")
        if isinstance(obj, (str, bytes)):
            return self._by_string(obj if isinstance(obj, str) else obj.decode(), allow_tensor, allow_operation)
        convert = getattr(obj, "_as_graph_element", None)
        element = convert() if convert is not None else obj
        if (isinstance(element, Tensor) and allow_tensor) or (isinstance(element, Operation) and allow_operation):
            if not self.reaches(element.graph):
                raise ValueError(
                    f"{'Tensor' if isinstance(element, Tensor) else 'Operation'} {element} is not an element of this graph."
                    + (f" {context.misplaced(element)}" if element.graph.context else "")
                )
            return element
        kinds = " or ".join(["Tensor"] * allow_tensor + ["Operation"] * allow_operation)
        raise TypeError(f"Can not convert a {type(obj).__name__} into a {kinds}.")

    def _by_string(self, name: str, allow_tensor: bool, allow_operation: bool) -> Tensor | Operation:
        if ":" in name and allow_tensor:
            return self._tensor_named(name)
        if ":" in name:
            raise ValueError(f"Name {name!r} appears to refer to a Tensor, not a Operation.")
        operation = self.operation_named(name)
        if not allow_operation:
            what = "looks like the (invalid) name of" if operation is None else "refers to"
            raise ValueError(
                f"The name {name!r} {what} an Operation, not a Tensor. Tensor names are '<op_name>:<output_index>'."
            )
        if operation is None:
            raise KeyError(f"The name {name!r} refers to an Operation not in the graph.")
        return operation

    def _tensor_named(self, name: str) -> Tensor:
        op_name, _, index = name.partition(":")
        if not (index.isascii() and index.isdigit()):
            raise ValueError(f"The name {name!r} looks like a Tensor name, but is not: '<op_name>:<output_index>'.")
        missing = f"The name {name!r} refers to a Tensor which does not exist. The operation, {op_name!r},"
        operation = self.operation_named(op_name)
        if operation is None:
            raise KeyError(f"{missing} does not exist in the graph.")
        if int(index) >= len(operation.outputs):
            raise KeyError(f"{missing} exists but only has {len(operation.outputs)} outputs.")
        return operation.outputs[int(index)]


def _string(name: Any, what: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{what} names are strings, not {type(name).__name__}.")
    return name


def get_default_graph() -> Graph:
    """The graph of the innermost `with graph.as_default()`, else the thread's own. Source: `tf.get_default_graph`."""
    return cast(Graph, context.default_graph(Graph))


def graph_of(inputs: Iterable[Any]) -> Graph:
    """The graph to build in: that of the first tensor among the inputs, else the default graph; see `building_graph`."""
    for tensor in inputs:
        if isinstance(tensor, Tensor):
            return building_graph(tensor.op.graph)
    return get_default_graph()


def building_graph(graph: Graph) -> Graph:
    """Where operations on tensors of a graph are made: there, or in the branch or loop that is being built and reaches it."""
    innermost = context.innermost_graph()
    return innermost if innermost is not None and innermost is not graph and innermost.reaches(graph) else graph
