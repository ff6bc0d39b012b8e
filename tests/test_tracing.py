"""Traces: what RunOptions ask of a run, what RunMetadata then tells, and the timeline drawn from it."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf
from tasks import session_of_tasks
from weft.cluster.wire.traces import Trace
from weft.graph.graphdef.protos import protos
from weft.runtime.reporting.timeline import Timeline
from weft.runtime.reporting.tracing import DeviceStepStats, NodeExecStats, StepStats

FULL = wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE)


@pytest.fixture
def sess() -> Iterator[wf.Session]:
    """A session of the test's default graph, on two devices."""
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as session:
        yield session


def traced(sess: wf.Session, fetches: Any, feeds: Any = None) -> StepStats:
    metadata = wf.RunMetadata()
    sess.run(fetches, feeds, FULL, metadata)
    return metadata.step_stats


def across() -> tuple[wf.Tensor, wf.Tensor]:
    """A placeholder, and what is computed of it on both devices."""
    x = wf.placeholder(wf.float32, [2, 3], "x")
    with wf.device("/cpu:1"):
        there = wf.exp(x, name="there")
    with wf.device("/cpu:0"):
        return x, wf.reduce_sum(there, name="here")


def nodes(stats: StepStats) -> dict[str, NodeExecStats]:
    return {node.node_name: node for device in stats.dev_stats for node in device.node_stats}


def test_each_operation_with_its_time_and_shapes(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [2, 3], "x")
    y = wf.matmul(wf.exp(x, name="e"), x, transpose_b=True, name="product")
    before = time.time_ns()
    (device,) = traced(sess, y, {x: np.ones((2, 3))}).dev_stats
    after = time.time_ns()
    assert device.device == "/job:localhost/replica:0/task:0/device:CPU:0"
    first, second = device.node_stats
    assert [first.node_name, second.node_name] == ["e", "product"]
    assert first.timeline_label == "e = Exp(x:0)"
    assert second.timeline_label == "product = MatMul(e, x:0)"
    (output,) = second.output
    described = output.tensor_description
    assert (output.slot, described.dtype, described.shape, described.requested_bytes) == (0, "float32", (2, 2), 16)
    assert before <= first.all_start_nanos
    assert first.all_start_nanos + first.all_end_rel_nanos <= second.all_start_nanos
    assert second.all_start_nanos + second.all_end_rel_nanos <= after
    assert first.all_start_micros == first.all_start_nanos // 1000


def test_several_outputs_and_none(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [4], "x")
    parts = wf.split(x, 2, name="parts")
    v = wf.Variable(wf.zeros([2]))
    sess.run(v.initializer)
    found = nodes(traced(sess, v.assign_add(parts[0] * parts[1], name="add"), {x: np.ones(4)}))
    assert [output.tensor_description.shape for output in found["parts"].output] == [(2,), (2,)]
    assert all(node.all_end_rel_nanos >= 0 for node in found.values())
    times = [(node.op_start_rel_micros, node.op_end_rel_micros, node.op_end_rel_nanos) for node in found.values()]
    assert times == [(0, node.all_end_rel_micros, node.all_end_rel_nanos) for node in found.values()]


def test_each_device_and_what_crosses(sess: wf.Session) -> None:
    x, y = across()
    stats = traced(sess, y, {x: np.zeros((2, 3))})
    ran = {device.device[-5:]: [node.timeline_label for node in device.node_stats] for device in stats.dev_stats}
    cpu = "/job:localhost/replica:0/task:0/device:CPU:"
    assert ran == {
        "CPU:0": [f"there = _Recv() from {cpu}1", "here = Sum(there)"],
        "CPU:1": ["there = Exp(x:0)", f"there = _Send(there) to {cpu}0"],
    }


def test_a_traced_run_gives_the_same_values_and_other_runs_are_as_before(sess: wf.Session) -> None:
    x, y = across()
    fed = {x: np.arange(6.0).reshape(2, 3)}
    plain = sess.run(y, fed)
    assert sess.run(y, fed, FULL) == plain
    metadata = wf.RunMetadata()
    assert sess.run(y, fed, FULL, metadata) == plain
    assert sess.run(y, fed) == plain
    before = metadata.step_stats
    sess.run(y, fed, wf.RunOptions(), metadata)
    assert metadata.step_stats is before


def test_a_traced_run_that_fails_says_why(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [])
    y = wf.check_numerics(x * 2.0, "bad", name="checked")
    with pytest.raises(wf.errors.InvalidArgumentError, match="bad") as info:
        traced(sess, y, {x: np.nan})
    assert info.value.op is y.op


def test_without_options_nothing_is_told(sess: wf.Session) -> None:
    metadata = wf.RunMetadata()
    assert sess.run(wf.constant(1.0) + wf.random_uniform([]), run_metadata=metadata) >= 1.0
    assert metadata == wf.RunMetadata(StepStats(), [])


def test_partition_graphs(sess: wf.Session) -> None:
    x, y = across()
    metadata = wf.RunMetadata()
    sess.run(y, {x: np.zeros((2, 3))}, wf.RunOptions(output_partition_graphs=True), metadata)
    first, second = ({node.name: node for node in part.node} for part in metadata.partition_graphs)
    assert [(node.op, list(node.input)) for node in second.values()] == [
        ("_Arg", []), ("Exp", ["_arg_x_0_0"]), ("_Send", ["there"]),
    ]  # fmt: skip
    assert [(node.op, list(node.input)) for node in first.values()] == [
        ("_Recv", []), ("Sum", ["there/_recv_0"]), ("_Retval", ["here"]),
    ]  # fmt: skip
    assert {node.device[-5:] for node in first.values()} == {"CPU:0"}
    assert {node.device[-5:] for node in second.values()} == {"CPU:1"}
    sent, received = second["there/_send_0"].attr, first["there/_recv_0"].attr
    assert sent["tensor_name"].s == received["tensor_name"].s
    assert received["send_device"].s.endswith(b"CPU:1")
    assert metadata.step_stats == StepStats()


def test_partition_graphs_name_functions_and_signals(sess: wf.Session) -> None:
    """A branch is one node with the names of its functions; what only waits for another device gets a signal."""
    x = wf.placeholder(wf.float32, [], "x")
    with wf.device("/cpu:1"):
        v = wf.Variable(1.0, name="v")
        ready = v.initializer
    with wf.device("/cpu:0"), wf.control_dependencies([ready]):
        y = wf.cond(x > 0.0, lambda: wf.exp(x), lambda: x, name="choice")
    metadata = wf.RunMetadata()
    assert sess.run(y, {x: -1.0}, wf.RunOptions(output_partition_graphs=True), metadata) == -1.0
    first, second = ({node.name: node for node in part.node} for part in metadata.partition_graphs)
    assert first["choice"].attr["then"].s == b"the true branch of 'choice'"
    (received,) = [node for node in first.values() if node.op == "_Recv"]
    assert f"^{received.name}" in first["Greater/y"].input
    (sent,) = [node for node in second.values() if node.op == "_Send"]
    assert list(sent.input) == ["^v/Assign"]


def test_partition_graphs_need_tensorboardx(sess: wf.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    y = wf.random_uniform([])
    protos.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorboardX.proto", None)
    with pytest.raises(ImportError, match="tensorboardX"):
        sess.run(y, options=wf.RunOptions(output_partition_graphs=True))


def test_callables_take_options_where_they_accept_them(sess: wf.Session) -> None:
    x, y = across()
    metadata = wf.RunMetadata()
    accepting = sess.make_callable(y, [x], accept_options=True)
    assert accepting(np.zeros((2, 3)), options=FULL, run_metadata=metadata) == 6.0
    assert "here" in nodes(metadata.step_stats)
    with pytest.raises(TypeError, match="options"):
        sess.make_callable(y, [x])(np.zeros((2, 3)), options=FULL)


def test_options_of_another_type(sess: wf.Session) -> None:
    y = wf.random_uniform([])
    with pytest.raises(TypeError, match=r"options must be a wf\.RunOptions, but got int"):
        sess.run(y, options=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"run_metadata must be a wf\.RunMetadata, but got dict"):
        sess.run(y, run_metadata={"a": 1})  # type: ignore[arg-type]


def test_each_task_of_a_cluster_notes_what_it_ran_and_when() -> None:
    with wf.device("/job:b"):
        x = wf.placeholder(wf.float32, [2, 3], name="x")
        there = wf.exp(x, name="there")
    with wf.device("/job:a"):
        here = wf.reduce_sum(there, name="here")
    with session_of_tasks() as sess:
        metadata, before = wf.RunMetadata(), time.time_ns()
        assert sess.run(here, {x: np.zeros((2, 3))}, options=FULL, run_metadata=metadata) == 6.0
        assert sess.run(here, {x: np.zeros((2, 3))}) == 6.0
        stats = {each.device: each.node_stats for each in metadata.step_stats.dev_stats}
        assert list(stats) == [f"/job:{job}/replica:0/task:0/device:CPU:0" for job in "ab"]
        received, summed = stats["/job:a/replica:0/task:0/device:CPU:0"]
        computed, sent = stats["/job:b/replica:0/task:0/device:CPU:0"]
        assert [each.node_name for each in (received, summed, computed, sent)] == ["there", "here", "there", "there"]
        assert before <= computed.all_start_nanos <= sent.all_start_nanos <= summed.all_start_nanos <= time.time_ns()
        assert (received.edge, summed.edge) == (sent.edge, None)
        assert computed.output[0].tensor_description.shape == (2, 3)
        rows = json.loads(Timeline(metadata.step_stats).generate_chrome_trace_format())["traceEvents"]
        assert {row["pid"] for row in rows} == {0, 1}
        metadata = wf.RunMetadata()
        sess.run(here, {x: np.zeros((2, 3))}, wf.RunOptions(output_partition_graphs=True), metadata)
        assert metadata.partition_graphs[0].node[0].device.startswith("/job:a/")
        assert metadata.step_stats.dev_stats == []


def test_a_traced_step_on_a_cluster_fails_as_another() -> None:
    with session_of_tasks() as sess:
        y = wf.reshape(wf.random_uniform([4]), wf.placeholder_with_default([3], [1]), name="bad")
        for options in (None, FULL):
            with pytest.raises(wf.errors.InvalidArgumentError, match="bad"):
                sess.run(y, options=options)


@pytest.mark.parametrize(
    "stats",
    ["[]", "{}", '{"device": 1, "node_stats": []}', '{"device": "d", "node_stats": [1]}',
     '{"device": "d", "node_stats": [{"node_name": "n", "all_start_nanos": 1, "all_end_rel_nanos": 1,'
     ' "timeline_label": "", "output": [{"slot": 0}], "edge": null}]}'],
)  # fmt: skip
def test_what_is_no_statistics(stats: str) -> None:
    for data in ("", stats, f'{{"stats": {stats}, "asked": 1, "taken": 2, "answered": 3}}'):
        with pytest.raises(wf.errors.DataLossError):
            Trace.decode(data.encode())


# the timeline


def test_the_timeline_of_a_run(sess: wf.Session) -> None:
    x, y = across()
    text = Timeline(traced(sess, y, {x: np.zeros((2, 3))})).generate_chrome_trace_format()
    events = json.loads(text)["traceEvents"]
    rows = {e["pid"]: e["args"]["name"][-13:] for e in events if e["name"] == "process_name"}
    assert sorted(rows.values()) == ["CPU:0 Compute", "CPU:1 Compute"]
    bars = {(rows[e["pid"]][:5], e["name"]): e for e in events if e["ph"] == "X"}
    assert list(bars) == [("CPU:0", "_Recv"), ("CPU:0", "Sum"), ("CPU:1", "Exp"), ("CPU:1", "_Send")]
    exp = bars["CPU:1", "Exp"]
    assert exp["args"] == {"name": "there", "op": "Exp", "input0": "x:0", "output0": "float32[2, 3]"}
    assert exp["dur"] >= 0
    assert exp["ts"] <= bars["CPU:0", "Sum"]["ts"]
    begin, end = (next(e for e in events if e["ph"] == phase) for phase in "sf")
    assert begin["id"] == end["id"]
    assert (rows[begin["pid"]][:5], rows[end["pid"]][:5]) == ("CPU:1", "CPU:0")
    assert begin["ts"] <= end["ts"]


def test_the_timeline_without_arrows(sess: wf.Session) -> None:
    x, y = across()
    text = Timeline(traced(sess, y, {x: np.zeros((2, 3))})).generate_chrome_trace_format(show_dataflow=False)
    assert {event["ph"] for event in json.loads(text)["traceEvents"]} == {"M", "X"}


def test_the_timeline_of_known_statistics() -> None:
    node = NodeExecStats("layer/mul", 5_000_500, 2_250, "layer/mul = Mul(a, b)")
    events = json.loads(Timeline(StepStats([DeviceStepStats("/cpu:0", [node])])).generate_chrome_trace_format())
    (bar,) = [event for event in events["traceEvents"] if event["ph"] == "X"]
    assert bar == {
        "ph": "X", "cat": "Op", "name": "Mul", "pid": 0, "tid": 0, "ts": 5000.5, "dur": 2.25,
        "args": {"name": "layer/mul", "op": "Mul", "input0": "a", "input1": "b"},
    }  # fmt: skip


def test_what_a_timeline_cannot_show() -> None:
    with pytest.raises(wf.errors.UnimplementedError, match="no memory statistics"):
        Timeline(StepStats()).generate_chrome_trace_format(show_memory=True)
    with pytest.raises(TypeError, match="step_stats must be the StepStats"):
        Timeline("stats")  # type: ignore[arg-type]
