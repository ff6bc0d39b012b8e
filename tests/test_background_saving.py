"""Checkpoints that are written beside the training: of the values they were asked for, one at a time, with all errors told."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from dying import dies
from weft import train
from weft.graph import errors
from weft.graph.storage.checkpoint import write_checkpoint
from weft.train.background_saver import BackgroundSaver
from weft.train.events.writing import FileWriterCache


@pytest.fixture(autouse=True)
def closed_writers() -> Iterator[None]:
    yield
    FileWriterCache.clear()


class Gate:
    """Holds the writing of checkpoints until it is opened, and lets it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.error: Exception | None = None
        self.writers: list[str] = []
        monkeypatch.setattr("weft.train.saver.write_checkpoint", self.write)

    def write(self, path: str, values: Any) -> None:
        self.writers.append(threading.current_thread().name)
        assert self.opened.wait(60)
        if self.error is not None:
            raise self.error
        write_checkpoint(path, values)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_the_values_are_those_of_the_moment(gate: Gate, tmp_path: Path) -> None:
    """Updates in place of big variables, while they are being written, do not show in the checkpoint."""
    v = wf.Variable(np.zeros(100_000), name="v")
    count = v.assign_add(np.ones(100_000))
    saver = train.Saver()
    with wf.Session() as session:
        session.run(v.initializer)
        background = BackgroundSaver(saver)
        background.save(session, str(tmp_path / "model"), global_step=1)
        busy = [background.busy]
        for _ in range(5):
            session.run(count.op)
        gate.opened.set()
        background.wait()
        assert [*busy, background.busy] == [True, False]
        assert session.run(v)[0] == 5.0
    assert not train.load_variable(str(tmp_path), "v").any()
    assert gate.writers == ["weft checkpoint writer"]


def test_one_is_in_flight_at_most(gate: Gate, tmp_path: Path) -> None:
    v = wf.Variable(1.0, name="v")
    with wf.Session() as session:
        session.run(v.initializer)
        background = BackgroundSaver(train.Saver())
        background.save(session, str(tmp_path / "model"), global_step=1)
        timer = threading.Timer(0.05, gate.opened.set)
        timer.start()
        background.save(session, str(tmp_path / "model"), global_step=2)  # waits for the first
        first, second = (f"{tmp_path}/model-{step}" for step in (1, 2))
        assert train.latest_checkpoint(str(tmp_path)) in (first, second), "the first is there when the second begins"
        background.wait()
        timer.join()
    assert train.latest_checkpoint(str(tmp_path)) == second


def test_what_goes_wrong_is_raised_once(gate: Gate, tmp_path: Path) -> None:
    v = wf.Variable(1.0)
    gate.opened.set()
    gate.error = errors.ResourceExhaustedError(None, None, "the disk is full")
    with wf.Session() as session:
        session.run(v.initializer)
        background = BackgroundSaver(train.Saver())
        background.save(session, str(tmp_path / "model"), global_step=1)
        with pytest.raises(errors.ResourceExhaustedError, match="the disk is full"):
            background.save(session, str(tmp_path / "model"), global_step=2)
        background.wait()
        gate.error = None
        background.save(session, str(tmp_path / "model"), global_step=3)
        background.wait()
    assert train.latest_checkpoint(str(tmp_path)) == f"{tmp_path}/model-3"


class Notes(train.CheckpointSaverListener):
    """Notes what a hook tells it, and which checkpoint is the newest then."""

    def __init__(self, folder: Path, stop_at: int = -1) -> None:
        self.folder, self.stop_at = str(folder), stop_at
        self.told: list[Any] = []

    def begin(self) -> None:
        self.told.append("begin")

    def before_save(self, session: Any, global_step_value: int) -> None:
        self.told.append(("before", global_step_value, self.newest()))

    def after_save(self, session: Any, global_step_value: int) -> bool:
        self.told.append(("after", global_step_value, self.newest()))
        return global_step_value == self.stop_at

    def end(self, session: Any, global_step_value: int) -> None:
        self.told.append(("end", global_step_value, self.newest()))

    def newest(self) -> str | None:
        found = train.latest_checkpoint(self.folder)
        return None if found is None else os.path.basename(found)


def run_with(hook: Any, runs: int) -> None:
    count = train.get_or_create_global_step().assign_add(1)
    wf.add_to_collection(wf.GraphKeys.SAVERS, train.Saver())
    with train.MonitoredSession(hooks=[hook]) as session:
        for _ in range(runs):
            if session.should_stop():
                break
            session.run(count)


def test_listeners_are_told_in_the_order_that_tensorflow_documents(tmp_path: Path) -> None:
    train.create_global_step()
    notes = Notes(tmp_path)
    run_with(train.CheckpointSaverHook(str(tmp_path), save_steps=2, listeners=[notes]), 3)
    assert notes.told == [
        "begin", ("before", 0, None), ("after", 0, "model.ckpt-0"), ("before", 2, "model.ckpt-0"), ("after", 2, "model.ckpt-2"),
        ("before", 3, "model.ckpt-2"), ("after", 3, "model.ckpt-3"), ("end", 3, "model.ckpt-3"),
    ]  # fmt: skip


def test_listeners_of_asynchronous_saving_are_told_of_whole_checkpoints(tmp_path: Path) -> None:
    train.create_global_step()
    notes = Notes(tmp_path)
    run_with(train.CheckpointSaverHook(str(tmp_path), save_steps=2, listeners=[notes], asynchronous=True), 5)
    after = [entry for entry in notes.told if entry[0] == "after"]
    assert after == [("after", step, f"model.ckpt-{step}") for step in (0, 2, 4, 5)]
    assert notes.told[-1] == ("end", 5, "model.ckpt-5")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_listener_may_stop_the_training(tmp_path: Path, asynchronous: bool) -> None:
    train.create_global_step()
    notes = Notes(tmp_path, stop_at=2)
    run_with(train.CheckpointSaverHook(str(tmp_path), save_steps=2, listeners=[notes], asynchronous=asynchronous), 10)
    last = notes.told[-1]
    assert last[0] == "end"
    assert last[1] == 2 if not asynchronous else 2 < last[1] <= 4


def test_a_failure_in_the_background_ends_the_training(gate: Gate, tmp_path: Path) -> None:
    train.create_global_step()
    gate.opened.set()
    gate.error = errors.ResourceExhaustedError(None, None, "the disk is full")
    hook = train.CheckpointSaverHook(str(tmp_path), save_steps=1, asynchronous=True)
    with pytest.raises(errors.ResourceExhaustedError, match="the disk is full"):
        run_with(hook, 3)


def test_a_graph_that_cannot_be_written_keeps_nobody_from_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: Any, **__: Any) -> Any:
        raise ValueError("no such node")

    monkeypatch.setattr(wf.Graph, "as_graph_def", refuses)
    train.create_global_step()
    run_with(train.CheckpointSaverHook(str(tmp_path), save_steps=1), 2)
    assert train.latest_checkpoint(str(tmp_path)) == f"{tmp_path}/model.ckpt-2"
    told = [record.message for record in caplog.records if "no such node" in record.message]
    assert told == [
        "The graph is not written, for it cannot be a GraphDef: no such node",
        "Checkpoints are written without a meta graph, for this graph has none: no such node",
    ]


def test_without_a_saver_the_hook_says_so(tmp_path: Path) -> None:
    train.create_global_step()
    hook = train.CheckpointSaverHook(str(tmp_path), save_steps=1)
    with pytest.raises(RuntimeError, match="No items in collection savers"):
        hook._get_saver()
    for _ in range(2):
        wf.add_to_collection(wf.GraphKeys.SAVERS, train.Saver())
    with pytest.raises(RuntimeError, match="More than one item in collection savers"):
        hook._get_saver()


def test_of_two_threads_the_checkpoint_of_the_later_values_stays_the_newest(tmp_path: Path) -> None:
    step = train.create_global_step()
    count, saver = step.assign_add(1), train.Saver(max_to_keep=3)
    with wf.Session() as session:
        session.run(step.initializer)

        def save() -> None:
            for _ in range(20):
                session.run(count)
                saver.save(session, str(tmp_path / "model"), step)
                names = [int(path.rpartition("-")[2]) for path in saver.last_checkpoints]
                assert names == sorted(names)

        threads = [threading.Thread(target=save) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert train.latest_checkpoint(str(tmp_path)) == f"{tmp_path}/model-60"


DIES = """
step = wf.train.create_global_step()
v = wf.Variable(np.zeros(1000), name="v")
both = wf.group(v.assign_add(np.ones(1000)), step.assign_add(1))
hook = wf.train.CheckpointSaverHook(place, save_steps=1, saver=wf.train.Saver(max_to_keep=1), asynchronous=True)
with wf.train.MonitoredSession(hooks=[hook]) as session:
    session.run(both)
    hook._background.wait()
    die()
    while True:
        session.run(both)
"""


@pytest.mark.parametrize(
    ("call", "count"), [("write", 1), ("write", 2), ("write", 4), ("fsync", 1), ("replace", 2), ("unlink", 1)]
)
def test_a_kill_at_any_byte_leaves_a_whole_checkpoint(call: str, count: int, tmp_path: Path) -> None:
    dies(DIES, str(tmp_path), call, count)
    newest = train.latest_checkpoint(str(tmp_path))
    assert newest is not None
    reader = train.load_checkpoint(newest)
    assert reader.get_tensor("v").tolist() == [float(reader.get_tensor("global_step"))] * 1000
    assert reader.get_tensor("global_step") >= 1
