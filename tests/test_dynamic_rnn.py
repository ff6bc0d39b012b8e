"""dynamic_rnn, bidirectional_dynamic_rnn, LSTMCell and the wrappers: against static_rnn and NumPy, and their errors."""

from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.nn import rnn_cell

X = np.random.default_rng(5).normal(size=(3, 4, 2))
LENGTHS = [2, 4, 0]


def run(fetches: Any, feeds: Any = None) -> Any:
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return session.run(fetches, feeds)


def unrolled(cell: Any, lengths: Any = None) -> tuple[Any, Any]:
    """The same cell by static_rnn, its outputs as [batch, time, ...]."""
    steps = wf.unstack(wf.constant(X), axis=1)
    outputs, state = wf.nn.static_rnn(cell, steps, dtype=wf.float64, sequence_length=lengths)
    return wf.stack(outputs, 1), state


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("kind", [rnn_cell.BasicRNNCell, rnn_cell.BasicLSTMCell, rnn_cell.GRUCell])
def test_gives_what_the_unrolled_cell_does_gradients_included(kind: Any, lengths: Any) -> None:
    cell = kind(3)
    with wf.variable_scope("both", reuse=wf.AUTO_REUSE):
        looped, unlooped = dynamic(cell, lengths), unrolled(cell, lengths)
    pairs = []
    for outputs, state in (looped, unlooped):
        last = state.h if isinstance(state, rnn_cell.LSTMStateTuple) else state
        loss = wf.reduce_sum(wf.square(outputs)) + wf.reduce_sum(last)
        pairs.append([outputs, state, *wf.gradients(loss, wf.trainable_variables())])
    ours, theirs = (wf_flat(part) for part in run(pairs))
    assert looped[0].shape.as_list() == [3, 4, 3]
    assert wf.trainable_variables()[0].name.startswith("both/rnn/")
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def wf_flat(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in wf_flat(part)] if isinstance(value, (list, tuple)) else [value]


def dynamic(cell: Any, lengths: Any = None, **arguments: Any) -> tuple[Any, Any]:
    return wf.nn.dynamic_rnn(cell, wf.constant(X), lengths, dtype=wf.float64, **arguments)


def test_sizes_may_be_unknown_and_time_first() -> None:
    x = wf.placeholder(wf.float64, [None, None, 2])
    cell = rnn_cell.BasicRNNCell(3)
    outputs, state = wf.nn.dynamic_rnn(cell, wf.transpose(x, [1, 0, 2]), dtype=wf.float64, time_major=True)
    assert outputs.shape.as_list() == [None, None, 3]
    with wf.variable_scope("again"):
        same, last = wf.nn.dynamic_rnn(cell, x, initial_state=wf.zeros([wf.shape(x)[0], 3], wf.float64))
    values = run([outputs, wf.transpose(same, [1, 0, 2]), state, last], {x: X})
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[2], values[3])


def test_lengths_of_another_count_fail_the_run() -> None:
    lengths = wf.placeholder(wf.int64, [None])
    outputs, _ = dynamic(rnn_cell.BasicRNNCell(3), lengths)
    with pytest.raises(wf.errors.InvalidArgumentError, match="sequence_length"):
        run(outputs, {lengths: [1, 2]})


def test_the_second_direction_begins_at_the_end_of_each_row() -> None:
    forwards, backwards = rnn_cell.BasicRNNCell(3), rnn_cell.BasicRNNCell(3)
    (ahead, back), (first, second) = wf.nn.bidirectional_dynamic_rnn(
        forwards, backwards, wf.constant(X), LENGTHS, dtype=wf.float64
    )
    names = [variable.name for variable in wf.trainable_variables()]
    assert names[::2] == [f"bidirectional_rnn/{way}/basic_rnn_cell/kernel:0" for way in ("fw", "bw")]
    ahead, back, first, second, (kernel, bias) = run([ahead, back, first, second, wf.trainable_variables()[2:]])
    for row, length in enumerate(LENGTHS):
        h = np.zeros(3)
        for time in reversed(range(length)):
            h = np.tanh(np.concatenate([X[row, time], h]) @ kernel + bias)
            np.testing.assert_allclose(back[row, time], h)
        np.testing.assert_allclose(second[row], h)
        np.testing.assert_array_equal(first[row], ahead[row, length - 1] if length else np.zeros(3))
        assert not back[row, length:].any()


def test_what_is_no_cell_and_what_is_missing_is_an_error() -> None:
    cell = rnn_cell.BasicRNNCell(3)
    with pytest.raises(TypeError, match="not an RNNCell"):
        dynamic(wf.tanh)
    with pytest.raises(ValueError, match="must give a dtype"):
        wf.nn.dynamic_rnn(cell, wf.constant(X))
    with pytest.raises(ValueError, match="vector of length batch_size"):
        dynamic(cell, [[1, 2, 3]])
    with pytest.raises(ValueError, match="are incompatible"):
        dynamic(cell, [1, 2])
    with pytest.raises(ValueError, match="depth of inputs"):
        wf.nn.dynamic_rnn(cell, wf.placeholder(wf.float32, [2, 3, None]), dtype=wf.float32)
    with pytest.raises(ValueError, match="rank 2"):
        wf.nn.dynamic_rnn(cell, wf.zeros([3]), dtype=wf.float32)


@pytest.mark.parametrize("as_tuple", [True, False])
def test_lstm_cell_with_peepholes_clipping_and_projection(as_tuple: bool) -> None:
    cell = rnn_cell.LSTMCell(
        4, use_peepholes=True, cell_clip=0.3, num_proj=3, proj_clip=0.2, state_is_tuple=as_tuple,
        initializer=wf.random_normal_initializer(seed=3),
    )  # fmt: skip
    outputs, state = dynamic(cell)
    assert [variable.op.name.removeprefix("rnn/lstm_cell/") for variable in wf.trainable_variables()] == [
        "kernel", "bias", "w_f_diag", "w_i_diag", "w_o_diag", "projection/kernel",
    ]  # fmt: skip
    outputs, state, (kernel, bias, see_f, see_i, see_o, project) = run([outputs, state, wf.trainable_variables()])
    c, h = np.zeros((3, 4)), np.zeros((3, 3))
    for time in range(4):
        i, j, f, o = np.split(np.concatenate([X[:, time], h], 1) @ kernel + bias, 4, axis=1)
        c = np.clip(sigmoid(f + 1 + see_f * c) * c + sigmoid(i + see_i * c) * np.tanh(j), -0.3, 0.3)
        h = np.clip((sigmoid(o + see_o * c) * np.tanh(c)) @ project, -0.2, 0.2)
        np.testing.assert_allclose(outputs[:, time], h)
    np.testing.assert_allclose(np.concatenate(state, 1) if as_tuple else state, np.concatenate([c, h], 1))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


class Echo(rnn_cell.RNNCell):
    """Gives its inputs, and keeps a state of ones."""

    state_size = rnn_cell.LSTMStateTuple(50, 50)
    output_size = 50

    def call(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        return inputs, rnn_cell.LSTMStateTuple(*[wf.ones_like(part) for part in state])


@pytest.mark.parametrize("same_mask", [True, False])
def test_dropout_of_inputs_outputs_and_h_but_not_c(same_mask: bool) -> None:
    cell = rnn_cell.DropoutWrapper(
        Echo(), 0.5, 0.8, 0.5, variational_recurrent=same_mask, input_size=50, dtype=wf.float32, seed=1
    )
    outputs, state = run(wf.nn.dynamic_rnn(cell, wf.ones([2, 3, 50]), dtype=wf.float32))
    assert set(np.unique(outputs)) == {0, np.float32(1 / 0.5 / 0.8)}
    assert (state.c == 1).all()
    assert set(np.unique(state.h)) == {0, 2}
    assert (outputs == outputs[:1, :1]).all() == same_mask


def test_dropout_asks_the_filter_and_takes_a_tensor() -> None:
    keep = wf.placeholder(wf.float32, [])
    cell = rnn_cell.DropoutWrapper(
        Echo(), state_keep_prob=keep, dropout_state_filter_visitor=lambda state: rnn_cell.LSTMStateTuple(True, False)
    )
    state = run(wf.nn.dynamic_rnn(cell, wf.ones([2, 3, 50]), dtype=wf.float32)[1], {keep: 0.5})
    assert set(np.unique(state.c)) == {0, 2}
    assert (state.h == 1).all()


def test_dropout_refuses_what_it_cannot_do() -> None:
    with pytest.raises(TypeError, match="must be an RNNCell"):
        rnn_cell.DropoutWrapper(None)
    with pytest.raises(ValueError, match="input_keep_prob must be between"):
        rnn_cell.DropoutWrapper(Echo(), 1.5)
    with pytest.raises(ValueError, match="dtype must be provided"):
        rnn_cell.DropoutWrapper(Echo(), variational_recurrent=True)
    with pytest.raises(ValueError, match="input_size must be provided"):
        rnn_cell.DropoutWrapper(Echo(), 0.5, variational_recurrent=True, dtype=wf.float32)


def test_a_residual_adds_the_inputs_and_a_device_is_asked_for() -> None:
    x = wf.ones([2, 3, 50])
    twice, _ = wf.nn.dynamic_rnn(rnn_cell.ResidualWrapper(Echo()), x, dtype=wf.float32)
    other = rnn_cell.ResidualWrapper(Echo(), lambda inputs, outputs: inputs - 3 * outputs)
    less, _ = wf.nn.dynamic_rnn(other, x, dtype=wf.float32, scope="other")
    values = run([twice, less])
    assert (values[0] == 2).all()
    assert (values[1] == -2).all()
    with pytest.raises(ValueError, match="are incompatible"):
        rnn_cell.ResidualWrapper(rnn_cell.BasicRNNCell(3))(wf.zeros([2, 5]), wf.zeros([2, 3]))
    state = rnn_cell.DeviceWrapper(Echo(), "/device:CPU:1").zero_state(2, wf.float32)
    assert state.c.device == "/device:CPU:1"
