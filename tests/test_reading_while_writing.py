"""What a reader of a variable sees while another thread's step writes it: the value before or after, never some of each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from at_once import in_threads, spreads
from weft.graph.dtypes import float32
from weft.graph.state import VariableSlot

#: So many elements that a write of them lets go of Python's lock and is long enough to be met.
MANY = 300_000


def slot_of(value: Any) -> VariableSlot:
    slot = VariableSlot("v", float32, np.shape(value))
    slot.assign(np.array(value, np.float32))
    return slot


def change(slot: VariableSlot, value: float, moves: bool = False) -> None:
    with slot.writing:
        slot.begin_change(moves=moves)
        slot.read()[...] = value
        slot.end_change()


@pytest.mark.parametrize("moves", [False, True])
def test_a_write_leaves_the_array_that_a_reader_holds_as_it_is(moves: bool) -> None:
    slot = slot_of([1.0, 2.0])
    held = slot.settled()
    change(slot, 7.0, moves)
    assert (held.tolist(), slot.settled().tolist()) == ([1.0, 2.0], [7.0, 7.0])


def test_a_view_counts_as_holding_it() -> None:
    slot = slot_of([[1.0, 2.0]])
    held = slot.settled().T[1:]
    change(slot, 7.0)
    assert held.tolist() == [[2.0]]


@pytest.mark.parametrize("moves", [False, True])
def test_what_nobody_holds_is_changed_in_place(moves: bool) -> None:
    slot = slot_of([1.0, 2.0])
    memory = slot.settled().ctypes.data
    change(slot, 7.0, moves)
    assert slot.settled().ctypes.data == memory


def test_a_training_step_copies_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = []
    begin = VariableSlot.begin_change

    def watched(slot: VariableSlot, spare: Any = None, moves: bool = False) -> None:
        before = id(slot.value)
        begin(slot, spare, moves)
        copied.append(id(slot.value) != before or slot.spare is not None)

    x = wf.placeholder(wf.float32, [4, 8])
    loss = wf.reduce_mean(wf.square(wf.layers.dense(wf.layers.dense(x, 8, wf.nn.relu), 2)))
    steps = [wf.train.AdamOptimizer().minimize(loss), wf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)]
    with wf.Session() as sess:
        sess.run(wf.global_variables_initializer())
        monkeypatch.setattr(VariableSlot, "begin_change", watched)
        for step in steps:
            sess.run([loss, step], {x: np.ones((4, 8))})
    assert copied
    assert not any(copied)


@pytest.mark.parametrize(
    "read",
    [lambda v: v, lambda v: wf.identity(v.read_value()) * 1.0, lambda v: v.sparse_read(np.arange(0, MANY, 3))],
    ids=["the variable", "what is computed from it", "rows of it"],
)
@pytest.mark.parametrize("optimizer", [False, True], ids=["assign_add", "Adam"])
def test_no_reader_sees_half_a_write(read: Callable[[Any], Any], optimizer: bool) -> None:
    v = wf.Variable(np.zeros(MANY, np.float32))
    wanted = read(v)
    add: Any = v.assign_add(np.ones(MANY, np.float32), read_value=False)
    if optimizer:
        add = wf.train.AdamOptimizer(1.0).apply_gradients([(wf.ones([MANY]), v)])
    with wf.Session() as sess:
        sess.run(wf.global_variables_initializer())
        assert spreads(sess, add, wanted, 150) == {0.0}


def test_updates_of_several_threads_all_count() -> None:
    v = wf.Variable(np.zeros(MANY, np.float32))
    add = v.assign_add(np.ones(MANY, np.float32), read_value=False)
    with wf.Session() as sess:
        sess.run(v.initializer)

        def work() -> None:
            for _ in range(25):
                sess.run(add)
                sess.run(v)

        in_threads(3, work)
        assert np.unique(sess.run(v)).tolist() == [75.0]
