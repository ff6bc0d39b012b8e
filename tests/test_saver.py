"""Saver: what is saved is restored, all of it or nothing; which checkpoints are kept; what a crash leaves."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from test_checkpoint import NUMERIC, odd, strings
from weft import train
from weft.graph import dtypes, errors
from weft.graph.ir import Graph
from weft.graph.storage.checkpoint import write_checkpoint


def started(config: Any = None) -> Any:
    """A session in which the default graph's variables have their initial values."""
    session = wf.Session(config=config)
    session.run(wf.global_variables_initializer())
    return session


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return str(tmp_path / "model")


@pytest.fixture
def saved(prefix: str) -> str:
    """A checkpoint with v = [1, 2] (float32) and w = 3 (int32)."""
    write_checkpoint(f"{prefix}.safetensors", {"v": np.array([1, 2], np.float32), "w": np.array(3, np.int32)})
    return prefix


def names(folder: Any) -> list[str]:
    """The checkpoints in a folder, sorted; there is nothing else but their meta graphs and the state file."""
    found = {os.path.splitext(name) for name in os.listdir(folder)} - {("checkpoint", "")}
    assert {suffix for _, suffix in found} <= {".safetensors", ".meta"}
    return sorted(name for name, suffix in found if suffix == ".safetensors")


# values


@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda dtype: dtype.name)
def test_every_bit_of_a_variable_comes_back(dtype: dtypes.DType, prefix: str) -> None:
    values = [odd(dtype), np.asarray(odd(dtype).reshape(-1)[1]), np.zeros((0, 3), dtype.np)]
    variables = [wf.Variable(value) for value in values]
    saver = train.Saver()
    with started() as session:
        saver.save(session, prefix)
        session.run(
            [variable.assign(np.ones(value.shape, dtype.np)) for variable, value in zip(variables, values, strict=True)]
        )
        saver.restore(session, prefix)
        for found, value in zip(session.run(variables), values, strict=True):
            assert (found.dtype, found.shape, found.tobytes()) == (dtype.np, value.shape, value.tobytes())


def test_string_variables_come_back(prefix: str) -> None:
    many, one = wf.Variable(strings(b"a\0", b"", b"\xff")), wf.Variable(strings(b"x\0y\0").reshape(()))
    saver = train.Saver()
    with started() as session:
        saver.save(session, prefix)
        session.run([many.assign(strings(b"", b"", b"")), one.assign(b"")])
        saver.restore(session, prefix)
        assert session.run(many).tolist() == [b"a\0", b"", b"\xff"]
        assert session.run(one) == b"x\0y\0"


def test_training_goes_on_where_it_was_with_its_slots(prefix: str) -> None:
    v = wf.Variable([1.0, 2.0], name="v")
    step = train.create_global_step()
    update = train.AdamOptimizer(0.1).minimize(wf.reduce_sum(v * v), global_step=step)
    saver = train.Saver()
    with started() as session:
        for _ in range(3):
            session.run(update)
        path = saver.save(session, prefix, step)
        session.run(update)
        expected = session.run(wf.global_variables())
    assert path == f"{prefix}-3"
    with wf.Session() as session:
        saver.restore(session, path)
        session.run(update)
        for found, value in zip(session.run(wf.global_variables()), expected, strict=True):
            assert found.tobytes() == value.tobytes()


def test_restoring_needs_no_initialization_and_one_run(saved: str) -> None:
    v, w = wf.Variable([0.0, 0.0], name="v"), wf.Variable(0, name="w")
    saver = train.Saver()
    with wf.Session() as session:
        counting = Counting(session)
        saver.restore(counting, saved)
        assert counting.runs == 1
        assert session.run(v).tolist() == [1.0, 2.0]
        assert session.run(w) == 3


class Counting:
    """A session, as the saver sees one, that counts its runs."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.graph = session.graph
        self.runs = 0

    def run(self, *args: Any, **kwargs: Any) -> Any:
        self.runs += 1
        return self._session.run(*args, **kwargs)


def test_saving_is_one_run_and_the_step_is_of_it(prefix: str) -> None:
    step = train.create_global_step()
    wf.Variable(1.0)
    saver = train.Saver()
    with started() as session:
        counting = Counting(session)
        assert saver.save(counting, prefix, step) == f"{prefix}-0"
        assert counting.runs == 1


def test_several_devices_in_the_process(prefix: str) -> None:
    variables = []
    for i in range(3):
        with wf.device(f"/cpu:{i}"):
            variables.append(wf.Variable(float(i), name=f"v{i}"))
    saver = train.Saver()
    operations = wf.get_default_graph().get_operations()
    assert [op.device for op in operations if op.type == "Placeholder"] == [f"/device:CPU:{i}" for i in range(3)]
    with started(wf.ConfigProto(device_count={"CPU": 3})) as session:
        saver.save(session, prefix)
        session.run([variable.assign(9.0) for variable in variables])
        saver.restore(session, prefix)
        assert session.run(variables) == [0.0, 1.0, 2.0]


def test_restoring_colocates_each_assignment_with_its_variable() -> None:
    v = wf.Variable(1.0, name="v")
    train.Saver(name="mine")
    graph = wf.get_default_graph()
    assert {op.name for op in graph.get_operations()} >= {"mine/Placeholder", "mine/Assign", "mine/restore_all"}
    for name in ("mine/Placeholder", "mine/Assign"):
        assert graph.get_operation_by_name(name).colocation_groups() == v.op.colocation_groups()


def test_restoring_one_after_the_other(saved: str) -> None:
    v, w = wf.Variable([0.0, 0.0], name="v"), wf.Variable(0, name="w")
    saver = train.Saver(restore_sequentially=True)
    graph = wf.get_default_graph()
    first, second = (graph.get_operation_by_name(f"save/Assign{i}") for i in ("", "_1"))
    assert list(second.control_inputs) == [first]
    with wf.Session() as session:
        saver.restore(session, saved)
        assert session.run([v, w])[1] == 3


# which variables


def test_a_dict_gives_the_names(prefix: str) -> None:
    a, b = wf.Variable(1.0, name="a"), wf.Variable(2.0, name="b")
    with started() as session:
        train.Saver({"x/y": a, "z": b}).save(session, prefix)
        assert train.list_variables(prefix) == [("x/y", []), ("z", [])]
        train.Saver({"x/y": b}).restore(session, prefix)
        assert session.run([a, b]) == [1.0, 1.0]


def test_by_default_the_global_variables_are_saved(prefix: str) -> None:
    wf.Variable(1.0, name="a", trainable=False)
    wf.Variable(2.0, name="local", collections=[wf.GraphKeys.LOCAL_VARIABLES])
    saver = train.Saver()
    with started() as session:
        saver.save(session, prefix)
    assert train.list_variables(prefix) == [("a", [])]


def test_what_cannot_be_saved() -> None:
    with pytest.raises(ValueError, match="No variables to save"):
        train.Saver()
    v = wf.Variable(1.0, name="v")
    with pytest.raises(ValueError, match="No variables to save"):
        train.Saver([])
    with pytest.raises(ValueError, match="No variables to save"):
        train.Saver({})
    with pytest.raises(ValueError, match="At least two variables have the same name: v"):
        train.Saver([v, v])
    with pytest.raises(ValueError, match="will be restored with two names: a and b"):
        train.Saver({"a": v, "b": v})
    with pytest.raises(ValueError, match="cannot be saved under the name '__metadata__'"):
        train.Saver({"__metadata__": v})
    with pytest.raises(ValueError, match="cannot be saved under the name 3"):
        train.Saver({3: v})
    for wrong in ([wf.constant(1.0)], {"a": 3}):
        with pytest.raises(TypeError, match="Variable to save is not a Variable"):
            train.Saver(wrong)
    with pytest.raises(TypeError, match="passed in a dict or a list"):
        train.Saver(v)
    with Graph().as_default():
        other = wf.Variable(1.0, name="other")
    with pytest.raises(ValueError, match="Variable other is not in the graph of variable v"):
        train.Saver([v, other])


def test_arguments_that_do_not_fit() -> None:
    v = wf.Variable(1.0, name="v")
    with pytest.raises(ValueError, match="neither saver_def nor builder"):
        train.Saver([v], saver_def="x")
    with pytest.raises(ValueError, match="neither saver_def nor builder"):
        train.Saver([v], builder="x")
    with pytest.raises(ValueError, match="max_to_keep must be 0 or more, got -1"):
        train.Saver([v], max_to_keep=-1)
    with pytest.raises(ValueError, match="give no var_list"):
        train.Saver([v], defer_build=True)
    wf.get_default_graph().finalize()
    with pytest.raises(RuntimeError, match="finalized"):
        train.Saver([v])


def test_with_eager_execution_there_is_nothing_to_save() -> None:
    wf.enable_eager_execution()
    with pytest.raises(RuntimeError, match="eager"):
        train.Saver()


def test_variables_of_another_graph_than_the_default_one(prefix: str) -> None:
    with Graph().as_default() as graph:
        v = wf.Variable(1.0, name="v")
    saver = train.Saver([v])
    with wf.Session(graph=graph) as session:
        session.run(v.initializer)
        saver.save(session, prefix)
    assert train.load_variable(prefix, "v") == 1.0


def test_building_can_wait(prefix: str) -> None:
    saver = train.Saver(defer_build=True)
    with wf.Session() as session:
        with pytest.raises(RuntimeError, match=r"`build\(\)` should be called before save"):
            saver.save(session, prefix)
        with pytest.raises(RuntimeError, match=r"`build\(\)` should be called before restore"):
            saver.restore(session, prefix)
    wf.Variable(1.0, name="v")
    saver.build()
    count = len(wf.get_default_graph().get_operations())
    saver.build()
    assert len(wf.get_default_graph().get_operations()) == count
    with started() as session:
        assert saver.save(session, prefix) == prefix


def test_there_may_be_nothing_to_save_when_that_is_allowed(prefix: str, tmp_path: Path) -> None:
    saver = train.Saver(allow_empty=True)
    with wf.Session() as session:
        assert saver.save(session, prefix) is None
        saver.restore(session, prefix)
    assert os.listdir(tmp_path) == []


# names, steps, folders


@pytest.mark.parametrize("kind", ["int", "numpy", "tensor", "variable", "name"])
def test_the_step_may_be_a_number_a_tensor_or_a_variable(kind: str, prefix: str) -> None:
    wf.Variable(1.0)
    variable = wf.Variable(7, name="step")
    steps = {"int": 7, "numpy": np.int64(7), "tensor": wf.constant(7), "variable": variable, "name": "Const:0"}
    saver = train.Saver()
    with started() as session:
        assert saver.save(session, prefix, steps[kind]) == f"{prefix}-7"
        assert train.checkpoint_exists(f"{prefix}-7")


def test_a_step_that_is_no_whole_number(prefix: str, tmp_path: Path) -> None:
    wf.Variable(1.0)
    saver = train.Saver()
    with started() as session:
        for step in (1.5, wf.constant(1.0)):
            with pytest.raises(TypeError):
                saver.save(session, prefix, step)
        with pytest.raises(ValueError, match="cannot be interpreted as a Tensor"):
            saver.save(session, prefix, "7")
    assert os.listdir(tmp_path) == []


def test_the_step_can_be_padded(prefix: str) -> None:
    wf.Variable(1.0)
    saver = train.Saver(pad_step_number=True)
    with started() as session:
        assert saver.save(session, prefix, 42) == f"{prefix}-00000042"


def test_where_nothing_can_be_saved(prefix: str, tmp_path: Path) -> None:
    wf.Variable(1.0)
    saver = train.Saver()
    with started() as session:
        with pytest.raises(ValueError, match=r"Parent directory of .*none/model doesn't exist, can't save"):
            saver.save(session, str(tmp_path / "none" / "model"))
        with pytest.raises(ValueError, match="'latest_filename' must not contain path components"):
            saver.save(session, prefix, latest_filename="a/b")
        for path in ("", f"{tmp_path}/"):
            with pytest.raises(ValueError, match="save_path must end in a file's name"):
                saver.save(session, path)
    assert os.listdir(tmp_path) == []


def test_what_is_no_session(saved: str) -> None:
    wf.Variable(1.0, name="w")
    saver = train.Saver()
    with pytest.raises(TypeError, match="'sess' must be a Session; None"):
        saver.save(None, saved)
    with pytest.raises(TypeError, match="'sess' must be a Session; None"):
        saver.restore(None, saved)


def test_a_closed_session(prefix: str) -> None:
    wf.Variable(1.0)
    saver = train.Saver()
    with started() as session:
        path = saver.save(session, prefix)
    with pytest.raises(RuntimeError, match="closed"):
        saver.save(session, f"{prefix}2")
    with pytest.raises(RuntimeError, match="closed"):
        saver.restore(session, path)
    assert not train.checkpoint_exists(f"{prefix}2")


def test_an_uninitialized_variable_is_not_saved(prefix: str, tmp_path: Path) -> None:
    wf.Variable(1.0, name="v")
    saver = train.Saver()
    with wf.Session() as session, pytest.raises(errors.FailedPreconditionError, match="uninitialized value v"):
        saver.save(session, prefix)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("folder", ["", "sub"])
def test_relative_paths(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    wf.Variable(1.0, name="v")
    saver = train.Saver()
    with started() as session:
        path = saver.save(session, os.path.join(folder, "m"), 1)
    assert path == os.path.join(folder, "m-1")
    assert (tmp_path / folder / "checkpoint").read_text().startswith('model_checkpoint_path: "m-1"\n')
    assert train.latest_checkpoint(folder) == path
    monkeypatch.chdir("/")
    assert train.latest_checkpoint(str(tmp_path / folder)) == str(tmp_path / folder / "m-1")


def test_a_folder_saved_with_relative_paths_can_be_moved(tmp_path: Path) -> None:
    v = wf.Variable(1.0, name="v")
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    saver = train.Saver(save_relative_paths=True)
    with started() as session:
        saver.save(session, str(old / "m"), 1)
        saver.save(session, str(old / "m"), 2)
        shutil.move(old, new)
        session.run(v.assign(0.0))
        state = train.get_checkpoint_state(str(new))
        assert state is not None
        assert state.all_model_checkpoint_paths == (str(new / "m-1"), str(new / "m-2"))
        saver.restore(session, train.latest_checkpoint(str(new)))
        assert session.run(v) == 1.0


def test_a_folder_saved_with_absolute_paths_names_the_old_place_when_moved(tmp_path: Path) -> None:
    wf.Variable(1.0, name="v")
    (tmp_path / "old").mkdir()
    with started() as session:
        train.Saver().save(session, str(tmp_path / "old" / "m"))
    shutil.move(tmp_path / "old", tmp_path / "new")
    assert train.latest_checkpoint(str(tmp_path / "new")) is None
    assert train.checkpoint_exists(str(tmp_path / "new" / "m"))


# restoring what does not fit


@pytest.fixture
def zeros() -> Iterator[tuple[Any, Any, Any]]:
    """A session with v = [0, 0] and w = 0, and both."""
    v, w = wf.Variable([0.0, 0.0], name="v"), wf.Variable(0, name="w")
    with started() as session:
        yield session, v, w
        assert session.run(v).tolist() == [0.0, 0.0]
        assert session.run(w) == 0


def test_no_path_or_one_where_nothing_is(zeros: Any, prefix: str, tmp_path: Path) -> None:
    saver = train.Saver()
    with pytest.raises(ValueError, match=r"Can't load save_path when it is None\."):
        saver.restore(zeros[0], None)
    for path in (prefix, "", str(tmp_path)):
        with pytest.raises(ValueError, match="The passed save_path is not a valid checkpoint: "):
            saver.restore(zeros[0], path)


def test_a_damaged_checkpoint_changes_nothing(zeros: Any, saved: str) -> None:
    saver = train.Saver()
    file = Path(f"{saved}.safetensors")
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:20], b"", whole[:-1] + b"\1"):
        file.write_bytes(damaged)
        with pytest.raises(errors.DataLossError, match=r"model\.safetensors"):
            saver.restore(zeros[0], saved)


def test_a_checkpoint_of_another_model(zeros: Any, prefix: str) -> None:
    write_checkpoint(f"{prefix}.safetensors", {"w": np.array(3, np.int32), "x": np.ones(1)})
    with pytest.raises(errors.NotFoundError) as caught:
        train.Saver().restore(zeros[0], prefix)
    assert f"Key v not found in checkpoint {prefix}.safetensors, which holds: w, x. " in str(caught.value)
    assert f"{__file__}:" in str(caught.value)
    assert caught.value.op is zeros[1].op


def test_an_error_does_not_list_thousands_of_names(zeros: Any, prefix: str) -> None:
    write_checkpoint(f"{prefix}.safetensors", {f"x{i:03}": np.ones(1) for i in range(99)})
    with pytest.raises(errors.NotFoundError, match=r"Key v \(nor w\) not .* x018, x019 and 79 more\. "):
        train.Saver().restore(zeros[0], prefix)


@pytest.mark.parametrize("value", [np.float32(0), np.zeros((1, 2), np.float32), np.zeros(3, np.float32)])
def test_a_value_of_another_shape(value: Any, zeros: Any, prefix: str) -> None:
    write_checkpoint(f"{prefix}.safetensors", {"w": np.array(3, np.int32), "v": np.asarray(value)})
    with pytest.raises(errors.InvalidArgumentError) as caught:
        train.Saver([zeros[2], zeros[1]]).restore(zeros[0], prefix)
    shape = f"[{','.join(map(str, value.shape))}]"
    assert f"variable v from checkpoint {prefix}.safetensors: it has shape [2] in the graph and {shape}" in str(
        caught.value
    )


def test_a_value_of_another_type(zeros: Any, prefix: str) -> None:
    write_checkpoint(f"{prefix}.safetensors", {"w": np.array(3, np.int64), "v": np.ones(2, np.float32)})
    with pytest.raises(
        errors.InvalidArgumentError, match=r"w .*: expected dtype int32 does not equal original dtype int64"
    ):
        train.Saver().restore(zeros[0], prefix)


def test_a_value_of_another_shape_can_be_taken_when_the_saver_reshapes(saved: str, prefix: str) -> None:
    v = wf.Variable([[0.0], [0.0]], name="v")
    saver = train.Saver(reshape=True)
    with wf.Session() as session:
        saver.restore(session, saved)
        assert session.run(v).tolist() == [[1.0], [2.0]]
        write_checkpoint(f"{prefix}.safetensors", {"v": np.zeros(3, np.float32)})
        with pytest.raises(errors.InvalidArgumentError, match=r"\[2,1\] in the graph and \[3\]"):
            saver.restore(session, saved)


def test_a_variable_of_unknown_shape_takes_any(saved: str) -> None:
    v = wf.Variable([0.0], name="v", validate_shape=False)
    saver = train.Saver()
    with started() as session:
        saver.restore(session, saved)
        assert session.run(v).tolist() == [1.0, 2.0]


# which checkpoints are kept


def test_the_newest_are_kept(prefix: str, tmp_path: Path) -> None:
    wf.Variable(1.0)
    saver = train.Saver(max_to_keep=2)
    with started() as session:
        for step in range(4):
            saver.save(session, prefix, step)
        assert names(tmp_path) == ["model-2", "model-3"]
        assert saver.last_checkpoints == [f"{prefix}-2", f"{prefix}-3"]
        saver.save(session, prefix, 2)
    assert saver.last_checkpoints == [f"{prefix}-3", f"{prefix}-2"]
    state = train.get_checkpoint_state(str(tmp_path))
    assert state is not None
    assert state.model_checkpoint_path == train.latest_checkpoint(str(tmp_path)) == f"{prefix}-2"
    assert list(state.all_model_checkpoint_paths) == saver.last_checkpoints
    assert names(tmp_path) == ["model-2", "model-3"]


@pytest.mark.parametrize("none", [0, None])
def test_all_can_be_kept(none: int | None, prefix: str, tmp_path: Path) -> None:
    wf.Variable(1.0)
    saver = train.Saver(max_to_keep=none)
    with started() as session:
        for step in range(7):
            saver.save(session, prefix, step)
    assert names(tmp_path) == [f"model-{step}" for step in range(7)]
    assert saver.last_checkpoints == []
    state = train.get_checkpoint_state(str(tmp_path))
    assert state == train.CheckpointState(f"{prefix}-6", (f"{prefix}-6",))


def test_fewer_than_may_be_kept_are_all_kept(prefix: str, tmp_path: Path) -> None:
    wf.Variable(1.0)
    saver = train.Saver()
    with started() as session:
        for step in range(3):
            saver.save(session, prefix, step)
    assert names(tmp_path) == ["model-0", "model-1", "model-2"]
    assert saver.last_checkpoints == [f"{prefix}-{step}" for step in range(3)]


def test_one_of_every_so_many_hours_is_kept(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    wf.Variable(1.0)
    saver = train.Saver(max_to_keep=1, keep_checkpoint_every_n_hours=1)
    with started() as session:
        for step in range(8):
            now[0] += 1500.0
            saver.save(session, prefix, step)
    assert names(tmp_path) == ["model-2", "model-4", "model-7"]


def test_the_state_file_may_be_left_alone_or_have_another_name(prefix: str, tmp_path: Path) -> None:
    wf.Variable(1.0)
    saver = train.Saver(max_to_keep=1)
    with started() as session:
        saver.save(session, prefix, 1, write_state=False, write_meta_graph=False)
        assert (saver.last_checkpoints, os.listdir(tmp_path)) == ([], ["model-1.safetensors"])
        saver.save(session, prefix, 2, latest_filename="latest")
    assert train.latest_checkpoint(str(tmp_path)) is None
    assert train.latest_checkpoint(str(tmp_path), "latest") == f"{prefix}-2"
    assert train.checkpoint_exists(f"{prefix}-1")


def test_a_new_saver_takes_over_what_an_earlier_one_kept(prefix: str, tmp_path: Path) -> None:
    wf.Variable(1.0)
    first, second, third = (train.Saver(max_to_keep=2) for _ in range(3))
    with started() as session:
        for step in (1, 2):
            first.save(session, prefix, step)
        state = train.get_checkpoint_state(str(tmp_path))
        assert state is not None
        second.recover_last_checkpoints([f"{prefix}-0", *state.all_model_checkpoint_paths])
        assert second.last_checkpoints == first.last_checkpoints
        second.save(session, prefix, 3)
        assert names(tmp_path) == ["model-2", "model-3"]
        third.set_last_checkpoints(second.last_checkpoints)
        third.save(session, prefix, 4)
        assert names(tmp_path) == ["model-3", "model-4"]
        third.set_last_checkpoints_with_time([(f"{prefix}-3", 0.0)])
        assert third.last_checkpoints == [f"{prefix}-3"]


def test_old_checkpoints_that_cannot_be_deleted_stop_nobody(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wf.Variable(1.0)
    saver = train.Saver(max_to_keep=1)
    (tmp_path / "folder.safetensors").mkdir()
    saver.set_last_checkpoints([f"{prefix}-gone"])
    with started() as session:
        saver.save(session, prefix, 1)
        assert caplog.text == ""
        saver.set_last_checkpoints([str(tmp_path / "folder")])
        saver.save(session, prefix, 2)
    assert "Cannot delete the old checkpoint" in caplog.text
    assert saver.last_checkpoints == [f"{prefix}-2"]
