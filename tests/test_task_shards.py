"""Savers on a cluster: tasks write and read what they keep, at one moment, checked, and from any placement."""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from hostile import changed, fuzzed, survives
from hypothesis import given
from scripted import A, B, session, workers
from test_checkpoint import disk_of
from test_shards import shards_of
from weft import train
from weft.cluster.task.worker import Worker
from weft.graph import errors
from weft.graph.ops import shards as ops
from weft.graph.storage import checkpoint
from weft.graph.storage.checkpoint import MANIFEST, Entry, write_checkpoint
from weft.runtime import targets

#: What is saved, by the task it is on; "" is for nobody's.
VALUES: dict[str, tuple[str, Any]] = {
    "a": (A, np.arange(6, dtype=np.float32).reshape(2, 3)),
    "text": (A, np.array([b"one", b"\0two\0", b""], object)),
    "half": (A, np.array([1.5, -0.0, np.nan], wf.bfloat16.as_numpy_dtype)),
    "b": (B, np.arange(5, dtype=np.int64)),
    "complex": (B, np.array([1 + 2j, -1j])),
    "none": (B, np.ones((0, 4))),
    "flag": (B, np.array(True)),
    "free": ("", np.arange(3.0)),
}


@pytest.fixture
def tasks() -> Iterator[list[Worker]]:
    """Two tasks, which sessions on `here://` run on."""
    with ExitStack() as stack:
        made = stack.enter_context(workers(A, B))
        targets.register_engine("here", lambda target, config: stack.enter_context(session(made)))
        stack.callback(targets._SERVED.pop, "here")
        yield made


def variables(places: dict[str, str] | None = None, zero: bool = False) -> dict[str, Any]:
    """The variables of VALUES, on those tasks or on others."""
    found = {}
    for name, (task, value) in VALUES.items():
        initial = np.full_like(value, b"") if value.dtype.hasobject else np.zeros_like(value)
        with wf.device((places or {}).get(name, task) if places is None or places else None):
            found[name] = wf.Variable(initial if zero else value, name=name)
    return found


def bits(values: dict[str, Any]) -> dict[str, Any]:
    arrays = {name: np.asarray(value) for name, value in values.items()}
    return {name: (a.dtype, a.shape, a.tolist() if a.dtype.kind in "OS" else a.tobytes()) for name, a in arrays.items()}


WANTED = bits({name: value for name, (_, value) in VALUES.items()})


def saved(place: str, target: str = "here://", **arguments: Any) -> str:
    """The prefix of a checkpoint of VALUES."""
    with wf.Graph().as_default():
        variables({} if not target else None)
        saver = train.Saver(**{"sharded": True, **arguments})
        with wf.Session(target) as sess:
            sess.run(wf.global_variables_initializer())
            return str(saver.save(sess, place, 7))


def restored(path: str, target: str, places: dict[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
    with wf.Graph().as_default():
        found = variables(places, zero=True)
        saver = train.Saver(**{"sharded": True, **arguments})
        with wf.Session(target) as sess:
            saver.restore(sess, path)
            return bits(sess.run(found))


class Writes:
    """Who wrote shards."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by: list[str] = []
        for module in ("weft.train.saver", "weft.graph.storage.checkpoint"):
            monkeypatch.setattr(f"{module}.write_checkpoint", self.write)

    def write(self, *arguments: Any) -> Any:
        self.by.append(threading.current_thread().name)
        return write_checkpoint(*arguments)


def test_tasks_write_what_they_keep_and_the_session_what_nobody_is_asked_for(
    tasks: list[Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(monkeypatch)
    path = saved(str(tmp_path / "m"))
    assert shards_of(path) == {
        "00001-of-00003": ["a", "half", "text"], "00002-of-00003": ["b", "complex", "flag", "none"], "00003-of-00003": ["free"],
    }  # fmt: skip
    assert sorted(name.partition(" step")[0] for name in writes.by) == ["MainThread", f"weft {A}", f"weft {B}"]
    assert {name.split(".")[0] for name in os.listdir(tmp_path)} == {"checkpoint", "m-7"}
    assert len(os.listdir(tmp_path)) == 6


def test_the_bits_are_those_of_a_file_that_one_process_writes(tasks: list[Worker], tmp_path: Path) -> None:
    by_tasks = train.load_checkpoint(saved(str(tmp_path / "m")))
    by_one = train.load_checkpoint(saved(str(tmp_path / "n"), sharded=False))
    local = train.load_checkpoint(saved(str(tmp_path / "l"), target=""))
    names = sorted(by_one.get_variable_to_shape_map())
    assert names == sorted(VALUES)
    for reader in (by_tasks, by_one, local):
        assert bits({name: reader.get_tensor(name) for name in names}) == WANTED
    assert by_tasks.entries == by_one.entries == local.entries
    sizes = json.loads(Path(f"{tmp_path}/m-7{MANIFEST}").read_text())["metadata"]["total_size"]
    assert sizes == sum(value.nbytes for _, value in VALUES.values())


OTHER_WAY = {name: {A: B, B: A, "": A}[task] for name, (task, _) in VALUES.items()}


@pytest.mark.parametrize(
    "places", [None, OTHER_WAY, dict.fromkeys(VALUES, B), {}], ids=["same", "swapped", "one", "none"]
)
@pytest.mark.parametrize("form", ["tasks", "one file", "small shards"])
def test_any_placement_restores_any_form(places: Any, form: str, tasks: list[Worker], tmp_path: Path) -> None:
    path = saved(
        str(tmp_path / "m"), sharded=form != "one file", max_shard_bytes=1 if form == "small shards" else 10**9
    )
    assert restored(path, "here://", places) == WANTED
    assert restored(path, "here://", places, sharded=False) == WANTED
    assert restored(path, "", {}) == WANTED


def test_a_restore_may_give_another_shape(tasks: list[Worker], tmp_path: Path) -> None:
    with wf.device(A):
        v = wf.Variable(np.arange(6.0).reshape(2, 3), name="v")
    with wf.Session("here://") as sess:
        sess.run(v.initializer)
        path = train.Saver(sharded=True).save(sess, str(tmp_path / "m"))
    with wf.Graph().as_default(), wf.device(B):
        v = wf.Variable(np.zeros((3, 2)), name="v")
        with wf.Session("here://") as sess:
            with pytest.raises(errors.InvalidArgumentError, match=r"shape \[3, ?2\] in the graph"):
                train.Saver(sharded=True).restore(sess, path)
            train.Saver(sharded=True, reshape=True, restore_sequentially=True).restore(sess, path)
            assert sess.run(v).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_the_values_are_those_of_the_moment_and_cost_no_copy(tasks: list[Worker], tmp_path: Path) -> None:
    """Two checkpoints are taken, with steps in between and afterwards, before either is written."""
    found = []
    for task in (A, B):
        with wf.device(task):
            found.append(wf.Variable(np.zeros(100_000), name=task[5]))
    add = wf.group(*[v.assign_add(np.ones(100_000)).op for v in found])
    saver = train.Saver(sharded=True)
    with wf.Session("here://") as sess:
        sess.run(wf.global_variables_initializer())
        writers = []
        for step in (1, 2):
            sess.run([add])
            writers.append(saver.snapshot(sess, str(tmp_path / "m"), step))
            slots = [slot for task in tasks for slot in task.state.variables.values()]
            assert len(held_by(tasks)) == 2 * step
            assert {id(value) for value in held_by(tasks)[-1:]} <= {id(slot.value) for slot in slots}
        sess.run([add])
        paths = [write() for write in writers]
        assert held_by(tasks) == []
        assert [sess.run(v)[0] for v in found] == [3.0, 3.0]
        for step, path in enumerate(paths, 1):
            assert path is not None
            for name in "ab":
                assert train.load_variable(path, name).tolist() == [float(step)] * 100_000


def held_by(tasks: list[Worker]) -> list[Any]:
    """What tasks hold for sessions, by the time since when."""
    clients = [client for task in tasks for client in task._sessions()]
    tables = [each for client in clients for each in client._state.private.values() if isinstance(each, ops.Held)]
    return [value for table in tables for values in table._values.values() for value in values if value.size]


def test_what_nobody_will_write_is_not_held_for_ever(tasks: list[Worker], tmp_path: Path) -> None:
    with wf.device(A):
        v = wf.Variable(np.zeros(1000), name="v")
    saver = train.Saver(sharded=True)
    with wf.Session("here://") as sess:
        sess.run(v.initializer)
        for _ in range(3):
            saver.snapshot(sess, str(tmp_path / "m"))
            assert len(held_by(tasks)) == 1
        path = saver.save(sess, str(tmp_path / "m"))
        assert held_by(tasks) == []
        saver.restore(sess, path)
        assert held_by(tasks) == []


def test_where_a_task_does_not_see_the_folder_the_session_writes_and_says_why(
    tasks: list[Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writes = Writes(monkeypatch)
    monkeypatch.setattr("weft.graph.storage.files.unseen", lambda place, to_write: f"there is no file {place}")
    with wf.Graph().as_default():
        variables()
        saver = train.Saver(sharded=True)
        with wf.Session("here://") as sess:
            sess.run(wf.global_variables_initializer())
            paths = [saver.save(sess, str(tmp_path / "m"), step) for step in (1, 2)]
    assert set(writes.by) == {"MainThread"}
    (told,) = [record.message for record in caplog.records]  # once a session
    pattern = rf"This process fetches all variables and writes them itself, .* reach {tmp_path}: task {A} \(process \d+ on host"
    assert re.match(pattern, told)
    assert B in told
    assert "Saver(sharded=False) does not ask for it" in told
    assert [name for name in os.listdir(tmp_path) if "weft-tmp" in name] == []
    caplog.clear()
    assert restored(str(paths[1]), "here://") == WANTED
    assert "This process reads all variables and feeds them itself" in caplog.text


def test_a_full_disk_of_a_task_is_one_error_and_leaves_the_checkpoint_before(
    tasks: list[Worker], tmp_path: Path
) -> None:
    with wf.device(A):
        small = wf.Variable(np.zeros(10), name="small")
    with wf.device(B):
        big = wf.Variable(np.zeros(1 << 15), name="big")
    saver = train.Saver(sharded=True)
    with wf.Session("here://") as sess:
        sess.run([small.initializer, big.initializer])
        path = saver.save(sess, str(tmp_path / "m"))
        there = sorted(os.listdir(tmp_path))
        sess.run([small.assign(np.ones(10)), big.assign(np.ones(1 << 15))])
        with disk_of(1 << 16), pytest.raises(errors.ResourceExhaustedError) as raised:
            saver.save(sess, str(tmp_path / "m"))
        assert re.match(
            rf"task {B} \(process \d+ on host \S+\): Cannot write {tmp_path}/m\.\S+: ", raised.value.message
        )
        assert sorted(os.listdir(tmp_path)) == there
        assert held_by(tasks) == []
        saver.restore(sess, path)
        assert not any(value.any() for value in sess.run([small, big]))
        saver.save(sess, str(tmp_path / "m"))
        assert len(os.listdir(tmp_path)) == len(there)


def test_a_shard_that_comes_after_its_save_has_failed_is_swept_by_the_next(
    tasks: list[Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wf.device(A):
        v = wf.Variable(np.zeros(10), name="v")
    saver = train.Saver(sharded=True)
    with wf.Session("here://") as sess:
        sess.run(v.initializer)
        late: list[str] = []

        def fails(path: str, values: Any, *more: Any) -> Any:
            late.append(path)
            raise errors.ResourceExhaustedError(None, None, "the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr("weft.graph.storage.checkpoint.write_checkpoint", fails)
            with pytest.raises(errors.ResourceExhaustedError, match="the disk is full"):
                saver.save(sess, str(tmp_path / "m"))
        write_checkpoint(late[0], {"v": np.zeros(10)})
        path = saver.save(sess, str(tmp_path / "m"))
        assert os.path.basename(late[0]) not in os.listdir(tmp_path)
        saver.restore(sess, path)


def test_a_damaged_shard_changes_no_variable_of_any_task(tasks: list[Worker], tmp_path: Path) -> None:
    path = saved(str(tmp_path / "m"))
    shard = next(tmp_path.glob("m-7.*-00002-of-*"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    found = variables(zero=True)
    saver = train.Saver(sharded=True)
    with wf.Session("here://") as sess:
        sess.run(wf.global_variables_initializer())
        before = bits(sess.run(found))
        with pytest.raises(
            errors.DataLossError, match=rf"task {B} \(process .*: Checkpoint {shard} is truncated, corrupt"
        ):
            saver.restore(sess, path)
        assert bits(sess.run(found)) == before


def test_a_shard_of_another_checkpoint_is_not_taken_for_its_own(tasks: list[Worker], tmp_path: Path) -> None:
    """As when the checkpoint is replaced while tasks read it: what each reads is what the session's manifest names."""
    path = saved(str(tmp_path / "m"))
    shard = next(tmp_path.glob("m-7.*-00002-of-*"))
    names = ("b", "complex", "none", "flag")
    write_checkpoint(str(shard), {name: VALUES[name][1] for name in names} | {"b": np.zeros(5, np.int64)})
    with pytest.raises(errors.DataLossError, match="it has another b than its checkpoint"):
        restored(path, "here://")


def test_a_session_that_ends_ends_the_writing_and_leaves_nothing(
    tasks: list[Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "AT_ONCE", 8)
    with wf.device(A):
        v = wf.Variable(np.zeros(1000), name="v")
    saver = train.Saver(sharded=True)
    reached, closed, raised = threading.Event(), threading.Event(), []
    go_on = ops._go_on

    def waits() -> None:
        reached.set()
        assert closed.wait(60)
        go_on()

    monkeypatch.setattr(ops, "_go_on", waits)
    with wf.Session("here://") as sess:
        sess.run(v.initializer)
        write = saver.snapshot(sess, str(tmp_path / "m"))

        def run() -> None:
            try:
                write()
            except errors.OpError as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        assert reached.wait(30), raised
        clients = [client for task in tasks for client in task._sessions()]
    for client in clients:
        client._closed.wait(60)
    closed.set()
    thread.join()
    assert all(client.wait(60) for client in clients)
    assert [type(error) for error in raised] == [errors.CancelledError]
    assert os.listdir(tmp_path) == []


def test_an_uninitialized_variable_is_named(tasks: list[Worker], tmp_path: Path) -> None:
    with wf.device(A):
        wf.Variable(0.0, name="v")
    with wf.Session("here://") as sess, pytest.raises(errors.FailedPreconditionError, match="uninitialized value v"):
        train.Saver(sharded=True).save(sess, str(tmp_path / "m"))
    assert os.listdir(tmp_path) == []


def test_what_is_held_is_written_once_and_by_its_own_token(tasks: list[Worker], tmp_path: Path) -> None:
    with wf.device(A):
        v = wf.Variable(np.zeros(10), name="v")
    saver = train.Saver(sharded=True)
    with wf.Session("here://") as sess:
        sess.run(v.initializer)
        write = saver.snapshot(sess, str(tmp_path / "m"))
        write()
        with pytest.raises(errors.FailedPreconditionError, match="nothing is held here any more"):
            write()
        write = saver.snapshot(sess, str(tmp_path / "m"))
    with pytest.raises(errors.CancelledError, match="The session was closed"):
        write()
    assert len(os.listdir(tmp_path)) == 4  # the checkpoint before, and its state and graph


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x", "", "..", "a\0b"])
def test_a_task_writes_and_reads_files_of_the_folder_only(name: str, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="expected the names of files for 1 variables"):
        ops._files(("v",), np.array([name.encode()], object))
    with pytest.raises(errors.InvalidArgumentError, match="expected the names of files for 2 variables"):
        ops._files(("v", "w"), np.array([b"good"], object))


@fuzzed(200)
@given(came=changed([Entry(wf.float32, (2, 3), "0" * 64).text(), Entry(wf.string, (), "f" * 64).text()]))
def test_what_tasks_tell_of_a_variable(came: bytes) -> None:
    survives(lambda: Entry.parse(came), (errors.DataLossError,), 1 << 20)


def test_what_a_task_tells_is_read_as_it_is() -> None:
    entry = Entry(wf.complex64, (3, 0), "ab")
    assert Entry.parse(entry.text()) == entry
