"""Event files: what FileWriter writes is what TensorBoard's own classes read, record by record."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import weft as wf
from events import event_files, events, records, scalars
from weft.graph import errors
from weft.train.events.writing import FileWriter, FileWriterCache


def simple(tag: str, number: float) -> Any:
    return wf.Summary(value=[wf.Summary.Value(tag=tag, simple_value=number)])


def test_summaries_come_back_with_their_steps(tmp_path: Path) -> None:
    loss = wf.placeholder(wf.float32)
    summary = wf.summary.scalar("loss", loss)
    with wf.Session() as session, wf.summary.FileWriter(tmp_path / "logs", session.graph) as writer:
        assert writer.get_logdir() == str(tmp_path / "logs")
        for step in range(3):
            writer.add_summary(session.run(summary, {loss: step / 2}), step)
        writer.add_summary(simple("mine", 7.0))
    assert scalars(tmp_path / "logs", "loss") == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert scalars(tmp_path / "logs", "mine") == [(0, 7.0)]
    graph_event = events(tmp_path / "logs")[0]
    nodes = {node.name: node.op for node in wf.GraphDef.FromString(graph_event.graph_def).node}
    assert nodes["loss"] == "ScalarSummary"


def test_every_kind_of_event_comes_back(tmp_path: Path) -> None:
    x = wf.Variable([1.0, 2.0]) * 2.0
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        metadata = wf.RunMetadata()
        session.run(x, options=wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE), run_metadata=metadata)
        writer = FileWriter(str(tmp_path), filename_suffix=".mine")
        writer.add_meta_graph(wf.train.export_meta_graph(), 1)
        writer.add_session_log(wf.SessionLog(status=wf.SessionLog.CHECKPOINT, checkpoint_path="p"), 2)
        writer.add_run_metadata(metadata, "a step", 3)
        writer.add_event(wf.Event(wall_time=5.0, step=4))
        writer.add_graph(None, graph_def=session.graph_def)
        with pytest.raises(ValueError, match="tag was already used"):
            writer.add_run_metadata(metadata, "a step", 4)
        writer.close()
    meta, log, trace, event, graph = events(tmp_path)
    assert [path.suffix for path in event_files(tmp_path)] == [".mine"]
    assert "variables" in wf.MetaGraphDef.FromString(meta.meta_graph_def).collection_def
    assert (log.session_log.status, log.session_log.checkpoint_path, log.step) == (wf.SessionLog.CHECKPOINT, "p", 2)
    assert (event.wall_time, event.step) == (5.0, 4)
    assert len(wf.GraphDef.FromString(graph.graph_def).node) == session.graph.version
    assert trace.tagged_run_metadata.tag == "a step"
    assert b"ReadVariableOp" in trace.tagged_run_metadata.run_metadata


def test_a_trace_has_tensorflows_field_numbers(tmp_path: Path) -> None:
    """Read by a description of our own of TF's messages, which names what it finds."""
    from weft.graph.graphdef.messages import described
    from weft.train.events.step_stats import run_metadata_bytes

    messages = {
        "Dim": "size 1 int64",
        "Shape": "dim 2 Dim[]",
        "Tensor": "dtype 1 int32, shape 2 Shape",
        "Output": "slot 1 int32, tensor_description 3 Tensor",
        "Node": "node_name 1 string, all_start_micros 2 int64, all_end_rel_micros 5 int64, output 7 Output[], "
        "timeline_label 8 string, all_start_nanos 13 int64",
        "Device": "device 1 string, node_stats 2 Node[]",
        "StepStats": "dev_stats 1 Device[]",
        "RunMetadata": "step_stats 1 StepStats",
    }
    metadata = wf.RunMetadata()
    x = wf.placeholder(wf.float32, [2, 3])
    with wf.Session() as session:
        options = wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE)
        session.run(wf.matmul(x, x, transpose_a=True, name="mine"), {x: [[1, 2, 3]] * 2}, options, metadata)
    read = described("weft/test_trace.proto", messages, {})["RunMetadata"].FromString(run_metadata_bytes(metadata))
    (device,) = read.step_stats.dev_stats
    assert device.device == metadata.step_stats.dev_stats[0].device
    node = next(node for node in device.node_stats if node.node_name == "mine")
    origin = next(n for n in metadata.step_stats.dev_stats[0].node_stats if n.node_name == "mine")
    assert (node.all_start_nanos, node.timeline_label) == (origin.all_start_nanos, origin.timeline_label)
    assert [dim.size for dim in node.output[0].tensor_description.shape.dim] == [3, 3]
    assert node.output[0].tensor_description.dtype == 1


def test_what_describes_a_tag_is_written_once(tmp_path: Path) -> None:
    text = wf.summary.text("t", "words")
    with wf.Session() as session, FileWriter(tmp_path) as writer:
        for step in range(2):
            writer.add_summary(session.run(text), step)
    first, second = events(tmp_path)
    assert first.summary.value[0].metadata.plugin_data.plugin_name == "text"
    assert not second.summary.value[0].HasField("metadata")


def test_events_are_there_after_flush_and_when_many_wait(tmp_path: Path) -> None:
    writer = FileWriter(tmp_path, max_queue=3)
    writer.add_summary(simple("a", 1.0), 1)
    assert events(tmp_path) == []
    writer.flush()
    assert scalars(tmp_path, "a") == [(1, 1.0)]
    for step in range(2, 5):
        writer.add_summary(simple("a", 1.0), step)
    assert len(scalars(tmp_path, "a")) == 4
    writer.close()


def test_after_close_nothing_is_written_until_it_is_opened_again(tmp_path: Path) -> None:
    writer = FileWriter(tmp_path)
    writer.close()
    writer.close()
    with pytest.warns(UserWarning, match="closed FileWriter"):
        writer.add_summary(simple("a", 1.0), 1)
    with pytest.warns(UserWarning, match="closed FileWriter"):
        writer.flush()
    writer.reopen()
    writer.reopen()
    writer.add_summary(simple("a", 2.0), 2)
    writer.close()
    assert len(event_files(tmp_path)) == 2
    assert scalars(tmp_path, "a") == [(2, 2.0)]


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with FileWriter(tmp_path) as writer:
        with pytest.raises(TypeError, match="expected a Summary or a serialized one, but got int"):
            writer.add_summary(5)
        with pytest.raises(ValueError, match="no serialized Summary"):
            writer.add_summary(b"\xff\xff")
        with pytest.raises(TypeError, match="expected a Event"):
            writer.add_event(simple("a", 1.0))
        with pytest.raises(TypeError, match="expected a SessionLog"):
            writer.add_session_log("started")
        with pytest.raises(TypeError, match="must be type MetaGraphDef"):
            writer.add_meta_graph(wf.get_default_graph())
        with pytest.raises(TypeError, match=r"must be a wf\.RunMetadata"):
            writer.add_run_metadata({}, "tag")
        with pytest.raises(ValueError, match="either a graph or a graph_def"):
            writer.add_graph(None)
    assert events(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.OpError, match="Cannot write an event file"):
        FileWriter(tmp_path / "file" / "logs")


def test_the_cache_has_one_writer_a_folder(tmp_path: Path) -> None:
    FileWriterCache.clear()
    one, two = FileWriterCache.get(tmp_path / "one"), FileWriterCache.get(str(tmp_path / "two"))
    assert FileWriterCache.get(str(tmp_path / "one")) is one
    assert two is not one
    one.add_summary(simple("a", 1.0), 1)
    FileWriterCache.clear()
    assert scalars(tmp_path / "one", "a") == [(1, 1.0)]
    assert FileWriterCache.get(tmp_path / "one") is not one
    FileWriterCache.clear()


def test_several_threads_may_write(tmp_path: Path) -> None:
    writer = FileWriter(tmp_path)

    def write(tag: str) -> None:
        for step in range(100):
            writer.add_summary(simple(tag, step), step)

    threads = [threading.Thread(target=write, args=(tag,)) for tag in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    (path,) = event_files(tmp_path)
    assert len(list(records(path))) == 401
    for tag in "abcd":
        assert scalars(tmp_path, tag) == [(step, float(step)) for step in range(100)]


def test_events_are_read_back_in_order(tmp_path: Path) -> None:
    with FileWriter(tmp_path) as writer:
        for step in range(3):
            writer.add_summary(simple("a", step), step)
        (path,) = event_files(tmp_path)
        writer.flush()
        whole = path.read_bytes()
    first, *rest = wf.train.summary_iterator(path)
    assert first.file_version == "brain.Event:2"
    assert [(event.step, event.summary.value[0].simple_value) for event in rest] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    path.write_bytes(whole[:-1])  # as while it is being written
    assert len(list(wf.train.summary_iterator(str(path)))) == 3


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    with FileWriter(tmp_path) as writer:
        writer.add_summary(simple("a", 1.0), 1)
    (path,) = event_files(tmp_path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(errors.DataLossError, match="is damaged"):
            list(wf.train.summary_iterator(path))
    with pytest.raises(errors.NotFoundError):
        list(wf.train.summary_iterator(tmp_path / "none"))


UNCLOSED = """
import sys
import weft as wf

kept = wf.summary.FileWriter(sys.argv[1])
kept.add_summary(wf.Summary(value=[wf.Summary.Value(tag="kept", simple_value=1.0)]), 1)
wf.summary.FileWriterCache.get(sys.argv[1] + "/cached").add_summary(
    wf.Summary(value=[wf.Summary.Value(tag="cached", simple_value=2.0)]), 2
)
"""


def test_what_a_program_leaves_open_is_written_when_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-W", "error", "-c", UNCLOSED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    assert scalars(tmp_path, "kept") == [(1, 1.0)]
    assert scalars(tmp_path / "cached", "cached") == [(2, 2.0)]


WITHOUT = """
import sys
sys.modules["tensorboardX"] = None
import weft as wf

try:
    wf.summary.FileWriter(sys.argv[1])
except ImportError as error:
    print(error)
"""


def test_without_tensorboardx_the_error_says_what_to_install(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", WITHOUT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    assert 'Install it with: pip install "weft[graphdef]"' in done.stdout
