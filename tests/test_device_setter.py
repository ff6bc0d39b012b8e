"""replica_device_setter: which task each operation goes to, and what requested devices change."""

from typing import Any

import pytest
from weft.graph.ir import Operation, get_default_graph
from weft.graph.ops.constant import constant
from weft.graph.variable import Variable
from weft.train.device_setter import replica_device_setter
from weft.train.global_step import create_global_step
from weft.train.optimizers.adam import AdamOptimizer


class Cluster:
    """Anything with `as_dict`, as ClusterSpec has."""

    def __init__(self, jobs: dict[str, list[str]]) -> None:
        self._jobs = jobs

    def as_dict(self) -> dict[str, list[str]]:
        return self._jobs


CLUSTER = Cluster({"ps": ["a:1", "b:1"], "worker": ["c:1"]})


def setter(**arguments: Any) -> Any:
    return get_default_graph().device(replica_device_setter(**arguments))


def devices(**arguments: Any) -> list[str]:
    with setter(**arguments):
        return [Variable(0.0).device for _ in range(3)] + [constant(1.0).device]


def test_variables_go_round_robin_and_the_rest_to_the_worker() -> None:
    expected = ["/job:ps/task:0", "/job:ps/task:1", "/job:ps/task:0", "/job:worker"]
    assert devices(cluster=CLUSTER) == expected
    assert devices(ps_tasks=2) == expected
    assert devices(cluster=CLUSTER.as_dict()) == expected


def test_the_jobs_may_have_other_names() -> None:
    assert devices(ps_tasks=1, ps_device="/job:store", worker_device="/job:train/task:3") == [
        *["/job:store/task:0"] * 3, "/job:train/task:3",
    ]  # fmt: skip


def test_what_belongs_to_a_variable_is_where_it_is() -> None:
    with setter(cluster=CLUSTER):
        first, second = Variable([1.0], name="first"), Variable([1.0], name="second")
        used = (second + 1.0).op
        minimize = AdamOptimizer().minimize(first * second, global_step=create_global_step())
    where = {op.name: op.device for op in get_default_graph().get_operations()}
    assert where["first/Assign"] == where["first/Adam"] == where["first/Adam_1"] == "/job:ps/task:0"
    assert where["second/Assign"] == where["second/Adam"] == where["second/Read/ReadVariableOp"] == "/job:ps/task:1"
    assert where["Adam/update_second/ResourceApplyAdam"] == "/job:ps/task:1"
    assert where["beta1_power"] == "/job:ps/task:0"
    assert minimize.device == where["global_step"] == "/job:ps/task:0"
    assert used.device == "/job:worker"
    assert used.inputs[0].device == "/job:ps/task:1"


def test_an_operation_of_another_job_uses_up_no_task() -> None:
    graph = get_default_graph()
    with setter(cluster=CLUSTER):
        with graph.device("/job:worker/task:1"):
            assert Variable(0.0).device == "/job:worker/task:1"
        with graph.device("/cpu:0"):
            assert Variable(0.0).device == "/job:ps/task:0/device:CPU:0"
        with graph.device("/job:ps/task:0"):
            assert Variable(0.0).device == "/job:ps/task:0"
        assert Variable(0.0).device == "/job:ps/task:0"


def test_without_merging_a_requested_device_is_kept() -> None:
    with setter(cluster=CLUSTER, merge_devices=False), get_default_graph().device("/gpu:1"):
        assert Variable(0.0).device == "/device:GPU:1"


def test_own_strategy_and_kinds() -> None:
    def by_name(op: Operation) -> int:
        return len(op.name)

    with setter(ps_tasks=9, ps_strategy=by_name, ps_ops=["Const"]):
        assert constant(0, name="four").device == "/job:ps/task:4"
        assert Variable(0.0).device == "/job:worker"
    with pytest.raises(TypeError, match="callable"):
        replica_device_setter(ps_tasks=1, ps_strategy=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{}, {"ps_tasks": 0}, {"cluster": {"worker": ["a:1"]}}])
def test_nothing_is_set_without_parameter_servers(arguments: dict[str, Any]) -> None:
    assert replica_device_setter(**arguments) is None
