"""Variable: a tensor that keeps its value between runs, read and written through a handle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import context, shapes
from .collections import GraphKeys
from .dtypes import DType, as_dtype
from .eager import EagerTensor
from .ir import Graph, Operation, Tensor, get_default_graph
from .operators import Operators
from .ops import variable_rows, variables
from .ops.convert import convert_to_tensor
from .ops.gathering import GatherNd
from .ops.identity import Identity
from .shapes import Dims, TensorShape
from .variable_kinds import VariableAggregation, VariableSynchronization, checked, made_kind
from .variable_writes import Target, VariableSlice, Writes


class Variable(Writes):
    """A value of one type and shape that lives as long as its session, in the device's memory.

    `initial_value`: a tensor, a value, or a function without arguments that makes one; its type (or `dtype`) and shape
    become the variable's; `shape` may say less of the shape, for values of others to come. With `validate_shape=False` the
    shape may change and is statically unknown. The variable goes into `collections` (by default the global variables) and,
    when `trainable`, into the trainable variables. `constraint` maps the value to a legal one after an optimizer's update.
    Each use as a tensor reads it at that point of the program. `expected_shape`, `import_scope`, `use_resource`,
    `synchronization` and `aggregation` are taken for compatibility; with ON_READ it is not trained unless told.
    Source: `tf.Variable`. Raises ValueError without an initial value, for one of unknown shape, and for a `constraint` or
    `collections` of the wrong kind.
    """

    def __new__(cls, *_: Any, **__: Any) -> Variable:
        """A strategy's block has variables of a kind of its own made: with a copy on each of its devices."""
        kind = made_kind() if cls is Variable else None
        made: Variable = object.__new__(kind or cls)
        return made

    def __init__(
        self, initial_value: Any = None, trainable: bool | None = None, collections: Any = None, validate_shape: bool = True,
        caching_device: Any = None, name: str | None = None, variable_def: Any = None, dtype: Any = None,
        expected_shape: Any = None, import_scope: str | None = None, constraint: Any = None,
        use_resource: bool | None = None, synchronization: Any = None, aggregation: Any = None, shape: Any = None,
    ) -> None:  # fmt: skip
        if variable_def is not None:
            if initial_value is not None:
                raise ValueError("variable_def and initial_value are mutually exclusive.")
            self._from_def(variable_def)
            return
        _check(initial_value, collections, constraint)
        self._synchronization = checked(synchronization, VariableSynchronization.AUTO, "synchronization", name)
        self._aggregation = checked(aggregation, VariableAggregation.NONE, "aggregation", name)
        on_read = self._synchronization is VariableSynchronization.ON_READ
        self._trainable = not on_read if trainable is None else bool(trainable)
        self._constraint = constraint
        self._caching_device = caching_device
        building = get_default_graph()
        graph = building.root  # a variable that a branch or a loop's body makes stands around it
        with (
            building.control_dependencies(None),
            graph.as_default(),
            graph.name_scope(name or "Variable") as scope,
        ):
            self._name = scope[:-1]
            _check_outside(initial_value, graph)
            value = _initial(initial_value, None if dtype is None else as_dtype(dtype), scope, graph)
            self._make(value, _dims(value, shape, validate_shape), scope, graph)
        keys = list(collections) if collections is not None else [GraphKeys.GLOBAL_VARIABLES]
        graph.add_to_collections(keys + [GraphKeys.TRAINABLE_VARIABLES] * self._trainable, self)

    def _make(self, value: Tensor, dims: Dims, scope: str, graph: Graph) -> None:
        """Handle, initializer and the read that stands for the variable where an element of the graph is wanted."""
        self.dtype: DType = value.dtype
        self._dims = dims
        self.handle: Tensor = variables.VarHandleOp(value.dtype, dims, container=graph.get_container())(name=scope)
        assign = variables.AssignVariableOp(value.dtype, dims)
        self._initial_value: Tensor = value
        if context.executing_eagerly():
            assign.node(self.handle, value)
            return
        with graph.colocate_with(self.handle.op, ignore_existing=True):
            self._initializer: Operation = assign.node(self.handle, value, name="Assign")
        with graph.name_scope("Read"):
            self._snapshot = self._cached(self._read())

    def _from_def(self, variable_def: dict[str, Any]) -> None:
        graph = get_default_graph()
        self._name = variable_def["variable_name"].partition(":")[0]
        self._initializer = graph.get_operation_by_name(variable_def["initializer_name"])
        self._initial_value = graph.get_tensor_by_name(variable_def["initial_value_name"])
        self._snapshot = graph.get_tensor_by_name(variable_def["snapshot_name"])
        self._trainable = variable_def["trainable"]
        self.handle = self._initializer.inputs[0]
        self.dtype = self.op.get_attr("dtype")
        self._dims = self.op.get_attr("shape")
        self._caching_device = None
        self._constraint = None
        self._synchronization, self._aggregation = VariableSynchronization.AUTO, VariableAggregation.NONE

    def to_proto(self, export_scope: str | None = None) -> dict[str, Any]:
        """What the constructor takes as `variable_def` in a graph that holds the same operations."""
        return {
            "variable_name": self.name,
            "initializer_name": self.initializer.name,
            "initial_value_name": self.initial_value.name,
            "snapshot_name": self._snapshot.name,
            "trainable": self._trainable,
        }

    @staticmethod
    def from_proto(variable_def: dict[str, Any], import_scope: str | None = None) -> Variable:
        """The variable that `to_proto` described, in the default graph."""
        return Variable(variable_def=variable_def)

    # what it is

    @property
    def name(self) -> str:
        return f"{self._name}:0"

    @property
    def op(self) -> Operation:
        """The operation that makes the handle; it has the variable's name."""
        return self.handle.op

    @property
    def handles(self) -> tuple[Tensor, ...]:
        """The handle, and those of its copies on other devices, if it has such."""
        return (self.handle,)

    @property
    def graph(self) -> Graph:
        return self.handle.graph

    @property
    def device(self) -> str:
        return self.handle.device

    @property
    def shape(self) -> TensorShape:
        return TensorShape(self._dims)

    def get_shape(self) -> TensorShape:
        """The static shape."""
        return TensorShape(self._dims)

    def set_shape(self, shape: Any) -> None:
        """Add to what is known of the static shape. Raises ValueError where it contradicts."""
        self._dims = shapes.merge(self._dims, shapes.as_dims(shape))
        self._snapshot.set_shape(shape)

    @property
    def trainable(self) -> bool:
        return self._trainable

    @property
    def synchronization(self) -> VariableSynchronization:
        return self._synchronization

    @property
    def aggregation(self) -> VariableAggregation:
        return self._aggregation

    @property
    def constraint(self) -> Any:
        return self._constraint

    @property
    def initializer(self) -> Operation:
        """The operation that gives the variable its initial value."""
        return self._initializer

    @property
    def initial_value(self) -> Tensor:
        return self._initial_value

    def _begin_with(self, value: Tensor) -> None:
        """Another initial value, of the variable's type and shape, with an initializer of its own."""
        assign = variables.AssignVariableOp(self.dtype, self._dims)
        self._initial_value = value
        self._initializer = assign.node(self.handle, value, name="Assign")

    # reading

    def _target(self) -> Target:
        return Target(self.handle, self.dtype, self._dims)

    def _read(self, name: str | None = None) -> Tensor:
        """A read here, under the control dependencies in force, on the variable's device."""
        read = variables.ReadVariableOp(self.dtype, self._dims)
        if context.executing_eagerly():
            return read(self.handle)
        with self._on_its_device():
            return read(self.handle, name=name)

    @contextmanager
    def _on_its_device(self) -> Iterator[None]:
        graph = self._building_graph()
        with graph.colocate_with(None, ignore_existing=True), graph.device(self.device):
            yield

    def _cached(self, value: Tensor) -> Tensor:
        if self._caching_device is None:
            return value
        with value.graph.colocate_with(None, ignore_existing=True), value.graph.device(self._caching_device):
            return Identity()(value)

    def value(self) -> Tensor:
        """The value at this point of the program (with a `caching_device`: the copy there, read once a run)."""
        if self._caching_device is not None and not context.executing_eagerly():
            return self._snapshot
        return self._read()

    def read_value(self) -> Tensor:
        """The value at this point of the program, under the control dependencies in force."""
        with self._building_graph().name_scope("Read"):
            return self._read()

    def sparse_read(self, indices: Any, name: str | None = None) -> Tensor:
        """The rows that `indices` (int32 or int64, any rank) name; the gradient is IndexedSlices."""
        gather = variable_rows.ResourceGather(self.dtype, self._dims)
        tensor = convert_to_tensor(indices, name="indices")
        if context.executing_eagerly():
            return gather(self.handle, tensor)
        with self._on_its_device():
            return gather(self.handle, tensor, name=name or "Gather")

    def initialized_value(self) -> Tensor:
        """The value, or the initial value where it has none yet: for the initial values of other variables."""
        if context.executing_eagerly():
            return self._read()
        with self._on_its_device():
            return variables.InitializedValue(self.dtype, self._dims)(self.handle, self.initial_value)

    def gather_nd(self, indices: Any, name: str | None = None) -> Tensor:
        """The slices that multi-indices [..., K] name: `wf.gather_nd` of the value."""
        return GatherNd()(self._read(), convert_to_tensor(indices, name="indices"), name=name)

    def is_initialized(self, name: str | None = None) -> Tensor:
        """Whether the variable has a value, a bool scalar."""
        with self._at():
            return variables.VarIsInitializedOp()(self.handle, name=name)

    def eval(self, session: Any = None) -> Any:
        """The value in a session, the default one when none is given."""
        return self._snapshot.eval(session=session)

    def numpy(self) -> Any:
        """The value, in eager execution only. Raises NotImplementedError otherwise."""
        if not context.executing_eagerly():
            raise NotImplementedError("numpy() is only available when eager execution is enabled.")
        return self._read().numpy()  # type: ignore[attr-defined]

    def load(self, value: Any, session: Any = None) -> None:
        """Give it a value from outside the graph, in a session. Raises ValueError without a session."""
        session = session or context.get_default_session()
        if session is None:
            raise ValueError("Either session argument should be provided or a default session should be established")
        session.run(self.initializer, {self.initializer.inputs[1]: value})

    # what the rest of the graph asks

    def __getitem__(self, key: Any) -> Any:
        part = Operators.__getitem__(self, key)
        if not context.executing_eagerly():
            part.__class__ = VariableSlice
        return part

    def _as_tensor(self, name: str | None = None) -> Tensor:
        return self.value()

    def _as_graph_element(self) -> Tensor:
        return self._snapshot

    def __array__(self, *_: Any, **__: Any) -> np.ndarray[Any, Any]:
        if context.executing_eagerly():
            return np.asarray(self.numpy())
        raise NotImplementedError(f"Cannot convert variable {self.name} to a numpy array: run it in a session.")

    def __repr__(self) -> str:
        known = context.executing_eagerly() and isinstance(self.handle, EagerTensor)
        value = f" numpy={self.numpy()!r}" if known else ""
        return f"<wf.Variable '{self.name}' shape={self.shape} dtype={self.dtype.name}{value}>"


class _Future:
    """A variable's operation before it is made: enough to colocate with."""

    colocation = ()
    device = ""

    def __init__(self, name: str) -> None:
        self.name = name


def _check(initial_value: Any, collections: Any, constraint: Any) -> None:
    if initial_value is None:
        raise ValueError("initial_value must be specified.")
    if collections is not None and not isinstance(collections, (list, tuple, set)):
        raise ValueError(
            f"collections argument to Variable constructor must be a list, tuple, or set. Got {collections!r}"
        )
    if constraint is not None and not callable(constraint):
        raise ValueError("The `constraint` argument must be a callable.")


def _check_outside(initial_value: Any, graph: Graph) -> None:
    if isinstance(initial_value, Tensor) and not context.executing_eagerly() and not graph.reaches(initial_value.graph):
        raise ValueError(
            "The initial value of a variable is from inside a control-flow construct, a loop or a conditional. When "
            "creating a variable there, give a function as the initial value."
        )


def _initial(value: Any, dtype: DType | None, scope: str, graph: Graph) -> Tensor:
    """The initial value as a tensor; what is made for it here goes where the variable will go."""
    if not callable(value):
        if isinstance(value, Tensor) or hasattr(value, "_as_tensor"):
            return convert_to_tensor(value, dtype)
        with graph.colocate_with(_Future(scope[:-1])):
            return convert_to_tensor(value, dtype, "initial_value")
    with graph.name_scope("Initializer"), graph.colocate_with(_Future(scope[:-1])):
        return convert_to_tensor(value(), dtype, "initial_value")


def _dims(value: Tensor, shape: Any, validate: bool) -> Dims:
    """The variable's static shape. Raises ValueError when it is to be known and is not."""
    if not validate:
        return None
    if shape is not None:
        shapes.merge(value.dims, shapes.as_dims(shape))
        return shapes.as_dims(shape)
    if not shapes.is_full(value.dims):
        raise ValueError(f"initial_value must have a shape specified: {value}")
    return value.dims
