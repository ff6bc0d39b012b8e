"""place: each operation's device, from requests, colocation and the devices there are."""

from typing import Any

import pytest
import weft as wf
from weft.graph.devices import DeviceSpec
from weft.graph.ops.variables import AssignVariableOp
from weft.runtime import pipeline
from weft.runtime.placing.place import place

LOCAL = [DeviceSpec("localhost", 0, 0, "CPU", index) for index in range(3)]
TASKS = [DeviceSpec(job, 0, task, "CPU", 0) for job, task in (("ps", 0), ("worker", 0), ("worker", 1))]


def placed(*fetches: Any, devices: Any = LOCAL, soft: bool = False, default: int = 0) -> dict[str, str]:
    """The device of each operation, short: `CPU:1`, or `ps:0` in a cluster."""
    tensors = tuple(fetch for fetch in fetches if isinstance(fetch, wf.Tensor))
    targets = tuple(fetch for fetch in fetches if isinstance(fetch, wf.Operation))
    program = pipeline.cut(pipeline.Request(tensors, targets, ()))
    chosen = place(program, devices, devices[default], soft, local=devices is LOCAL)
    short = [f"CPU:{d.device_index}" if d.job == "localhost" else f"{d.job}:{d.task}" for d in chosen]
    return {node.name: device for node, device in zip(program.nodes, short, strict=True)}


def test_without_a_request_all_is_on_the_default_device() -> None:
    x = wf.random_uniform([2]) + 1.0
    assert set(placed(x).values()) == {"CPU:0"}
    assert set(placed(x, default=2).values()) == {"CPU:2"}


@pytest.mark.parametrize("name", ["/cpu:1", "/device:CPU:1", "/job:localhost/replica:0/task:0/device:CPU:1"])
def test_a_requested_device(name: str) -> None:
    x = wf.random_uniform([2])
    with wf.device(name):
        y = wf.identity(x, name="y")
    assert placed(y)["y"] == "CPU:1"
    assert placed(y)[x.op.name] == "CPU:0"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("/job:worker", "worker:0"), ("/job:worker/task:1", "worker:1"), ("/cpu:0", "ps:0"), ("/job:ps", "ps:0")],
)
def test_a_partial_name_takes_the_first_device_that_fits(name: str, expected: str) -> None:
    with wf.device(name):
        x = wf.exp([1.0, 2.0], name="x")
    assert placed(x, devices=TASKS)["x"] == expected


def test_a_partial_name_takes_the_default_device_if_that_fits() -> None:
    with wf.device("/job:worker"):
        x = wf.exp([1.0, 2.0], name="x")
    assert placed(x, devices=TASKS, default=2)["x"] == "worker:1"


def test_an_unknown_device_names_those_there_are_and_the_users_line() -> None:
    value = wf.constant([1.0, 2.0])
    with wf.device("/job:nosuch/task:0"):
        x = wf.exp(value, name="x")
    with pytest.raises(wf.errors.InvalidArgumentError) as info:
        placed(x)
    message = info.value.message
    assert "Cannot assign a device for operation x: {{node x}} was explicitly assigned to /job:nosuch/task:0" in message
    assert "but available devices are [ /job:localhost/replica:0/task:0/device:CPU:0, " in message
    assert "Make sure the device specification refers to a valid device." in message
    assert "test_placement.py" in message
    assert info.value.op is x.op


def test_a_session_reports_unknown_devices() -> None:
    with wf.device("/gpu:0"):
        x = wf.exp([1.0, 2.0], name="x")
    with wf.Session() as sess, pytest.raises(wf.errors.InvalidArgumentError, match="Cannot assign a device"):
        sess.run(x)
    with wf.Session(config=wf.ConfigProto(allow_soft_placement=True)) as sess:
        assert sess.run(x).shape == (2,)


@pytest.mark.parametrize("name", ["/gpu:0", "/cpu:7", "/job:worker/task:1", "/job:ps/gpu:3"])
def test_soft_placement_in_one_process_falls_back_to_its_devices(name: str) -> None:
    with wf.device(name):
        x = wf.exp([1.0, 2.0], name="x")
    assert placed(x, soft=True)["x"] == "CPU:0"


def test_soft_placement_keeps_what_can_be_kept() -> None:
    with wf.device("/job:worker/task:5/cpu:2"):
        x = wf.exp([1.0, 2.0], name="x")
    assert placed(x, soft=True)["x"] == "CPU:2"
    with wf.device("/job:worker/task:1/gpu:0"):
        y = wf.exp([1.0, 2.0], name="y")
    assert placed(y, devices=TASKS, soft=True)["y"] == "worker:1"


def test_soft_placement_on_a_cluster_never_changes_the_task() -> None:
    with wf.device("/job:worker/task:7"):
        x = wf.exp([1.0, 2.0], name="x")
    with pytest.raises(wf.errors.InvalidArgumentError, match="/job:worker/task:7"):
        placed(x, devices=TASKS, soft=True)


def test_constants_and_feeds_go_where_all_that_use_them_are() -> None:
    fed, shared, drawn = (
        wf.placeholder(wf.float32, [2], "fed"),
        wf.constant(3.0, name="shared"),
        wf.random_uniform([2], name="r"),
    )
    with wf.device("/cpu:1"):
        y = fed * wf.constant([1.0, 2.0]) + shared + drawn
    with wf.device(None), wf.device("/cpu:2"):
        z = y + shared
    alone = wf.constant(4.0, name="alone")
    with wf.device("/cpu:1"):
        w = z * alone
    program = pipeline.cut(pipeline.Request((w,), (), (fed,)))
    devices = place(program, LOCAL, LOCAL[0], soft=False, local=True)
    where = {node.name: device.device_index for node, device in zip(program.nodes, devices, strict=True)}
    assert (where["fed:0"], where["alone"], where["shared"], where[drawn.op.inputs[0].op.name]) == (1, 1, 0, 0)


def test_a_session_that_lacks_its_target_is_told() -> None:
    with wf.device("/job:ps/task:0"):
        x = wf.exp([1.0], name="x")
    with wf.Session() as session, pytest.raises(wf.errors.InvalidArgumentError) as caught:
        session.run(x)
    assert (
        "This session has no target, so it runs in this process, which is no task of job 'ps'" in caught.value.message
    )


def test_a_missing_gpu_is_told() -> None:
    with wf.device("/gpu:0"):
        x = wf.exp([1.0], name="x")
    with pytest.raises(wf.errors.InvalidArgumentError, match=r"weft runs on CPUs: .*allow_soft_placement"):
        placed(x)


# what must share a device


def test_colocated_operations_share_a_device() -> None:
    with wf.device("/cpu:2"):
        x = wf.exp([1.0, 2.0], name="x")
    with wf.colocate_with(x):
        y = wf.identity(x, name="y")
    with wf.colocate_with(y):
        z = wf.identity(x, name="z")
    where = placed(y, z)
    assert (where["x"], where["y"], where["z"]) == ("CPU:2", "CPU:2", "CPU:2")


def test_a_later_request_moves_the_whole_group() -> None:
    x = wf.exp([1.0, 2.0], name="x")
    with wf.colocate_with(x), wf.device("/cpu:1"):
        y = wf.identity(x, name="y")
    assert placed(y)["x"] == placed(y)["y"] == "CPU:1"


def test_partial_requests_of_a_group_are_merged() -> None:
    with wf.device("/job:worker"):
        x = wf.exp([1.0, 2.0], name="x")
    with wf.device("/task:1"):
        y = wf.exp([1.0, 2.0], name="y")
    where = placed(with_both(x, y), devices=TASKS)
    assert (where["x"], where["y"], where["z"]) == ("worker:1", "worker:1", "worker:1")


def with_both(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
    with wf.colocate_with(x), wf.colocate_with(y):
        return wf.add(x, y, name="z")


def contradiction() -> wf.Tensor:
    with wf.device("/job:worker/task:0"):
        x = wf.exp([1.0, 2.0], name="x")
    with wf.device("/job:worker/task:1"):
        y = wf.exp([1.0, 2.0], name="y")
    return with_both(x, y)


def test_contradictory_requests_of_a_group() -> None:
    with pytest.raises(wf.errors.InvalidArgumentError) as info:
        placed(contradiction(), devices=TASKS)
    message = info.value.message
    assert "Cannot colocate nodes {{colocation_node y}} and {{colocation_node x}}" in message
    assert "Cannot merge devices with incompatible tasks: '/job:worker/task:0' and '/job:worker/task:1'" in message
    assert "Colocation Debug Info" in message
    assert message.count("test_placement.py") == 2


def test_with_soft_placement_the_first_request_of_a_group_counts() -> None:
    where = placed(contradiction(), devices=TASKS, soft=True)
    assert where["x"] == where["y"] == "worker:0"


def test_a_variables_reads_and_updates_are_where_it_is() -> None:
    with wf.device("/cpu:1"):
        v = wf.Variable([1.0], name="v")
    with wf.device("/cpu:2"):
        update = v.assign_add([1.0])
        doubled = wf.multiply(v, 2.0, name="doubled")
    where = placed(update, doubled, v.initializer)
    for name, device in where.items():
        if name != "doubled" and not name.startswith("v/initial"):
            assert device == "CPU:1" or wf.get_default_graph().get_operation_by_name(name).type == "Const"
    assert where["doubled"] == "CPU:2"


def test_a_variables_device_goes_before_that_of_its_writer() -> None:
    with wf.device("/cpu:1"):
        v = wf.Variable([1.0], name="v")
    with wf.device("/cpu:2"):
        write = AssignVariableOp(wf.float32, (1,)).node(v.handle, wf.ones([1]), name="write")
    assert placed(write)["write"] == "CPU:1"


def test_two_variables_that_cannot_share_a_device() -> None:
    with wf.device("/cpu:1"):
        v = wf.Variable([1.0], name="v")
    with wf.device("/cpu:2"):
        w = wf.Variable([1.0], name="w")
    z = with_both(v.value(), w.value())
    assert placed(v.value() + w.value())["v"] == "CPU:1"
    with pytest.raises(wf.errors.InvalidArgumentError, match=r"Cannot colocate nodes.*incompatible ids"):
        placed(z)


def test_questions_about_a_shape_are_asked_where_the_value_is() -> None:
    with wf.device("/cpu:2"):
        x = wf.placeholder_with_default(wf.random_uniform([2]), [None])
    sized = wf.size(x, name="sized")
    with wf.device("/cpu:1"):
        asked = wf.size(x, name="asked")
    where = placed(sized, asked)
    assert (where["sized"], where["asked"]) == ("CPU:2", "CPU:1")


def test_gradients_go_where_the_forward_operations_are() -> None:
    with wf.device("/cpu:1"):
        x = wf.placeholder_with_default([1.0], [None])
        y = wf.exp(x)
    (dx,) = wf.gradients(y, x, colocate_gradients_with_ops=True)
    assert placed(dx)[dx.op.name] == "CPU:1"


def test_a_program_over_several_devices_computes() -> None:
    config = wf.ConfigProto(device_count={"CPU": 3})
    with wf.device("/cpu:1"):
        v = wf.Variable([1.0, 2.0])
    with wf.device("/cpu:2"):
        y = wf.reduce_sum(v * v)
    (dv,) = wf.gradients(y, v)
    with wf.control_dependencies([dv]):
        update = v.assign_sub(0.5 * dv)
    with wf.Session(config=config) as sess:
        sess.run(wf.global_variables_initializer())
        assert sess.run([y, update])[0] == 5.0
        assert sess.run(v).tolist() == [0.0, 0.0]
        assert len(sess.plan(y).plans) == 2


def test_placements_are_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    with wf.device("/cpu:1"):
        x = wf.random_uniform([2], name="x")
    y = wf.exp(x, name="y")
    config = wf.ConfigProto(device_count={"CPU": 2}, log_device_placement=True)
    with wf.Session(config=config) as sess:
        sess.run(x)
        sess.run(y)
    told = capfd.readouterr().err.splitlines()
    where = "/job:localhost/replica:0/task:0/device:CPU:"
    assert told.count("x/RandomUniform: (RandomUniform): " + where + "1") == 1
    assert told.count("y: (Exp): " + where + "0") == 1
    assert len(told) == len(set(told))


@pytest.mark.parametrize(
    "made_there",
    [
        lambda x: wf.identity(x),
        lambda x: wf.stop_gradient(x),
        lambda x: wf.reshape(x, [3]),
        lambda x: wf.constant(1.0) + 2.0,
        lambda x: wf.shape(x),
    ],
    ids=["identity", "stop_gradient", "reshape", "folded", "shape"],
)
def test_an_unknown_device_is_an_error_also_for_what_optimization_takes_out(made_there: Any) -> None:
    x = wf.placeholder(wf.float32, [3])
    with wf.device("/device:CPU:7"):
        y = made_there(x)
    with (
        wf.Session() as session,
        pytest.raises(wf.errors.InvalidArgumentError, match=r"Cannot assign a device .*CPU:7"),
    ):
        session.run(y, {x: [1.0, 2.0, 3.0]})
