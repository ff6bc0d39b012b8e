"""MirroredStrategy: a model on several devices, its variables on each of them, without a parameter server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from ...graph import context
from ...graph.cluster_spec import ClusterSpec
from ...graph.devices import DeviceSpec, canonical
from ...graph.indexed_slices import IndexedSlices
from ...graph.ir import Graph, Tensor, get_default_graph
from ...graph.ops.arithmetic import truediv
from ...graph.ops.broadcasting import reduce_sum
from ...graph.ops.cast import cast
from ...graph.ops.convert import convert_to_tensor
from ...graph.ops.sizes import shape
from ...graph.variable import Variable
from ...graph.variable_kinds import making
from ...nn.variable_scope import get_variable_scope, variable_scope
from .all_reduce import AllReduce, ReduceOp, checked_op, common_dims, total
from .per_replica import PerReplica, joined, selected
from .reduction_plan import groups
from .replica_context import Place, here, placed
from .variable import MirroredVariable

#: Gradients travel in vectors of up to so many bytes.
BUCKET_BYTES = 4 << 20


class MirroredStrategy:
    """Replicas of a model on `devices`, which keep every variable, and stay equal: see docs/decisions/0028.

    Variables made in `scope()` have a copy on each device. `run` calls a function once for each replica. MirroredOptimizer
    applies the reduced gradients to every copy. The sums are made in the order of the replicas, so all of it gives the
    bits of one parameter server that adds up the replicas' gradients with `add_n`.

    `devices`: the replicas' devices in their order, such as `["/job:worker/task:0", "/job:worker/task:1"]`. `cluster`: where
    these are (a `wf.cluster.Cluster`, or a ClusterSpec or dict with addresses). `reduction`: "scatter" (each replica adds up
    a part), "ring" (the same on each host, then from host to host), "auto" (what sends less between hosts).
    `bucket_bytes`: gradients travel in vectors of up to so many bytes. Source: `tf.distribute.MirroredStrategy`. Raises
    ValueError without devices, for one that is named twice, and as `reduction` and `bucket_bytes` say; RuntimeError in
    eager execution.
    """

    def __init__(
        self, devices: Sequence[str], cluster: Any = None, reduction: str = "auto", bucket_bytes: int = BUCKET_BYTES
    ) -> None:
        if isinstance(devices, str) or not devices:
            raise ValueError(f"MirroredStrategy needs a list of one device a replica, got {devices!r}")
        if bucket_bytes <= 0:
            raise ValueError(f"bucket_bytes must be positive, got {bucket_bytes}")
        self.devices = tuple(canonical(device) for device in devices)
        twice = sorted({device for device in self.devices if self.devices.count(device) > 1})
        if twice:
            raise ValueError(f"Each replica needs a device of its own; named more than once: {', '.join(twice)}")
        #: The replicas that add up among themselves before they hand on.
        self.groups = groups(hosts_of(self.devices, cluster), reduction)
        self._bucket_bytes = bucket_bytes

    @property
    def num_replicas_in_sync(self) -> int:
        """How many replicas there are."""
        return len(self.devices)

    # building

    @contextmanager
    def scope(self) -> Iterator[MirroredStrategy]:
        """A block in which `Variable` and `get_variable` make mirrored variables. Raises RuntimeError in eager execution."""
        if context.executing_eagerly():
            raise RuntimeError("MirroredStrategy needs a graph: it replicates nothing in eager execution.")
        with placed(Place(self)), making(MirroredVariable):
            yield self

    def run(self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Call `fn` once for each replica, on its device; returns what it returns, as PerReplica where the replicas differ.

        Of each PerReplica in `args` and `kwargs` a replica is given its own. Mirrored variables are the replica's copies
        there; `get_variable` makes them in the first replica, and shares them in the others. Source:
        `tf.distribute.Strategy.experimental_run_v2`. Raises RuntimeError inside of another replica, ValueError where the
        replicas return different structures.
        """
        place = here()
        if place is not None and place.replica is not None:
            raise RuntimeError("run() inside of a replica's function: a replica has no replicas.")
        results = []
        for replica in range(len(self.devices)):
            with self.scope(), self.replica(replica), _shared_variables(replica):
                mine = [selected(each, replica) for each in args]
                results.append(fn(*mine, **{key: selected(each, replica) for key, each in (kwargs or {}).items()}))
        return joined(results)

    def experimental_run_v2(
        self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """`run` by its first name. Source: `tf.distribute.Strategy.experimental_run_v2`."""
        return self.run(fn, args, kwargs)

    def call_for_each_replica(
        self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """`run` by another name. Source: `tf.distribute.StrategyExtended.call_for_each_replica`."""
        return self.run(fn, args, kwargs)

    def replica(self, number: int, updating: bool = False) -> AbstractContextManager[Any]:
        """A block on a replica's device, in which mirrored variables are its copies; `updating`: which may be changed."""
        graph = get_default_graph()
        stack = ExitStack()
        stack.enter_context(placed(Place(self, number, updating)))
        stack.enter_context(graph.device(None))
        stack.enter_context(graph.device(self.devices[number]))
        stack.enter_context(graph.name_scope(f"replica_{number}"))
        return stack

    # values

    def experimental_local_results(self, value: Any) -> tuple[Any, ...]:
        """The values of the replicas: of a PerReplica, of a mirrored variable (its copies), or of what all have alike (once).

        Source: `tf.distribute.Strategy.experimental_local_results`.
        """
        if isinstance(value, PerReplica):
            return value.values
        return value.values if isinstance(value, MirroredVariable) else (value,)

    def reduce(self, reduce_op: Any, value: Any, axis: int | None = None) -> Tensor:
        """One tensor, on the first device, from the replicas': their sum or mean, in their order.

        `value`: a PerReplica of tensors of one type and shape; what is no PerReplica counts for each replica. `axis`: sum or
        average over this axis of each as well, which may be of different lengths. Source:
        `tf.distribute.Strategy.reduce`. Raises ValueError for shapes that differ and for another `reduce_op`.
        """
        op = checked_op(reduce_op)
        graph = get_default_graph()
        tensors, lengths = [], []
        with graph.name_scope("reduce"):
            for replica, each in enumerate(self._each(value)):
                with self._at(graph, replica):
                    tensor = convert_to_tensor(each)
                    if axis is not None:
                        lengths.append(cast(shape(tensor)[axis], tensor.dtype))
                        tensor = reduce_sum(tensor, axis)
                    tensors.append(tensor)
            _same("reduce", tensors)
            with self._at(graph, 0):
                if axis is None:
                    return total(op, tensors, len(tensors))
                added = total(ReduceOp.SUM, tensors, len(tensors))
                return added if op is ReduceOp.SUM else truediv(added, total(ReduceOp.SUM, lengths, len(lengths)))

    def all_reduce(self, reduce_op: Any, values: Sequence[Any]) -> list[PerReplica]:
        """For each of `values`, a PerReplica of tensors or IndexedSlices, the sum or the mean on every replica.

        IndexedSlices become the rows of all replicas, in their order. Raises ValueError where the replicas' types, shapes or
        kinds differ, TypeError for what is neither.
        """
        return self.reduce_named(reduce_op, [(f"value {number}", value) for number, value in enumerate(values)])

    def reduce_named(self, reduce_op: Any, values: Sequence[tuple[str, Any]]) -> list[PerReplica]:
        """`all_reduce` of values by what errors call them."""
        op, graph = checked_op(reduce_op), get_default_graph()
        with graph.name_scope("all_reduce"), graph.colocate_with(None, ignore_existing=True), graph.device(None):
            each = [self._checked(graph, what, value) for what, value in values]
            reduction = AllReduce(graph, self.devices, self.groups, self._bucket_bytes, op)
            dense = [number for number, parts in enumerate(each) if isinstance(parts[0], Tensor)]
            found = dict(zip(dense, reduction.dense([each[number] for number in dense]), strict=True))
            rows = {number: reduction.sparse(each[number]) for number in range(len(each)) if number not in found}
        return [PerReplica(found[number] if number in found else rows[number]) for number in range(len(each))]

    def _checked(self, graph: Graph, what: str, value: Any) -> list[Any]:
        parts: list[Any] = []
        for replica, part in enumerate(self._each(value)):
            with self._at(graph, replica):
                parts.append(part if isinstance(part, IndexedSlices) else convert_to_tensor(part))
        kinds = {isinstance(part, IndexedSlices) for part in parts}
        if len(kinds) > 1:
            raise ValueError(f"In some replicas {what} is a Tensor and in others IndexedSlices: {value!r}")
        _same(what, parts)
        return parts

    def _each(self, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, PerReplica):
            return (value,) * len(self.devices)
        if len(value) != len(self.devices):
            raise ValueError(f"a value of {len(value)} replicas, where the strategy has {len(self.devices)}: {value!r}")
        return value.values

    def _at(self, graph: Graph, replica: int) -> AbstractContextManager[None]:
        return graph.device(self.devices[replica])

    def has(self, variable: Variable) -> bool:
        """Whether a variable was made in this strategy's scope."""
        return isinstance(variable, MirroredVariable) and variable.strategy is self

    def __repr__(self) -> str:
        return f"<wf.distribute.MirroredStrategy on {', '.join(self.devices)}>"


@contextmanager
def _shared_variables(replica: int) -> Iterator[None]:
    """Scopes are named as in the first replica, and after it `get_variable` shares what that made."""
    with variable_scope(get_variable_scope(), reuse=True if replica else None, auxiliary_name_scope=False):
        yield


def _same(what: str, parts: Sequence[Any]) -> None:
    """Raises ValueError where the replicas' tensors differ in type or shape, or their rows in type."""
    names = ", ".join(str(part) for part in parts)
    if len({part.dtype for part in parts}) > 1:
        raise ValueError(f"The replicas' types of {what} differ: {names}")
    try:
        if isinstance(parts[0], Tensor):
            common_dims(parts)
    except ValueError as error:
        raise ValueError(f"The replicas' shapes of {what} differ: {error}. They are {names}") from None


def hosts_of(devices: Sequence[str], cluster: Any) -> list[str | None]:
    """The host that each device is on, None where nobody knows. Without a task it is in the session's own process.

    Raises ValueError for a task that the cluster does not have, TypeError for what is no cluster.
    """
    tasks = [DeviceSpec.from_string(device) for device in devices]
    if all(task.job in (None, "localhost") for task in tasks):
        return [""] * len(tasks)
    if cluster is None:
        return [None] * len(tasks)
    places = _places(cluster)
    found: list[str | None] = []
    for device, task in zip(devices, tasks, strict=True):
        name = str(DeviceSpec(task.job, task.replica or 0, task.task or 0))
        if name not in places:
            raise ValueError(
                f"There is no task for device {device} in the cluster, which has {', '.join(sorted(places))}"
            )
        found.append(places[name] or None)
    return found


def _places(cluster: Any) -> dict[str, str]:
    """By the name of each task what tells its host from others."""
    if not isinstance(cluster, (ClusterSpec, Mapping)) and isinstance(getattr(cluster, "tasks", None), tuple):
        return {task.name: task.location.node for task in cluster.tasks}
    spec = ClusterSpec(cluster)
    return {
        str(DeviceSpec(job, 0, index)): spec.task_address(job, index).rpartition(":")[0] for job, index in spec.tasks()
    }
