"""MirroredVariable: one variable with a copy on each device of a strategy, all of which always have the same value."""

from __future__ import annotations

import inspect
from typing import Any

from ...graph.collections import GraphKeys
from ...graph.ir import Operation, Tensor, get_default_graph
from ...graph.op import Op
from ...graph.operators import Operators
from ...graph.ops.control import group
from ...graph.ops.convert import stack
from ...graph.ops.reduction import reduce_all
from ...graph.variable import Variable
from ...graph.variable_kinds import VariableAggregation, VariableSynchronization, making
from .all_reduce import ReduceOp, total
from .replica_context import Place, here, placed

#: How copies that differ may be read as one.
_ON_READ = (VariableAggregation.MEAN, VariableAggregation.ONLY_FIRST_REPLICA)

_SIGNATURE = inspect.signature(Variable.__init__)


class MirroredVariable(Variable):
    """What `Variable` and `get_variable` make inside of `MirroredStrategy.scope()`; see there.

    In a function that the strategy runs on each replica it is that replica's copy. Elsewhere it is the first one, and what
    changes it changes all. The copies begin with the first one's initial value. With `synchronization=ON_READ`, as moving
    averages have it, each replica changes its own, and elsewhere it is their mean (`aggregation=MEAN`) or the first
    (ONLY_FIRST_REPLICA). Raises ValueError for a variable that a replica makes for itself, or changes alone where it is not
    ON_READ; NotImplementedError for another aggregation of such.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        place = here()
        assert place is not None, "only a strategy's scope makes mirrored variables"
        bound = _SIGNATURE.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        del given["self"]
        self._on_read = given["synchronization"] is VariableSynchronization.ON_READ
        if self._on_read and given["aggregation"] not in _ON_READ:
            raise NotImplementedError(
                f"Variable {given['name']}: copies that differ are read as their mean or as the first: give "
                f"aggregation=MEAN or ONLY_FIRST_REPLICA, not {given['aggregation']}."
            )
        if place.replica:
            raise ValueError(
                f"Replica {place.replica} makes a variable of its own, {given['name'] or 'Variable'}: make variables outside of "
                "the replicas' function, in strategy.scope(), or with get_variable, which the replicas share."
            )
        if given["variable_def"] is not None:
            raise ValueError("A variable of a VariableDef has no copies: make it outside of strategy.scope().")
        self._strategy = place.strategy
        keys, trainable = given["collections"], given["trainable"]
        given |= {"collections": [], "trainable": False}
        graph = get_default_graph().root
        with placed(Place(place.strategy)), making(None), graph.as_default():
            self._copies = self._made(given)
        first = self._copies[0]
        self._name, self.dtype, self._dims = first._name, first.dtype, first._dims
        self._trainable = not self._on_read if trainable is None else bool(trainable)
        self._mean = self._on_read and given["aggregation"] is VariableAggregation.MEAN
        if self._mean:
            with placed(Place(place.strategy)), graph.as_default(), graph.control_dependencies(None):
                self._mean_snapshot = self._read()
        self._initialize_all()
        keys = list(keys) if keys is not None else [GraphKeys.GLOBAL_VARIABLES]
        graph.add_to_collections(keys + [GraphKeys.TRAINABLE_VARIABLES] * self._trainable, self)

    def _made(self, given: dict[str, Any]) -> tuple[Variable, ...]:
        """A variable on each device; all but the first begin with the initial value of that."""
        graph = get_default_graph()
        copies: list[Variable] = []
        for number, device in enumerate(self._strategy.devices):
            with graph.colocate_with(None, ignore_existing=True), graph.device(None), graph.device(device):
                if not copies:
                    copies.append(Variable(**given))
                    given["initial_value"] = copies[0].initial_value
                else:
                    given["name"] = f"{copies[0].op.name}/replica_{number}"
                    with graph.name_scope(None):
                        copies.append(Variable(**given))
        return tuple(copies)

    # which copy

    @property
    def _local(self) -> Variable:
        """The copy of the replica that is being built, else the first."""
        place = here()
        return self._copies[place.replica or 0] if place is not None and self._in_replica() else self._copies[0]

    def _in_replica(self) -> bool:
        """Whether a replica of its strategy is being built."""
        place = here()
        return place is not None and place.replica is not None and place.strategy is self._strategy

    def __getattr__(self, name: str) -> Any:
        """What Variable keeps and this does not: handle, snapshot, initial value, ... are the copy's."""
        if name in ("_copies", "_strategy", "_mean_snapshot"):  # it is not made yet
            raise AttributeError(name)
        return getattr(self._local, name)

    @property
    def strategy(self) -> Any:
        """The strategy in whose scope it was made."""
        return self._strategy

    @property
    def values(self) -> tuple[Variable, ...]:
        """The copies, as variables of their own, by replica."""
        return self._copies

    @property
    def handles(self) -> tuple[Tensor, ...]:
        return tuple(copy.handle for copy in self._copies)

    def set_shape(self, shape: Any) -> None:
        """Add to what is known of the static shape, of all copies. Raises ValueError where it contradicts."""
        for copy in self._copies:
            copy.set_shape(shape)
        self._dims = self._copies[0]._dims

    # beginning

    def _initialize_all(self) -> None:
        graph = self._copies[0].graph
        with graph.as_default(), graph.control_dependencies(None), graph.name_scope(None), graph.device(None):
            each = [copy.initializer for copy in self._copies]
            self._all_initialized = group(*each, name=f"{self._name}/Assign_copies")

    @property
    def initializer(self) -> Operation:
        """The operation that gives all copies the initial value, which is computed once."""
        return self._all_initialized

    @property
    def initial_value(self) -> Tensor:
        return self._copies[0].initial_value

    def _begin_with(self, value: Tensor) -> None:
        for copy in self._copies:
            copy._begin_with(value)
        self._initialize_all()

    def load(self, value: Any, session: Any = None) -> None:
        """Give all copies a value from outside the graph, in a session. Raises ValueError without a session."""
        self._copies[0].load(value, session)
        for copy in self._copies[1:]:
            copy.load(value, session)

    def is_initialized(self, name: str | None = None) -> Tensor:
        """Whether all copies have a value, a bool scalar."""
        return reduce_all(stack([copy.is_initialized() for copy in self._copies]), name=name)

    def to_proto(self, export_scope: str | None = None) -> dict[str, Any]:
        """The first copy's: a meta graph tells of no copies."""
        return {**self._copies[0].to_proto(export_scope), "trainable": self._trainable}

    # reading

    def _read(self, name: str | None = None) -> Tensor:
        if not self._mean or self._in_replica():
            return self._local._read(name)
        graph = self._copies[0]._building_graph()
        with graph.colocate_with(None, ignore_existing=True), graph.device(None), graph.device(self._copies[0].device):
            return total(ReduceOp.MEAN, [copy._read() for copy in self._copies], len(self._copies))

    def _as_graph_element(self) -> Tensor:
        """What is fetched."""
        return self._mean_snapshot if self._mean and not self._in_replica() else self._local._as_graph_element()

    def eval(self, session: Any = None) -> Any:
        """The value in a session, the default one when none is given."""
        return self._as_graph_element().eval(session=session)

    # changing

    def _update(self, definition: Op, values: list[Any], name: str, read_value: bool = True) -> Any:
        """The write on all copies; inside of a strategy's own updates, on the replica's."""
        if self._alone():
            return self._local._update(definition, values, name, read_value)
        graph = self._copies[0]._building_graph()
        with graph.name_scope(name) as scope:
            written = [copy._update(definition, values, "Copy", read_value=False) for copy in self._copies]
            if not read_value:
                return group(*written, name=scope)
            with graph.control_dependencies(written):
                return self._read(scope)

    def count_up_to(self, limit: int, name: str | None = None) -> Tensor:
        """As Variable's, of all copies."""
        if self._alone():
            return self._local.count_up_to(limit, name)
        others = [copy.count_up_to(limit) for copy in self._copies[1:]]
        graph = self._copies[0]._building_graph()
        with graph.control_dependencies([other.op for other in others]):
            return self._copies[0].count_up_to(limit, name)

    def _alone(self) -> bool:
        """Whether a write goes to one copy alone. Raises ValueError in a replica, which would then differ from the others."""
        place = here()
        if place is None or not self._in_replica():
            return False
        if not place.updating and not self._on_read:
            raise ValueError(
                f"Replica {place.replica} changes its copy of the mirrored variable {self.name} alone. Return what it should "
                "become from the function, and assign what strategy.reduce makes of it outside; or make the variable with "
                "synchronization=ON_READ."
            )
        return True

    def __getitem__(self, key: Any) -> Any:
        """A part of the value. It cannot be assigned to: assign the whole, or use scatter_nd_update."""
        return Operators.__getitem__(self, key)

    def __repr__(self) -> str:
        return f"<wf.MirroredVariable '{self.name}' shape={self.shape} dtype={self.dtype.name} on {len(self._copies)} devices>"
