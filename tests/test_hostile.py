"""Every parser of what comes from outside, fed with what somebody has changed: documented errors, and nothing else."""

import json
import socket
import struct
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from hostile import as_json, changed, changed_json, fuzzed, harmless, survives
from hypothesis import example, given, strategies as st
from test_cases import COMPUTED, build
from weft.cluster.presence.task_info import TaskInfo
from weft.cluster.secret import FILE_VARIABLE, cluster_secret
from weft.cluster.task import worker
from weft.cluster.task.parcels import decode_edges, encode_edges
from weft.cluster.transports import auth
from weft.cluster.transports.sockets import StreamConnection
from weft.cluster.transports.transport import Location
from weft.cluster.wire.message import Limits, Message
from weft.cluster.wire.plans import decode_plan
from weft.cluster.wire.protocol import Failure, Kind, decode_json
from weft.cluster.wire.traces import Trace
from weft.graph import context, dtypes, errors, record
from weft.graph.graphdef import tensors
from weft.graph.state import VariableSlot
from weft.graph.storage import checkpoint
from weft.graph.wire import encode_graph
from weft.runtime.reporting.tracing import DeviceStepStats, NodeExecStats, NodeOutput, TensorDescription
from weft.train import checkpoint_state
from weft.train.events.protos import event_protos

MIB = 1 << 20
REFUSED = (errors.DataLossError,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


# what tasks and sessions tell each other


def told() -> Any:
    jobs = {"ps": {0: "h:1"}, "worker": {0: "h:2", 7: "h:3"}}
    info = TaskInfo("/job:ps/task:0", "h", 7, Location("n", "p"), {"tcp": "tcp://h:1"}, jobs, serves=True)
    return json.loads(info.encode())


def traced() -> Any:
    output = NodeOutput(0, TensorDescription("float32", (2, 3), 24))
    stats = DeviceStepStats("/cpu:0", [NodeExecStats("a", 1, 2, "a = Add()", [output], None)])
    return json.loads(Trace(stats, 1, 2, 3).encode())


DECODERS = {
    "task": (TaskInfo.decode, told()),
    "failure": (Failure.decode, json.loads(Failure(3, "text", "node", derived=True).encode())),
    "trace": (Trace.decode, traced()),
    "json": (decode_json, {"role": "session", "client": "c", "threads": 1, "peers": {"a": "tcp://h:1"}}),
}


@pytest.mark.parametrize("name", DECODERS)
@fuzzed(150)
@given(data=st.data())
def test_what_is_told_is_understood_or_refused(name: str, data: st.DataObject) -> None:
    decode, whole = DECODERS[name]
    came = data.draw(changed([as_json(whole)]) | changed_json([whole]).map(as_json))
    survives(lambda: decode(came), REFUSED, MIB)


HELLOS: list[Any] = [
    {"role": "session", "client": "c", "threads": 2, "epoch": 0, "peers": {"/job:b/replica:0/task:0": "tcp://h:1"}},
    {"role": "peer", "client": "c"},
    {"role": "ask", "task": "/job:b/replica:0/task:0", "serves": True},
    {"role": "program", "task": "/job:b/replica:0/task:0"},
    {"role": "reset", "containers": ["", "c"]},
]


def serve(task: worker.Worker, kind: int, said: bytes) -> set[int]:
    """Let a task hear from somebody who says this first, and goes; what kinds of messages it answered with."""
    mine, theirs = (StreamConnection(end, "fuzz", Limits()) for end in socket.socketpair())
    with closing(mine), closing(theirs):
        mine.send(Message(kind, 0, 0, meta=said))
        mine._sock.shutdown(socket.SHUT_WR)
        try:
            task._serve_role(theirs, worker._hello(theirs.recv(5)))
        finally:
            theirs.close()
            answers = set()
            with suppress(errors.UnavailableError):
                while True:
                    answers.add(mine.recv(5).kind)
    return answers


@fuzzed(150)
@given(data=st.data())
def test_who_says_who_he_is_is_served_or_sent_away(data: st.DataObject) -> None:
    """Of a task that nobody else uses: afterwards nobody does, and its variables are there unless it was told to forget them."""
    said = data.draw(changed([as_json(each) for each in HELLOS]) | changed_json(HELLOS).map(as_json))
    kind = data.draw(st.just(int(Kind.HELLO)) | st.integers(0, 255))
    asked: list[int] = []
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(
            worker.Worker("/job:a/replica:0/task:0", bytes(32), others=["/job:b/replica:0/task:0"], transports=())
        ) as task,
    ):
        patch.setattr(worker, "limit_kernel_threads", asked.append)
        task.state.variables["", "v"] = VariableSlot("v", dtypes.float32, ())
        survives(lambda: serve(task, kind, said), (*REFUSED, errors.UnavailableError, errors.AbortedError), MIB)
        assert all(0 <= threads <= 4096 for threads in asked)
        assert task.state.variables or b"reset" in said
        assert not task._sessions()
        assert not task._ending
        assert not task.visitors._attendance._sessions
        assert not any(task.visitors._attendance._here.values())


@fuzzed(150)
@given(data=changed([encode_edges([(0, 1), (7, None), (1 << 40, 2)])]), tensors=st.integers(0, 3))
def test_edges_of_values_that_came_together(data: bytes, tensors: int) -> None:
    found = survives(lambda: decode_edges(data, range(tensors)), REFUSED, MIB)
    assert found is None or [value for _, value in found if value is not None] == [*range(tensors)]


@fuzzed(150)
@given(data=st.data())
def test_a_handshake_with_a_stranger_ends(data: st.DataObject) -> None:
    """He never learns a proof: what this side sends him before his is random."""
    secret = auth.new_secret()
    for mine in (auth.server(secret), auth.client(secret, "me")):
        with harmless(MIB), suppress(StopIteration, errors.UnauthenticatedError):
            sent, wanted = next(mine)
            while True:
                piece = data.draw(st.binary(min_size=wanted, max_size=wanted))
                piece = data.draw(st.sampled_from([piece, b"WEFTAUT1" + piece[8:], sent[:wanted].ljust(wanted, b"\0")]))
                sent, wanted = mine.send(piece)
        with pytest.raises(StopIteration):
            next(mine)


# plans and graphs on the wire


@pytest.fixture(scope="module")
def written() -> None:
    """Modules are loaded when they are first needed: now. So it is with the `__init__` of a kind of record, which is
    written from the names of its own fields.
    """
    with wf.Graph().as_default():
        wf.import_graph_def(wf.GraphDef.FromString(GRAPH))
        wf.train.import_meta_graph(str(Path(__file__).parent / "data" / "linear.meta"))
    kinds: list[Any] = record.Record.__subclasses__()
    for kind in kinds:
        kinds += kind.__subclasses__()
        if kind.__init__ is record._first_init:
            kind.__init__ = record._written_init(kind)


@cache
def plans() -> list[Any]:
    """A plan for each operation of the tables of cases, whose attributes are all there are, functions among them."""
    made = []
    for case in COMPUTED:
        context.reset_default_graph()
        outputs, _ = build(case, "full")
        rows, _ = encode_graph(outputs[0].graph)
        runs = [["run", row["name"], row["definition"], [], [], [], [], [], [], False] for row in rows]
        made.append(["/cpu:0", 0, json.loads(json.dumps(runs))])
    return made


@pytest.mark.usefixtures("written")
@fuzzed(500)
@given(data=st.data())
def test_plans_of_every_operation_are_read_or_refused(data: st.DataObject) -> None:
    came = as_json(data.draw(changed_json(plans())))
    arrays = [np.ones(2), np.zeros((), np.int32), np.array([b"a"], object)]
    survives(lambda: decode_plan(came, arrays), REFUSED, 64 * MIB)


# files


def values() -> dict[str, Any]:
    strings = np.array([b"abc", b"d"], object)
    return {"v": np.arange(5.0), "s": strings, "c": np.array(1 + 2j), "e": np.ones(0)}


@pytest.fixture(scope="module")
def saved(folder: Path) -> bytes:
    path = folder / "whole.safetensors"
    checkpoint.write_checkpoint(str(path), values())
    return path.read_bytes()


def read_checkpoint(path: Path) -> None:
    reader = checkpoint.CheckpointReader(str(path))
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)


CHECKPOINT = (errors.DataLossError, errors.UnimplementedError)


@fuzzed(150)
@given(data=st.data())
def test_checkpoints(data: st.DataObject, saved: bytes, folder: Path) -> None:
    path = folder / "changed.safetensors"
    path.write_bytes(data.draw(changed([saved])))
    survives(lambda: read_checkpoint(path), CHECKPOINT, 4 * MIB)


@fuzzed(200)
@given(data=st.data())
def test_checkpoints_whose_index_was_written_by_somebody_else(data: st.DataObject, folder: Path) -> None:
    """Its checksums are right: they tell of damage, not of lies."""
    stored = {name: checkpoint._encode(value) for name, value in values().items()}
    entries = json.loads(checkpoint._index(values(), stored))
    del entries["sha256"]
    index = data.draw(changed_json([entries]))
    digest = checkpoint.digest(index) if isinstance(index, dict) else ""
    path = folder / "forged.safetensors"
    text = as_json(index | {"sha256": digest} if isinstance(index, dict) else index).decode()
    checkpoint._write_safetensors(str(path), stored, text)
    survives(lambda: read_checkpoint(path), CHECKPOINT, 4 * MIB)


@fuzzed(100)
@example(content=b'model_checkpoint_path: "m\\8"\n')
@given(content=changed([b'model_checkpoint_path: "m-1"\nall_model_checkpoint_paths: "m\\303\\274"\n']))
def test_checkpoint_states(folder: Path, content: bytes) -> None:
    (folder / "checkpoint").write_bytes(content)
    survives(lambda: checkpoint_state.get_checkpoint_state(str(folder)), REFUSED, MIB)


def framed(body: bytes, length: int | None = None) -> bytes:
    """A record of an event file, its checksums right whatever its length says."""
    checksum = event_protos().checksum
    head = struct.pack("<Q", len(body) if length is None else length)
    return head + struct.pack("<I", checksum(head)) + body + struct.pack("<I", checksum(body))


def events() -> list[bytes]:
    summary = wf.Summary(value=[wf.Summary.Value(tag="t", simple_value=1.0)])
    kind = event_protos().Event
    return [kind(file_version="brain.Event:2").SerializeToString(), kind(step=3, summary=summary).SerializeToString()]


def read_events(path: Path) -> None:
    for _ in wf.train.summary_iterator(path):
        pass


@fuzzed(200)
@given(data=st.data())
def test_event_files(data: st.DataObject, folder: Path) -> None:
    path = folder / "events"
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(changed([b"".join(map(framed, events()))])))
    else:
        length = data.draw(st.none() | st.integers(0, 2**40))
        path.write_bytes(framed(data.draw(changed(events())), length))
    survives(lambda: read_events(path), REFUSED, MIB)


def test_a_record_that_claims_to_be_long_takes_no_memory(folder: Path) -> None:
    path = folder / "long"
    path.write_bytes(framed(events()[0]) + framed(b"x", 1 << 30))
    with harmless(MIB):
        assert len(list(wf.train.summary_iterator(path))) == 1  # as one that is still being written


META = (Path(__file__).parent / "data" / "linear.meta").read_bytes()
GRAPH = (Path(__file__).parent / "data" / "mlp.pb").read_bytes()


@pytest.mark.usefixtures("written")
@fuzzed(150)
@given(content=changed([META]))
def test_meta_graphs(folder: Path, content: bytes) -> None:
    path = folder / "changed.meta"
    path.write_bytes(content)
    with wf.Graph().as_default(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "MOST_BYTES", MIB)
        survives(lambda: wf.train.import_meta_graph(path), (ValueError, OSError, errors.NotFoundError), 64 * MIB)


@pytest.mark.usefixtures("written")
@fuzzed(150)
@given(content=changed([GRAPH]))
def test_graph_defs(content: bytes) -> None:
    from google.protobuf.message import DecodeError

    def read() -> None:
        wf.import_graph_def(wf.GraphDef.FromString(content))

    with wf.Graph().as_default(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "MOST_BYTES", MIB)
        survives(read, (DecodeError, ValueError, errors.NotFoundError), 64 * MIB)


@fuzzed(100)
@given(content=changed([b"0123456789abcdef" * 4 + b"\n"]))
def test_secret_files(folder: Path, content: bytes) -> None:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch, harmless(MIB):
        patch.setenv(FILE_VARIABLE, str(path))
        try:
            assert len(cluster_secret(["h:1"])) == auth.SECRET_SIZE
        except errors.FailedPreconditionError as error:
            assert len(content) < 8 or content.decode(errors="replace") not in error.message  # noqa: PT017
