"""The layers of `wf.contrib.layers`, the cells of `wf.contrib.rnn`, and `wf.test.TestCase`."""

import unittest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.contrib import layers


def run(fetches: Any) -> Any:
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return session.run(fetches)


def test_fully_connected_is_a_dense_layer_with_a_relu() -> None:
    x = wf.constant(np.random.default_rng(0).normal(size=(2, 3, 4)))
    y = layers.fully_connected(x, 5, variables_collections={"weights": ["mine"]}, outputs_collections="out")
    z = layers.fully_connected(x, 5, None, biases_initializer=None)
    weights, biases, others = wf.global_variables()
    assert [v.op.name for v in (weights, biases)] == ["fully_connected/weights", "fully_connected/biases"]
    assert others.op.name == "fully_connected_1/weights"
    assert wf.get_collection("mine") == [weights]
    assert wf.get_collection("out") == [y]
    assert wf.model_variables() == [weights, biases, others]
    x_, y_, z_, w, v = run([x, y, z, weights, others])
    np.testing.assert_allclose(y_, np.maximum(x_ @ w, 0))
    np.testing.assert_allclose(z_, x_ @ v)
    assert np.abs(w).max() <= np.sqrt(6 / 9)


def test_fully_connected_normalizes_before_the_activation_and_reuses() -> None:
    x = wf.ones([2, 3])
    double = {"factor": 2.0}
    y = layers.fully_connected(x, 4, wf.negative, lambda t, factor: t * factor, double, scope="s")
    z = layers.fully_connected(x, 4, None, lambda t, factor: t * factor, double, scope="s", reuse=True)
    assert [v.op.name for v in wf.global_variables()] == ["s/weights"]
    assert len(wf.model_variables()) == 1
    values = run([y, z])
    np.testing.assert_array_equal(values[0], -values[1])


def test_conv2d_pools_and_flattens() -> None:
    x = wf.constant(np.random.default_rng(1).normal(size=(2, 6, 6, 3)).astype(np.float32))
    y = layers.conv2d(x, 4, 3)
    flat = layers.flatten(layers.max_pool2d(y, 2))
    assert [v.op.name for v in wf.global_variables()] == ["Conv/weights", "Conv/biases"]
    assert flat.shape.as_list() == [2, 36]
    plain = wf.nn.relu(wf.nn.conv2d(x, wf.global_variables()[0], [1, 1, 1, 1], "SAME"))
    values = run([y, plain])
    np.testing.assert_array_equal(values[0], values[1])
    with pytest.raises(ValueError, match="Invalid data_format"):
        layers.conv2d(x, 4, 3, data_format="HWCN")
    assert layers.convolution2d is layers.conv2d


def test_the_cells_by_their_old_name() -> None:
    assert wf.contrib.rnn.BasicLSTMCell is wf.nn.rnn_cell.BasicLSTMCell
    assert wf.contrib.rnn.static_rnn is wf.nn.static_rnn


@pytest.mark.parametrize("over_time", [True, False])
@pytest.mark.parametrize("over_batch", [True, False])
def test_sequence_loss(over_time: bool, over_batch: bool) -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 5))
    targets, weights = np.array([[0, 1, 2], [3, 4, 0]]), np.array([[1.0, 1, 0], [1, 0, 0]])
    loss = wf.contrib.seq2seq.sequence_loss(logits, targets, weights, over_time, over_batch)
    crossed = np.log(np.exp(logits).sum(2)) - np.take_along_axis(logits, targets[..., None], 2)[..., 0]
    axes = (*((0,) if over_batch else ()), *((1,) if over_time else ()))
    total = (crossed * weights).sum(axes) / (weights.sum(axes) + 1e-12) if axes else crossed * weights
    np.testing.assert_allclose(run(loss), total)


def test_sequence_loss_takes_another_loss_and_refuses_other_ranks() -> None:
    logits, targets, weights = wf.zeros([2, 3, 5]), wf.zeros([2, 3], wf.int32), wf.ones([2, 3])
    loss = wf.contrib.seq2seq.sequence_loss(
        logits, targets, weights, softmax_loss_function=lambda labels, logits: wf.cast(labels, wf.float32) + 2
    )
    np.testing.assert_allclose(run(loss), 2)
    for arguments in ((targets, targets, weights), (logits, logits, weights), (logits, targets, logits)):
        with pytest.raises(ValueError, match=r"must be a [23]-dimensional"):
            wf.contrib.seq2seq.sequence_loss(*arguments)


class Inner(wf.test.TestCase):
    __test__ = False

    def runTest(self) -> None:
        with self.test_session() as session:
            v = wf.Variable([1.0, 2.0])
            session.run(v.initializer)
            self.assertAllEqual(v, [1, 2])
            self.assertAllClose(self.evaluate({"a": v + 1e-7}), {"a": [1, 2]})
            self.assertNotAllClose(v, [1, 3])
            self.assertShapeEqual(np.zeros(2), v)
            for wrong in ([1, 3], [[1, 2]], 1):
                self.assertNotAllEqual(v, wrong)
        with self.cached_session() as again:
            assert again is session
            self.assertAllEqual(v, [1, 2])
        with self.session(graph=wf.Graph()) as other, self.assertRaisesOpError("assertion failed"):
            other.run(wf.Assert(wf.constant(False), ["no"]))
        with pytest.raises(AssertionError), self.assertRaisesWithPredicateMatch(ValueError, "other"):
            raise ValueError("this")
        self.assertArrayNear([1, 2], [1.1, 2], 0.2)
        with pytest.raises(ValueError, match="is different"), self.cached_session(graph=wf.Graph()):
            pass
        self.directory = self.get_temp_dir()


def test_a_test_case_has_sessions_and_assertions() -> None:
    case = Inner()
    result = unittest.TestResult()
    case.run(result)
    assert result.wasSuccessful(), result.errors + result.failures
    assert not Path(case.directory).exists()
    with pytest.raises(unittest.SkipTest):
        Inner("test_session").test_session()
    assert not wf.test.is_gpu_available()
    assert wf.test.gpu_device_name() == ""
