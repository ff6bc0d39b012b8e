"""Checkpoints at URIs: found, kept and deleted as files are; whole at every moment; what goes wrong is told by name."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from stores import KINDS, Memory, empty, mounted
from test_checkpoint import NUMERIC, odd, strings
from test_saver import started
from weft import train
from weft.graph import errors
from weft.graph.storage import checkpoint, places, remote_files
from weft.train.background_saver import BackgroundSaver
from weft.train.events.writing import FileWriterCache


@pytest.fixture(autouse=True)
def closed_writers() -> Iterator[None]:
    yield
    FileWriterCache.clear()


@pytest.fixture(params=KINDS)
def memory(request: pytest.FixtureRequest) -> Memory:
    return empty(request.param)


@pytest.fixture
def folder(memory: Memory) -> Iterator[str]:
    with mounted(memory) as uri:
        yield uri


def manifests(memory: Memory) -> list[str]:
    """The checkpoints that are there, sorted. Each shard is named by one, and nothing is left over."""
    found = sorted(name for name in memory.files if name.endswith(checkpoint.MANIFEST))
    named = {f"runs/{shard}" for name in found for shard in json.loads(memory.files[name])["weight_map"].values()}
    assert named == {name for name in memory.files if name.endswith(".safetensors")}
    assert not [name for name in memory.files if name.endswith(".weft-tmp")]
    return [os.path.basename(name).removesuffix(checkpoint.MANIFEST) for name in found]


# what is saved is restored


def test_every_bit_comes_back(folder: str) -> None:
    values = {dtype.name: odd(dtype) for dtype in NUMERIC}
    values |= {
        "one": np.asarray(3.5),
        "none": np.zeros((3, 0, 2)),
        "strings": strings(b"a\0", b"", b"\xff").reshape(3, 1),
    }
    variables = {name: wf.Variable(value, name=name) for name, value in values.items()}
    saver = train.Saver(variables)
    with started() as session:
        path = saver.save(session, f"{folder}/model", 7)
        assert path == f"{folder}/model-7"
    with wf.Session() as session:
        saver.restore(session, path)
        for name, found in session.run(variables).items():
            expected = values[name]
            assert (found.dtype, np.shape(found)) == (expected.dtype, expected.shape)
            if expected.dtype.hasobject:
                assert found.tolist() == expected.tolist()
            else:
                assert found.tobytes() == expected.tobytes()
    assert train.list_variables(folder) == sorted((name, list(value.shape)) for name, value in values.items())
    assert train.load_variable(folder, "one") == 3.5
    assert train.load_variable(folder, "float32").flags.writeable


def test_the_folder_says_which_checkpoints_there_are(folder: str, memory: Memory) -> None:
    wf.Variable(1.0, name="v")
    saver = train.Saver(max_to_keep=2)
    assert train.latest_checkpoint(folder) is None
    assert not train.checkpoint_exists(f"{folder}/model-1")
    with started() as session:
        for step in (1, 2, 3):
            saver.save(session, f"{folder}/model", step)
    kept = tuple(f"{folder}/model-{step}" for step in (2, 3))
    assert train.latest_checkpoint(folder) == kept[-1]
    assert train.get_checkpoint_state(folder) == train.CheckpointState(kept[-1], kept)
    assert [train.checkpoint_exists(f"{folder}/model-{step}") for step in (1, 2, 3)] == [False, True, True]
    assert train.checkpoint_exists(f"{folder}/model-3{checkpoint.MANIFEST}")
    assert manifests(memory) == ["model-2", "model-3"]
    assert saver.last_checkpoints == list(kept)
    assert sorted(name for name in memory.files if name.endswith(".meta")) == ["runs/model-2.meta", "runs/model-3.meta"]


def test_one_of_every_few_hours_stays(folder: str, memory: Memory) -> None:
    wf.Variable(1.0, name="v")
    saver = train.Saver(max_to_keep=1, keep_checkpoint_every_n_hours=0.0)
    with started() as session:
        for step in (1, 2):
            saver.save(session, f"{folder}/model", step)
    assert manifests(memory) == ["model-1", "model-2"]


def test_saving_at_the_same_place_again_leaves_one_checkpoint(folder: str, memory: Memory) -> None:
    v = wf.Variable(1.0, name="v")
    saver = train.Saver()
    with started() as session:
        for value in (2.0, 3.0):
            session.run(v.assign(value))
            saver.save(session, f"{folder}/model")
    assert manifests(memory) == ["model"]
    assert train.load_variable(folder, "v") == 3.0


def train_for(folder: str, runs: int) -> Any:
    """A training with checkpoints at each step: the value at the end, which is the number of all runs so far."""
    with wf.Graph().as_default():
        step = train.create_global_step()
        v = wf.Variable(np.zeros(3), name="v")
        both = wf.group(v.assign_add(np.ones(3)), step.assign_add(1))
        with train.MonitoredTrainingSession(checkpoint_dir=folder, save_checkpoint_steps=1) as session:
            for _ in range(runs):
                session.run(both)
            return session.run(v).tolist()


def test_a_training_goes_on_where_it_was(folder: str, memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    assert train_for(folder, 3) == [3.0] * 3
    assert train_for(folder, 4) == [7.0] * 3
    assert manifests(memory) == sorted(f"model.ckpt-{step}" for step in range(3, 8))
    assert "runs/graph.pbtxt" in memory.files
    told = [record.message for record in caplog.records if "No events are written" in record.message]
    assert len(told) <= 1  # once for a place in a process
    assert not os.path.exists("test:")


def test_a_supervisor_saves_and_restores(folder: str) -> None:
    for expected in (0.0, 1.0):
        with wf.Graph().as_default():
            v = wf.Variable(0.0, name="v")
            count = v.assign_add(1.0)
            supervisor = train.Supervisor(logdir=folder, save_model_secs=0)
            with supervisor.managed_session() as session:
                assert session.run(v) == expected
                session.run(count)
                supervisor.saver.save(session, supervisor.save_path)
    assert train.load_variable(f"{folder}/model.ckpt", "v") == 2.0


def test_a_meta_graph_is_read_from_there(folder: str) -> None:
    wf.Variable(1.0, name="v")
    with started() as session:
        path = train.Saver().save(session, f"{folder}/model")
    with wf.Graph().as_default(), wf.Session() as session:
        saver = train.import_meta_graph(f"{path}.meta")
        assert saver is not None
        saver.restore(session, path)
        assert session.run(wf.global_variables()) == [1.0]
        with pytest.raises(OSError, match=r"File test://here/runs/none\.meta does not exist"):
            train.import_meta_graph(f"{folder}/none.meta")


def test_big_files_are_read_in_pieces(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.graph.storage.remote_tensors.WHOLE", 0)
    variables = [wf.Variable(np.arange(5.0) + i, name=f"v{i}") for i in range(3)]
    saver = train.Saver()
    with started() as session:
        path = saver.save(session, f"{folder}/model")
        session.run([variable.assign(np.zeros(5)) for variable in variables])
        saver.restore(session, path)
        assert [value.tolist() for value in session.run(variables)] == [(np.arange(5.0) + i).tolist() for i in range(3)]


# places


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    uri = (tmp_path / "a b").as_uri()
    assert "%20" in uri
    wf.Variable(1.0, name="v")
    (tmp_path / "a b").mkdir()
    with started() as session:
        assert train.Saver().save(session, f"{uri}/model", 1) == f"{uri}/model-1"
    assert train.latest_checkpoint(uri) == f"{uri}/model-1"
    assert train.latest_checkpoint(str(tmp_path / "a b")) == str(tmp_path / "a b" / "model-1")
    assert sorted(os.listdir(tmp_path / "a b")) == ["checkpoint", "model-1.meta", "model-1.safetensors"]
    assert train_for(f"{uri}/sub", 1) == [1.0] * 3
    assert any("tfevents" in name for name in os.listdir(tmp_path / "a b" / "sub"))


def test_file_systems_of_pyarrow_are_opened_once() -> None:
    wf.Variable(1.0, name="v")
    train.Saver()
    assert train_for("mock://one/a b/runs", 1) == [1.0] * 3
    assert train_for("mock://one/a%20b/runs", 1) == [2.0] * 3
    assert train.latest_checkpoint("mock://two/a b/runs") is None
    with started() as session, pytest.raises(ValueError, match=r"Parent directory of mock://two/no/m doesn't exist"):
        train.Saver().save(session, "mock://two/no/m")


@pytest.mark.parametrize(
    ("folder", "name", "place"),
    [
        ("/a", "m-1", "/a/m-1"), ("", "m", "m"), ("s3://b", "m", "s3://b/m"), ("s3://b/", "m", "s3://b/m"),
        ("s3://b/d?x=1&y=2", "m", "s3://b/d/m?x=1&y=2"), ("s3://b/d", "a b?%", "s3://b/d/a%20b%3F%25"),
        ("s3://b/d", "s3://c/m", "s3://c/m"), ("gs://u@b/d/e/", "m=1/n", "gs://u@b/d/e/m=1/n"),
    ],
)  # fmt: skip
def test_places_are_put_together_and_taken_apart(folder: str, name: str, place: str) -> None:
    assert places.join(folder, name) == place
    if "://" not in name and "/" not in name:
        parent, last = places.split(place)
        assert (parent.rstrip("/"), last) == (folder.rstrip("/"), name)
        assert places.join(parent, last) == place
    assert places.add("s3://b/m?x=1", ".meta") == "s3://b/m.meta?x=1"


def test_checkpoints_of_a_uri_with_options(memory: Memory) -> None:
    """What stands behind the question mark chooses the file system, and is no part of a name."""
    try:
        with mounted(memory):
            remote_files._opened["test", "there", "?x=1"] = remote_files._opened["test", "here", ""]
            assert train_for("test://there/runs?x=1", 2) == [2.0] * 3
            assert train.latest_checkpoint("test://there/runs?x=1") == "test://there/runs/model.ckpt-2?x=1"
            assert train.latest_checkpoint("test://here/runs") == "test://here/runs/model.ckpt-2"
            assert train_for("test://there/runs?x=1", 1) == [3.0] * 3
    finally:
        del remote_files._opened["test", "there", "?x=1"]


# what goes wrong


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device"), errors.ResourceExhaustedError),
        (PermissionError(13, "Permission denied"), errors.PermissionDeniedError),
        (OSError("AWS Error ACCESS_DENIED during PutObject operation: Access Denied"), errors.PermissionDeniedError),
        (OSError("AWS Error NETWORK_CONNECTION: curlCode: 6, Couldn't resolve host name"), errors.UnavailableError),
        (OSError("AWS Error NO_SUCH_BUCKET: The specified bucket does not exist"), errors.NotFoundError),
        (OSError(5, "Input/output error"), errors.DataLossError),
        (OSError("something else"), errors.UnknownError),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("operation", ["write", "write to", "close", "move"])
def test_what_is_refused_is_told_and_leaves_the_checkpoint_before(
    operation: str, error: OSError, kind: type[errors.OpError], folder: str, memory: Memory
) -> None:
    if operation == "move" and not memory.disk:
        operation = "close"
    v = wf.Variable(1.0, name="v")
    saver = train.Saver()
    refused = []

    def refuse(called: str, path: str) -> None:
        if called == operation:
            refused.append(path)
            raise error

    with started() as session:
        path = saver.save(session, f"{folder}/model", 1)
        session.run(v.assign(2.0))
        memory.before = refuse
        with pytest.raises(kind, match=r"Cannot write test://here/runs/model-2\.") as caught:
            saver.save(session, f"{folder}/model", 2)
        assert type(caught.value) is kind
        memory.before = lambda *_: None
        assert refused
        assert train.latest_checkpoint(folder) == path
        saver.restore(session, path)
        assert session.run(v) == 1.0
        if operation != "close":  # a file that could not be closed may be there: nobody knows
            assert manifests(memory) == ["model-1"]
        saver.save(session, f"{folder}/model", 2)
        assert train.latest_checkpoint(folder) == f"{folder}/model-2"


def test_an_answer_that_got_lost_is_no_failure(folder: str, memory: Memory) -> None:
    """The manifest is there, whatever the error says: its shards are not to be deleted."""
    wf.Variable(1.0, name="v")
    saver = train.Saver()
    put = memory.put

    def loses_the_answer(path: str, data: bytes) -> None:
        put(path, data)
        if path.endswith(checkpoint.MANIFEST) and data:
            raise OSError("timed out")

    with started() as session:
        memory.put = loses_the_answer  # type: ignore[method-assign]
        saver.save(session, f"{folder}/model", 1)
    assert manifests(memory) == ["model-1"]
    assert train.load_variable(folder, "v") == 1.0


@pytest.mark.parametrize("uri", ["nothing://there/is", "s4://key:secret@bucket/dir"])
def test_a_scheme_that_is_not_known(uri: str) -> None:
    wf.Variable(1.0, name="v")
    saver = train.Saver()
    calls: list[Any] = [
        lambda session: saver.save(session, f"{uri}/model"), lambda session: saver.restore(session, f"{uri}/model"),
        lambda _: train.latest_checkpoint(uri), lambda _: train.load_checkpoint(uri),
        lambda _: train.CheckpointSaverHook(uri, save_steps=1).begin(),
    ]  # fmt: skip
    with started() as session:
        for call in calls:
            with pytest.raises(errors.UnimplementedError, match=r"Cannot .* (nothing|s4)://.*Unrecognized") as caught:
                call(session)
            assert "secret" not in str(caught.value)


def test_deleting_that_is_refused_stops_nobody(folder: str, memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    wf.Variable(1.0, name="v")
    saver = train.Saver(max_to_keep=1)

    def refuse(operation: str, path: str) -> None:
        if operation == "delete":
            raise PermissionError(13, "Permission denied")

    memory.before = refuse
    with started() as session:
        for step in (1, 2):
            saver.save(session, f"{folder}/model", step)
    assert train.latest_checkpoint(folder) == f"{folder}/model-2"
    assert "Cannot delete the old checkpoint: Cannot delete test://here/runs/model-1." in caplog.text


def test_event_files_are_refused_there(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in (folder, "s3://bucket/logs"):
        with pytest.raises(errors.UnimplementedError, match=f"must be on this machine, not at {uri}"):
            wf.summary.FileWriter(uri)
        with pytest.raises(errors.UnimplementedError, match=f"An event file must be on this machine, not at {uri}"):
            list(train.summary_iterator(f"{uri}/events"))
    assert os.listdir(tmp_path) == []


# saving beside the training


def test_training_goes_on_while_the_store_keeps_the_writer_waiting(folder: str, memory: Memory) -> None:
    v = wf.Variable(np.zeros(1000), name="v")
    count = v.assign_add(np.ones(1000))
    opened, waiting = threading.Event(), threading.Event()

    def wait(operation: str, path: str) -> None:
        if operation == "write to":
            waiting.set()
            assert opened.wait(60)

    memory.before = wait
    with started() as session:
        background = BackgroundSaver(train.Saver())
        background.save(session, f"{folder}/model", global_step=0)
        assert waiting.wait(60)
        for _ in range(3):  # none of these waits for the store, or this would never end
            session.run(count.op)
        assert background.busy
        opened.set()
        background.wait()
        assert session.run(v)[0] == 3.0
    assert not train.load_variable(folder, "v").any()
