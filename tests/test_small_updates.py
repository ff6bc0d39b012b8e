"""Updates of small variables, which guard these by themselves: the bits, the errors and the readers' promises of all others."""

from typing import Any

import numpy as np
import pytest
import weft as wf
from at_once import in_threads, spreads
from weft.graph import dtypes
from weft.graph.dtypes import DType, float32, resource
from weft.graph.opdef import Spec
from weft.graph.ops import training, training_adadelta, training_adaptive
from weft.graph.state import VariableSlot
from weft.runtime.backends.cpu import CPU
from weft.runtime.memory.workspace import Workspace

#: So many elements are one block still, and enough for a ufunc to let go of Python's lock.
SMALL = 30_000
#: What each update takes after its variables; "g" is the gradient.
UPDATES: list[tuple[Any, dict[str, Any], list[Any]]] = [
    (training.ResourceApplyGradientDescent, {}, [0.1, "g"]),
    (training.ResourceApplyMomentum, {}, [0.1, "g", 0.9]),
    (training.ResourceApplyMomentum, {"use_nesterov": True}, [0.1, "g", 0.9]),
    (training.ResourceApplyAdam, {}, [0.9, 0.99, 0.1, 0.9, 0.99, 1e-8, "g"]),
    (training.ResourceApplyAdam, {"use_nesterov": True}, [0.9, 0.99, 0.1, 0.9, 0.99, 1e-8, "g"]),
    (training_adaptive.ResourceApplyAdagrad, {}, [0.1, "g"]),
    (training_adaptive.ResourceApplyRMSProp, {}, [0.1, 0.9, 0.5, 1e-7, "g"]),
    (training_adadelta.ResourceApplyAdadelta, {}, [0.1, 0.9, 1e-6, "g"]),
]


def slot_of(value: Any, dtype: DType = float32) -> VariableSlot:
    slot = VariableSlot("v", dtype, np.shape(value))
    slot.assign(np.array(value, dtype.np))
    return slot


def guarded(definition: Any, others: int) -> Any:
    """The function that guards variables by itself."""
    numbers = [Spec(definition.dtype, ())] * others
    kernel = CPU.kernel(definition, (*[Spec(resource, ())] * definition.slots, *numbers), ())
    assert kernel is not None
    assert kernel.guarded is not None
    return kernel.guarded(Workspace())


@pytest.mark.parametrize("dims", [(), (1,), (7,), (5, 3), (SMALL,)], ids=str)
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16], ids=str)
@pytest.mark.parametrize(("kind", "attributes", "others"), UPDATES)
def test_the_bits_are_those_of_the_definition(
    kind: Any, attributes: dict[str, Any], others: list[Any], dtype: DType, dims: tuple[int, ...]
) -> None:
    definition, random = kind(dtype, dims, **attributes), np.random.default_rng(len(dims))
    values = [abs(random.standard_normal(dims)) for _ in range(definition.slots)]
    here, there = [slot_of(value, dtype) for value in values], [slot_of(value, dtype) for value in values]
    run = guarded(definition, len(others))
    for _ in range(3):
        grad = np.array(random.standard_normal(dims), dtype.np)
        given = [grad if each == "g" else np.array(each, dtype.np) for each in others]
        run(*here, *given)
        definition.compute(None, *there, *given)
        for one, other in zip(here, there, strict=True):
            assert one.settled().tobytes() == other.settled().tobytes()
            assert not one.changing


def test_rates_of_zero_keep_their_sign() -> None:
    """The rate of Adam is kept by its bits: 0 and -0 are equal."""
    numbers = [np.array(each, np.float32) for each in (0.9, 0.99, 0.9, 0.99, 1e-8)]
    rates = [training.adam_rate(np.array(lr, np.float32), *numbers[:2]) for lr in (0.0, -0.0, 0.0)]
    assert [np.signbit(rate) for rate in rates] == [False, True, False]


def test_a_gradient_that_is_the_variable_itself_does_not_change_under_the_update() -> None:
    definition, rate = training.ResourceApplyGradientDescent(float32, (4, 4)), np.array(1.0, np.float32)
    start = np.arange(16.0, dtype=np.float32).reshape(4, 4)
    slot, run = slot_of(start), guarded(definition, 2)
    run(slot, rate, slot.settled().T)
    np.testing.assert_array_equal(slot.settled(), start - start.T)
    memory = start.copy()
    slot.value = memory[:]  # in somebody's memory, whose views nobody counts
    run(slot, rate, memory.T)
    np.testing.assert_array_equal(slot.settled(), start - start.T)


def test_a_reader_keeps_what_it_holds() -> None:
    definition = training.ResourceApplyGradientDescent(float32, (2,))
    slot, run, rate = slot_of([1.0, 2.0]), guarded(definition, 2), np.array(1.0, np.float32)
    held = slot.settled()
    run(slot, rate, np.ones(2, np.float32))
    assert (held.tolist(), slot.settled().tolist()) == ([1.0, 2.0], [0.0, 1.0])
    place = slot.settled().ctypes.data
    del held
    run(slot, rate, np.ones(2, np.float32))
    assert slot.settled().ctypes.data == place, "nobody holds it: it is changed in place"


@pytest.mark.parametrize("kind", [training.ResourceApplyGradientDescent, training_adaptive.ResourceApplyAdagrad])
def test_an_update_that_fails_leaves_the_variables_to_others(kind: Any) -> None:
    definition = kind(float32, (2,))
    slots = [slot_of([1.0, 1.0]) for _ in range(definition.slots)]
    run, rate = guarded(definition, 2), np.array(0.5, np.float32)
    with pytest.raises(wf.errors.InvalidArgumentError, match="the shapes must be equal"):
        run(*slots, rate, np.ones(3, np.float32))
    slots[-1].value = None
    with pytest.raises(wf.errors.FailedPreconditionError, match="uninitialized value v"):
        run(*slots, rate, np.ones(2, np.float32))
    slots[-1].assign(np.ones(2, np.float32))
    run(*slots, rate, np.ones(2, np.float32))
    assert slots[0].settled()[0] < 1
    assert not any(slot.changing or slot.writing.locked() for slot in slots)


@pytest.mark.parametrize("optimizer", [wf.train.GradientDescentOptimizer, wf.train.AdamOptimizer])
def test_no_reader_sees_half_an_update(optimizer: Any) -> None:
    v = wf.get_variable("v", initializer=np.zeros(SMALL, np.float32), use_resource=True)
    wanted, add = wf.identity(v.read_value()) * 1.0, optimizer(1.0).apply_gradients([(wf.ones([SMALL]), v)])
    with wf.Session() as sess:
        sess.run(wf.global_variables_initializer())
        assert spreads(sess, add, wanted, 300) == {0.0}


def test_updates_of_several_threads_all_count() -> None:
    v = wf.get_variable("v", initializer=np.zeros(SMALL, np.float32), use_resource=True)
    step = wf.train.GradientDescentOptimizer(1.0).apply_gradients([(wf.ones([SMALL]), v)])
    with wf.Session() as sess:
        sess.run(wf.global_variables_initializer())

        def work() -> None:
            for _ in range(50):
                sess.run(step)
                sess.run(v)

        in_threads(3, work)
        assert np.unique(sess.run(v)).tolist() == [-150.0]
