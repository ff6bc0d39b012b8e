"""replica_device_setter: variables on the parameter servers in turn, everything else on the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..graph.devices import DeviceSpec
from ..graph.ir import Operation

#: The kinds of operation that hold state, and so go to a parameter server.
STANDARD_PS_OPS = (
    "Variable",
    "VariableV2",
    "AutoReloadVariable",
    "MutableHashTable",
    "MutableHashTableV2",
    "MutableHashTableOfTensors",
    "MutableHashTableOfTensorsV2",
    "MutableDenseHashTable",
    "MutableDenseHashTableV2",
    "VarHandleOp",
    "BoostedTreesEnsembleResourceHandleOp",
    "BoostedTreesQuantileStreamResourceHandleOp",
    "ResourceConditionalAccumulator",
    "DecisionTreeResource",
)


class _RoundRobin:
    """The next parameter server task for each operation that asks."""

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._next = 0

    def __call__(self, op: Operation) -> int:
        task = self._next
        self._next = (task + 1) % self._tasks
        return task


class _Setter:
    """The device function."""

    def __init__(
        self, ps_device: str, worker_device: str, merge_devices: bool, ps_ops: Sequence[str], strategy: Callable[[Any], int]
    ) -> None:  # fmt: skip
        self._ps_device = DeviceSpec.from_string(ps_device or "")
        self._worker_device = DeviceSpec.from_string(worker_device or "")
        self._merge_devices = merge_devices
        self._ps_ops = frozenset(ps_ops)
        self._strategy = strategy

    def __call__(self, op: Operation) -> str:
        if not self._merge_devices and op.device:
            return op.device
        requested = DeviceSpec.from_string(op.device or "")
        if op.type not in self._ps_ops or self._ps_device == DeviceSpec():
            return self._worker_device.override(requested).to_string()
        chosen = self._ps_device
        # A task is only used up by an operation that may go to a parameter server.
        if chosen.job and requested.job in (None, chosen.job):
            chosen = chosen.override(DeviceSpec(task=self._strategy(op)))
        return chosen.override(requested).to_string()


def replica_device_setter(
    ps_tasks: int = 0,
    ps_device: str = "/job:ps",
    worker_device: str = "/job:worker",
    merge_devices: bool = True,
    cluster: Any = None,
    ps_ops: Sequence[str] | None = None,
    ps_strategy: Callable[[Any], int] | None = None,
) -> Callable[[Operation], str] | None:
    """A device function for `wf.device`: variables go to the tasks of `ps_device`, other operations to `worker_device`.

    `cluster`: a ClusterSpec (or its dict) that says how many ps tasks there are, instead of `ps_tasks`. `ps_ops`: the types
    of operation that go to a ps. `ps_strategy`: the ps task of an operation, by default each in turn. A device requested
    inside is merged over the chosen one, or, without `merge_devices`, kept as it is. Returns None when there is no ps.
    Source: `tf.train.replica_device_setter`. Raises TypeError for a strategy that cannot be called.
    """
    if cluster is not None:
        tasks = cluster.as_dict() if hasattr(cluster, "as_dict") else cluster
        ps_job = DeviceSpec.from_string(ps_device).job
        if ps_job not in tasks or tasks[ps_job] is None:
            return None
        ps_tasks = len(tasks[ps_job])
    if ps_tasks == 0:
        return None
    strategy = _RoundRobin(ps_tasks) if ps_strategy is None else ps_strategy
    if not callable(strategy):
        raise TypeError("ps_strategy must be callable")
    return _Setter(ps_device, worker_device, merge_devices, STANDARD_PS_OPS if ps_ops is None else ps_ops, strategy)
