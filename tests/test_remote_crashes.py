"""A save to a URI that is killed at any byte, or while another saves there too: one whole checkpoint, and no left-overs."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf
from stores import KINDS, Killed, Memory, empty, mounted
from test_remote_checkpoints import manifests
from test_saver import started
from weft import train
from weft.graph import errors
from weft.graph.storage import checkpoint, owners, remote_files
from weft.train import shards

DAY = 24 * 3600 * 10**9


@pytest.fixture(params=KINDS)
def memory(request: pytest.FixtureRequest) -> Memory:
    return empty(request.param)


@pytest.fixture
def folder(memory: Memory) -> Iterator[str]:
    with mounted(memory) as uri:
        yield uri


class Training:
    """A graph with two variables that always count alike, on two tasks, and a saver with a shard for each."""

    def __init__(self, session: Any, first: Any, count: Any, saver: train.Saver) -> None:
        self.session, self.first, self.count, self.saver = session, first, count, saver

    def state(self) -> tuple[float, int]:
        values, second = self.session.run(self.first)
        assert (values == second).all()
        return float(values[0]), int(second)


@pytest.fixture
def training() -> Iterator[Training]:
    with wf.device("/job:localhost/task:0"):
        v = wf.Variable(np.zeros(3), name="v")
    w = wf.Variable(0, name="w")
    count = [v.assign_add(np.ones(3)).op, w.assign_add(1).op]
    saver = train.Saver(sharded=True, max_to_keep=1)
    with started() as session:
        yield Training(session, [v, w], count, saver)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("again", [False, True], ids=["next step", "same place"])
def test_killed_at_every_point_of_a_save(kind: str, again: bool, training: Training) -> None:
    """Each byte that is written and each other change is the last one once: of a save that replaces a checkpoint."""
    session, saver = training.session, training.saver
    memory = empty(kind)
    steps = (None, None) if again else (1, 2)
    with mounted(memory) as uri:
        session.run(training.count)
        saver.save(session, f"{uri}/m", steps[0], write_meta_graph=False)
        before, kept = dict(memory.files), saver.last_checkpoints
        session.run(training.count)
        write = saver.snapshot(session, f"{uri}/m", steps[1], meta_graph_suffix=None)
        memory.points = 0
        write()
    points, results = memory.points, set()
    assert points > 1000
    for fatal in range(points):
        memory = Memory(kind == "disk", before, fatal)
        saver.set_last_checkpoints(kept)
        saver._swept.clear()
        with mounted(memory) as uri:
            with pytest.raises(Killed):
                write()
            memory.fatal = None
            path = train.latest_checkpoint(uri)
            assert path is not None
            reader = train.load_checkpoint(path)
            found = float(reader.get_tensor("v")[0])
            assert (reader.get_tensor("v") == reader.get_tensor("w")).all()
            assert again or path == f"{uri}/m-{found:g}"
            results.add(found)
            for name in [name for name in memory.files if name.endswith(checkpoint.MANIFEST)]:
                train.load_checkpoint(f"test://here/{name}").get_tensor("v")  # what can be named is whole
    assert results == {1.0, 2.0}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_save_left_is_removed_by_the_next_process(
    kind: str, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, saver = training.session, training.saver
    memory = empty(kind)
    with mounted(memory) as uri:
        saver.save(session, f"{uri}/m", 1)
        write = saver.snapshot(session, f"{uri}/m", 2)
        before, kept, memory.points = dict(memory.files), saver.last_checkpoints, 0
        write()
    for fatal in range(0, memory.points, 7):
        memory = Memory(kind == "disk", before, fatal)
        saver.set_last_checkpoints(kept)
        with mounted(memory) as uri:
            with pytest.raises(Killed):
                write()
            memory.fatal = None
            state = train.get_checkpoint_state(uri)
            assert state is not None
            saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
            # One that was to be deleted as old, and was not any more, is no left-over: it is whole, and nobody's now.
            dropped = f"{uri}/m-1" not in state.all_model_checkpoint_paths and train.checkpoint_exists(f"{uri}/m-1")
            saver._swept.clear()
            with monkeypatch.context() as patched:  # the next process finds that this one is gone
                patched.setattr(shards, "is_gone", lambda mark: True)
                saver.save(session, f"{uri}/m", 2)
            assert manifests(memory) == ["m-1", "m-2"][not dropped :]


def test_what_others_may_still_be_writing_stays(memory: Memory, folder: str, training: Training) -> None:
    session, saver = training.session, training.saver
    mine = owners.new_mark()
    dead = "-".join([*mine.split("-")[:2], "1", "00000000"])  # a process of my number, but from long ago
    other = "00000000-1-1-00000000"  # on another machine
    tail = "-00001-of-00001.safetensors"
    names = [f"runs/m-0.{mark}{tail}" for mark in (mine, dead, other)]
    names += [f"runs/.m-0.x.{mark}.weft-tmp" for mark in (mine, dead, other)] + ["runs/m-0.x.safetensors", "runs/x"]
    for name in names:
        memory.put(name, b"half")
    saver.save(session, f"{folder}/m", 1)
    assert [name for name in names if name not in memory.files] == [name for name in names if dead in name]
    memory.clock += DAY + 10
    train.Saver().save(session, f"{folder}/m", 1)  # its first save sees that the files are old by the store's own clock
    train.Saver().save(session, f"{folder}/m", 1)
    assert [name for name in names if name in memory.files] == ["runs/m-0.x.safetensors", "runs/x"]


def test_shards_of_a_damaged_manifest_stay(memory: Memory, folder: str, training: Training) -> None:
    """What somebody may want to repair is not a left-over."""
    session, saver = training.session, training.saver
    saver.save(session, f"{folder}/m", 1)
    name = f"runs/m-1{checkpoint.MANIFEST}"
    memory.files[name] = memory.files[name].replace(b'"format": 1', b'"format": 7')
    held = [name for name in memory.files if name.endswith(".safetensors")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shards, "is_gone", lambda mark: True)
        train.Saver().save(session, f"{folder}/m", 2)
    assert len(held) == 2
    assert set(held) <= set(memory.files)
    with pytest.raises(errors.DataLossError, match="does not have the checksum"):
        train.load_checkpoint(f"{folder}/m-1")


def test_a_state_file_that_was_deleted_before_the_new_one_was_moved_there(training: Training) -> None:
    """As HDFS moves: the old file is deleted first, and a process may be killed between."""
    session, saver = training.session, training.saver
    memory = empty("disk")

    def move(src: str, dest: str) -> None:
        memory.files.pop(dest, None)
        raise Killed

    with mounted(memory) as uri:
        saver.save(session, f"{uri}/m", 1)
        session.run(training.count)
        whole = memory.move
        memory.move = lambda src, dest: (move if dest.endswith("/checkpoint") else whole)(src, dest)  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(remote_files, "_delete_quietly", lambda *_: None)  # as who is killed
            with pytest.raises(Killed):
                saver.save(session, f"{uri}/m", 2)
        memory.move = whole  # type: ignore[method-assign]
        assert "runs/checkpoint" not in memory.files
        assert train.latest_checkpoint(uri) == f"{uri}/m-2"
        (beside,) = [name for name in memory.files if name.endswith(".weft-tmp")]
        said = memory.files[beside]
        for end in range(len(said)):  # half a line says nothing
            cut = Memory(True, memory.files | {beside: said[:end]})
            with mounted(cut):
                expected = f"{uri}/m-2" if said[:end].endswith(b"\n") else None
                assert train.latest_checkpoint(uri) == expected
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(shards, "is_gone", lambda mark: True)
            train.Saver().save(session, f"{uri}/m", 3, write_state=False)
            assert beside in memory.files  # it is all there is
            train.Saver().save(session, f"{uri}/m", 3)
            train.Saver().save(session, f"{uri}/m", 3)
        assert beside not in memory.files
        assert train.latest_checkpoint(uri) == f"{uri}/m-3"


@pytest.mark.parametrize("kind", KINDS)
def test_two_savers_at_once_end_with_one_whole_state(kind: str, training: Training) -> None:
    """At each byte that the first writes, the second saves all of its own at the same place."""
    session = training.session
    session.run(training.count)
    other = train.Saver(sharded=True)
    with mounted(empty(kind)) as uri:
        first = training.saver.snapshot(session, f"{uri}/m", meta_graph_suffix=None)
        session.run(training.count)
        second = other.snapshot(session, f"{uri}/m", meta_graph_suffix=None)
    calls = 0
    for number in range(1000):
        memory = empty(kind)
        calls = 0

        def meanwhile(operation: str, path: str, memory: Memory = memory, number: int = number) -> None:
            nonlocal calls
            calls += 1
            if calls == number + 1:
                memory.before = lambda *_: None
                second()

        training.saver._swept.clear()
        other._swept.clear()
        memory.before = meanwhile
        with mounted(memory) as uri:
            first()
            memory.before = lambda *_: None
            path = train.latest_checkpoint(uri)
            assert path is not None
            reader = train.load_checkpoint(path)
            assert (reader.get_tensor("v") == reader.get_tensor("w")).all()
            assert reader.get_tensor("w") in (1, 2)
        if calls <= number:
            break
    assert 10 < number < 999


def test_a_shard_that_somebody_deletes_meanwhile_is_missed_before_the_manifest_is_written(
    memory: Memory,
    folder: str,
    training: Training,
) -> None:
    session, saver = training.session, training.saver
    saver.save(session, f"{folder}/m", 1)

    def deletes(operation: str, path: str) -> None:
        if operation == "list" and any("/m-2." in name for name in memory.files):
            del memory.files[next(name for name in memory.files if "/m-2." in name)]

    memory.before = deletes
    with pytest.raises(errors.AbortedError, match=r"somebody has deleted m-2\..* while it was being written"):
        saver.save(session, f"{folder}/m", 2)
    assert train.latest_checkpoint(folder) == f"{folder}/m-1"
    assert manifests(memory) == ["m-1"]


def test_threads_that_save_at_once_leave_one_whole_state(memory: Memory, folder: str) -> None:
    step = train.create_global_step()
    count = step.assign_add(1)
    with started() as session:

        def save(saver: train.Saver) -> None:
            for _ in range(10):
                session.run(count)
                saver.save(session, f"{folder}/m", step)

        threads = [threading.Thread(target=save, args=(train.Saver(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    newest = train.latest_checkpoint(folder)
    assert newest is not None
    assert train.load_variable(newest, "global_step") == int(newest.rpartition("-")[2])
    for name in memory.files:
        if name.endswith(checkpoint.MANIFEST):
            assert all(
                f"runs/{shard}" in memory.files for shard in json.loads(memory.files[name])["weight_map"].values()
            )
