"""Recurrent cells and static_rnn against NumPy: values, names, lengths, errors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.nn import rnn_cell

Array = np.ndarray[Any, Any]


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


def started(session: wf.Session) -> wf.Session:
    session.run(wf.global_variables_initializer())
    return session


def names() -> list[str]:
    return [variable.name for variable in wf.global_variables()]


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def random(*shape: int) -> Array:
    return np.random.default_rng([*shape]).normal(size=shape)


def run_cell(session: wf.Session, cell: Any, **arguments: Any) -> tuple[list[Array], Any, list[Array], list[Array]]:
    """Outputs, last state, inputs, and the variables' values."""
    inputs = [random(4, 3, step) for step in (1, 2, 3)]
    inputs = [value[..., 0] for value in inputs]
    outputs, state = wf.nn.static_rnn(cell, [wf.constant(value) for value in inputs], dtype=wf.float64, **arguments)
    started(session)
    return (*session.run([outputs, state]), inputs, session.run(wf.global_variables()))


def test_basic_rnn_cell(session: wf.Session) -> None:
    outputs, state, inputs, (kernel, bias) = run_cell(session, rnn_cell.BasicRNNCell(5))
    assert names() == ["rnn/basic_rnn_cell/kernel:0", "rnn/basic_rnn_cell/bias:0"]
    h = np.zeros((4, 5))
    for value, output in zip(inputs, outputs, strict=True):
        h = np.tanh(np.concatenate([value, h], 1) @ kernel + bias)
        np.testing.assert_allclose(output, h)
    np.testing.assert_array_equal(state, outputs[-1])


@pytest.mark.parametrize("as_tuple", [True, False])
def test_basic_lstm_cell(as_tuple: bool, session: wf.Session) -> None:
    cell = rnn_cell.BasicLSTMCell(5, forget_bias=0.5, state_is_tuple=as_tuple)
    outputs, state, inputs, (kernel, bias) = run_cell(session, cell)
    assert names() == ["rnn/basic_lstm_cell/kernel:0", "rnn/basic_lstm_cell/bias:0"]
    c = h = np.zeros((4, 5))
    for value, output in zip(inputs, outputs, strict=True):
        i, j, f, o = np.split(np.concatenate([value, h], 1) @ kernel + bias, 4, axis=1)
        c = c * sigmoid(f + 0.5) + sigmoid(i) * np.tanh(j)
        h = np.tanh(c) * sigmoid(o)
        np.testing.assert_allclose(output, h)
    np.testing.assert_allclose(np.concatenate(state, 1) if as_tuple else state, np.concatenate([c, h], 1))
    assert isinstance(state, rnn_cell.LSTMStateTuple) == as_tuple


def test_gru_cell(session: wf.Session) -> None:
    outputs, _, inputs, (gates, gate_bias, kernel, bias) = run_cell(session, rnn_cell.GRUCell(5))
    assert names() == [
        f"rnn/gru_cell/{part}:0" for part in ("gates/kernel", "gates/bias", "candidate/kernel", "candidate/bias")
    ]
    assert gate_bias.tolist() == [1] * 10
    h = np.zeros((4, 5))
    for value, output in zip(inputs, outputs, strict=True):
        r, u = np.split(sigmoid(np.concatenate([value, h], 1) @ gates + gate_bias), 2, axis=1)
        h = u * h + (1 - u) * np.tanh(np.concatenate([value, r * h], 1) @ kernel + bias)
        np.testing.assert_allclose(output, h)


def test_cells_on_top_of_each_other(session: wf.Session) -> None:
    cell = rnn_cell.MultiRNNCell([rnn_cell.BasicLSTMCell(5), rnn_cell.BasicRNNCell(2)])
    assert (cell.state_size, cell.output_size) == ((rnn_cell.LSTMStateTuple(5, 5), 2), 2)
    outputs, (lstm, simple), _, values = run_cell(session, cell)
    assert [name for name in names() if "kernel" in name] == [
        "rnn/multi_rnn_cell/cell_0/basic_lstm_cell/kernel:0", "rnn/multi_rnn_cell/cell_1/basic_rnn_cell/kernel:0",
    ]  # fmt: skip
    assert (lstm.c.shape, lstm.h.shape, simple.shape, len(values)) == ((4, 5), (4, 5), (4, 2), 4)
    np.testing.assert_array_equal(outputs[-1], simple)


def test_states_side_by_side(session: wf.Session) -> None:
    cells = [rnn_cell.GRUCell(5), rnn_cell.BasicRNNCell(2)]
    outputs, state, _, _ = run_cell(session, rnn_cell.MultiRNNCell(cells, state_is_tuple=False))
    assert state.shape == (4, 7)
    np.testing.assert_array_equal(state[:, 5:], outputs[-1])


def test_rows_end_at_their_length(session: wf.Session) -> None:
    outputs, state, _, _ = run_cell(session, rnn_cell.BasicLSTMCell(5), sequence_length=[1, 0, 3, 2])
    assert [[bool(row.any()) for row in output] for output in outputs] == [
        [True, False, True, True], [False, False, True, True], [False, False, True, False],
    ]  # fmt: skip
    np.testing.assert_array_equal(state.h[0], outputs[0][0])
    np.testing.assert_array_equal(state.h[1], np.zeros(5))
    np.testing.assert_array_equal(state.h[2:], [outputs[2][2], outputs[1][3]])


def test_a_cell_has_one_set_of_variables_and_learns(session: wf.Session) -> None:
    wf.set_random_seed(1)
    cell = rnn_cell.GRUCell(4, name="mine")
    x = wf.placeholder(wf.float32, [None, 2])
    state = cell.zero_state(wf.shape(x)[0], wf.float32)
    for _ in range(2):
        _, state = cell(x, state)
    assert [name for name in names() if "candidate" in name] == ["mine/candidate/kernel:0", "mine/candidate/bias:0"]
    loss = wf.reduce_mean((state - 0.5) ** 2)
    train = wf.train.AdamOptimizer(0.1).minimize(loss)
    started(session)
    feed = {x: np.ones((3, 2), np.float32)}
    before = session.run(loss, feed)
    for _ in range(20):
        session.run(train, feed)
    assert session.run(loss, feed) < 0.1 * before


def test_errors_of_cells() -> None:
    cell = rnn_cell.BasicRNNCell(2)
    x = wf.ones([3, 2])
    with pytest.raises(TypeError, match="must be a sequence"):
        wf.nn.static_rnn(cell, x, dtype=wf.float32)
    with pytest.raises(ValueError, match="must not be empty"):
        wf.nn.static_rnn(cell, [], dtype=wf.float32)
    with pytest.raises(ValueError, match="dtype must be specified"):
        wf.nn.static_rnn(cell, [x])
    with pytest.raises(ValueError, match=r"shape\[-1\] to be known"):
        cell(wf.placeholder(wf.float32, [3, None]), x)
    with pytest.raises(ValueError, match="at least one cell"):
        rnn_cell.MultiRNNCell([])
    with pytest.raises(TypeError, match="list or tuple"):
        rnn_cell.MultiRNNCell(cell)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="state_is_tuple is not set"):
        rnn_cell.MultiRNNCell([rnn_cell.BasicLSTMCell(2)], state_is_tuple=False)
    with pytest.raises(NotImplementedError, match="Abstract"):
        rnn_cell.RNNCell().zero_state(1, wf.float32)
