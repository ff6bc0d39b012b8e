"""Eager execution: the same operations, computed at once."""

from typing import Any

import numpy as np
import pytest
import weft as wf


@pytest.fixture
def eager() -> None:
    """Eager execution for one test; the fresh graph of every test ends it."""
    wf.enable_eager_execution()


def test_it_is_off_by_default_and_can_be_enabled_before_a_graph_is_built() -> None:
    assert not wf.executing_eagerly()
    wf.enable_eager_execution()
    assert wf.executing_eagerly()
    wf.enable_eager_execution()


def test_after_a_graph_was_built_it_cannot_be_enabled() -> None:
    wf.constant(1)
    with pytest.raises(ValueError, match="at program startup"):
        wf.enable_eager_execution()
    assert not wf.executing_eagerly()


@pytest.mark.usefixtures("eager")
class TestEager:
    def test_operations_compute_at_once(self) -> None:
        x: Any = wf.constant([[1.0, 2.0], [3.0, 4.0]])
        assert x.numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]
        assert np.asarray(wf.matmul(x, x)).tolist() == [[7.0, 10.0], [15.0, 22.0]]
        assert wf.reduce_sum(x, 0).shape == (2,)
        assert np.asarray(wf.exp(0.0)) == np.float32(1.0)
        assert np.asarray(wf.constant("a")).item() == b"a"

    def test_several_outputs(self) -> None:
        parts: Any = wf.split(wf.constant([1, 2, 3, 4]), 2)
        assert [part.numpy().tolist() for part in parts] == [[1, 2], [3, 4]]

    def test_operators_and_slices(self) -> None:
        x: Any = wf.constant([1.0, 2.0, 3.0])
        assert (2.0 * x - 1.0).numpy().tolist() == [1.0, 3.0, 5.0]
        assert (-x[1:] / 2.0).numpy().tolist() == [-1.0, -1.5]
        assert (x > 1.5).numpy().tolist() == [False, True, True]
        with pytest.raises(TypeError):
            x + wf.constant(1)

    def test_a_tensor_behaves_like_its_value(self) -> None:
        x: Any = wf.constant([3, 4])
        assert [int(part) for part in x] == [3, 4]
        assert len(x) == 2
        assert np.asarray(x).tolist() == [3, 4]
        assert bool(x[0] > 0)
        assert float(x[0]) == 3.0
        assert [10, 20, 30, 40][x[0]] == 40
        assert "numpy=" in repr(x)

    def test_what_numpy_gives_is_a_copy(self) -> None:
        x: Any = wf.constant([1.0, 2.0])
        x.numpy()[...] = 7.0
        assert x.numpy().tolist() == [1.0, 2.0]

    def test_a_tensor_has_neither_name_nor_operation(self) -> None:
        x: Any = wf.constant(1.0)
        with pytest.raises(AttributeError, match="eager execution"):
            x.name  # noqa: B018
        with pytest.raises(AttributeError, match="eager execution"):
            x.op  # noqa: B018

    def test_variables(self) -> None:
        v = wf.Variable([1.0, 2.0], name="v")
        before: Any = v.value()
        assert v.assign_add([1.0, 1.0]).numpy().tolist() == [2.0, 3.0]
        assert before.numpy().tolist() == [1.0, 2.0]
        assert (v * 10.0).numpy().tolist() == [20.0, 30.0]
        v.assign([5.0, 6.0])
        assert v.numpy().tolist() == [5.0, 6.0]
        assert wf.Variable([0.0, 0.0], name="v").numpy().tolist() == [0.0, 0.0]
        assert v.numpy().tolist() == [5.0, 6.0]

    def test_scopes_do_nothing(self) -> None:
        with wf.device("/cpu:7"), wf.name_scope("scope"), wf.control_dependencies([]):
            assert np.asarray(wf.add(1, 2)) == 3

    def test_errors_come_at_once(self) -> None:
        with pytest.raises(ValueError, match="Dimensions must be equal"):
            wf.matmul(wf.ones([2, 3]), wf.ones([2, 3]))
        with pytest.raises(wf.errors.InvalidArgumentError, match="Integer division by zero"):
            wf.floordiv(wf.constant(1), 0)

    def test_placeholders_are_refused(self) -> None:
        with pytest.raises(RuntimeError, match="not compatible with eager execution"):
            wf.placeholder(wf.float32)

    def test_gradients_are_refused(self) -> None:
        x: Any = wf.constant(1.0)
        with pytest.raises(RuntimeError, match="eager execution"):
            wf.gradients(x * 2.0, x)

    def test_sessions_are_refused(self) -> None:
        with wf.Session() as sess, pytest.raises(RuntimeError):
            sess.run(wf.constant(1.0))

    def test_random_numbers(self) -> None:
        assert wf.random_uniform([3], seed=1).shape == (3,)
        one, two = np.asarray(wf.random_uniform([9])), np.asarray(wf.random_uniform([9]))
        assert (one != two).any()
