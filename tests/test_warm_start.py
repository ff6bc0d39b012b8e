"""init_from_checkpoint: which variables begin with which values of a checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft import train
from weft.graph.storage.checkpoint import write_checkpoint


@pytest.fixture
def saved(tmp_path: Path) -> str:
    values = {"old/a": np.array([1, 2], np.float32), "old/deep/b": np.array(3, np.int32), "c": np.array(4.0)}
    write_checkpoint(f"{tmp_path}/model.safetensors", values)
    train.update_checkpoint_state(str(tmp_path), f"{tmp_path}/model")
    return str(tmp_path)


def variables(scope: str = "new") -> tuple[Any, Any, Any]:
    with wf.variable_scope(scope):
        a = wf.get_variable("a", [2])
        b = wf.get_variable("deep/b", [], wf.int32, wf.zeros_initializer())
    return a, b, wf.get_variable("c", [], wf.float64)


def initial(*found: Any) -> Any:
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return session.run(list(found))


@pytest.mark.parametrize("file", ["", "/model"])
def test_a_scope_begins_with_a_scope(saved: str, file: str) -> None:
    a, b, c = variables()
    train.init_from_checkpoint(saved + file, {"old/": "new/", "c": c})
    values = initial(a, b, c)
    assert (values[0].tolist(), values[1], values[2]) == ([1.0, 2.0], 3, 4.0)


def test_single_variables_by_name(saved: str) -> None:
    a, b, _ = variables()
    train.init_from_checkpoint(saved, {"old/a": "new/a"})
    values = initial(a, b)
    assert (values[0].tolist(), values[1]) == ([1.0, 2.0], 0)


def test_everything_from_the_outermost_scope(saved: str) -> None:
    a, b, c = variables("old")
    train.init_from_checkpoint(saved, {"/": "/"})
    values = initial(a, b, c)
    assert (values[0].tolist(), values[1], values[2]) == ([1.0, 2.0], 3, 4.0)


def test_what_begins_with_it_is_trained_saved_and_written(saved: str, tmp_path: Path) -> None:
    w = wf.get_variable("w", [2])
    train.init_from_checkpoint(saved, {"old/a": w})
    step = train.GradientDescentOptimizer(0.5).minimize(wf.reduce_sum(w))
    saver = train.Saver()
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        session.run(step)
        path = saver.save(session, str(tmp_path / "second"))
    assert train.load_variable(str(path), "w").tolist() == [0.5, 1.5]
    with wf.Graph().as_default():
        train.import_meta_graph(f"{path}.meta")
        (again,) = wf.global_variables()
        assert initial(again)[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"old/": "new"}, "Should be 'scope/': 'other_scope/'"), ({"old/a": "nowhere"}, "the graph has no such variable"),
        ({"old/": "nowhere/"}, "no variables in the scope nowhere/"), ({"none/a": "new/a"}, "Tensor none/a is not found"),
        ({"old/a": "c"}, r"float64 of shape \[\], cannot begin with tensor old/a of the checkpoint, which is float32"),
        ({"old/a": 5}, "must become a variable or the name of one"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(saved: str, mapping: Any, text: str) -> None:
    variables()
    with pytest.raises(ValueError, match=text):
        train.init_from_checkpoint(saved, mapping)


def test_eager_execution_has_no_initializers(saved: str) -> None:
    wf.enable_eager_execution()
    with pytest.raises(RuntimeError, match="with eager execution there is none"):
        train.init_from_checkpoint(saved, {"/": "/"})
