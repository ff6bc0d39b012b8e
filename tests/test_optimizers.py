"""Optimizers: minimize, gating, order, names, slots, constraints, subclasses, errors; the global step."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph import context
from weft.graph.ir import get_default_graph


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


def test_minimize_finds_the_minimum_and_counts(session: wf.Session) -> None:
    x, step = wf.Variable([5.0, -3.0]), wf.train.create_global_step()
    loss = wf.reduce_sum((x - [1.0, 2.0]) ** 2)
    train = wf.train.GradientDescentOptimizer(0.25).minimize(loss, global_step=step)
    session.run(wf.global_variables_initializer())
    assert session.run(train) is None
    for _ in range(30):
        session.run(train)
    np.testing.assert_allclose(session.run(x), [1.0, 2.0], atol=1e-6)
    assert session.run(step) == wf.train.global_step(session, step) == 31


def test_the_step_is_counted_after_all_updates() -> None:
    x, step = wf.Variable(1.0, name="x"), wf.train.create_global_step()
    train = wf.train.AdamOptimizer().minimize(x * x, global_step=step)
    assert (train.name, train.type) == ("Adam", "AssignAddVariableOp")
    # The constant 1 is made under the dependency and carries it, so the increment need not name it again.
    (group,) = train.inputs[1].op.control_inputs
    assert group.name == "Adam/update"
    assert {op.name for op in group.control_inputs} == {
        "Adam/update_x/ResourceApplyAdam", "Adam/Assign", "Adam/Assign_1",
    }  # fmt: skip
    assert get_default_graph().get_collection(wf.GraphKeys.TRAIN_OP) == [train]


def test_names_of_updates_and_of_a_second_optimizer() -> None:
    x = wf.Variable(1.0, name="x")
    assert wf.train.GradientDescentOptimizer(0.1).minimize(x * x).name == "GradientDescent"
    assert wf.train.GradientDescentOptimizer(0.1).minimize(x * x).name == "GradientDescent_1"
    assert wf.train.GradientDescentOptimizer(0.1, name="Mine").minimize(x * x, name="apply").name == "apply"
    names = [op.name for op in get_default_graph().get_operations()]
    assert "GradientDescent/update_x/ResourceApplyGradientDescent" in names


def test_a_learning_rate_may_be_a_tensor_or_a_function(session: wf.Session) -> None:
    rate = wf.placeholder(wf.float32, [])
    a, b = wf.Variable([1.0]), wf.Variable(np.ones(1))
    grads = [(wf.constant([1.0]), a), (wf.constant([1.0], wf.float64), b)]
    by_tensor = wf.train.GradientDescentOptimizer(rate).apply_gradients(grads)
    by_function = wf.train.MomentumOptimizer(lambda: 0.5, lambda: 0.0).apply_gradients(grads)
    session.run(wf.global_variables_initializer())
    session.run(by_tensor, {rate: 0.25})
    session.run(by_function)
    assert session.run([a, b]) == [0.25, 0.25]


def test_loss_may_be_a_function_and_variables_nested() -> None:
    x, y = wf.Variable(1.0), wf.Variable(2.0)
    pairs = wf.train.GradientDescentOptimizer(0.1).compute_gradients(lambda: x * 3.0, var_list=[x, {"other": y}])
    assert [var for _, var in pairs] == [x, y]
    assert pairs[1][0] is None
    assert wf.train.GradientDescentOptimizer(0.1).compute_gradients(x * y)[1][1] is y


def test_a_tensor_can_be_differentiated_by_but_not_updated(session: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [])
    optimizer = wf.train.GradientDescentOptimizer(0.1)
    ((grad, var),) = optimizer.compute_gradients(x * x, [x])
    assert var is x
    assert session.run(grad, {x: 3.0}) == 6.0
    with pytest.raises(NotImplementedError, match="Trying to update a Tensor"):
        optimizer.apply_gradients([(grad, x)])


def test_grad_loss_scales(session: wf.Session) -> None:
    x = wf.Variable([1.0, 2.0])
    ((grad, _),) = wf.train.GradientDescentOptimizer(0.1).compute_gradients(x * x, grad_loss=wf.constant([10.0, 100.0]))
    session.run(wf.global_variables_initializer())
    assert session.run(grad).tolist() == [20, 400]


@pytest.mark.parametrize(
    "gate", [wf.train.Optimizer.GATE_NONE, wf.train.Optimizer.GATE_OP, wf.train.Optimizer.GATE_GRAPH]
)
def test_gates(gate: int) -> None:
    x, y = wf.Variable(1.0), wf.Variable(2.0)
    before = len(get_default_graph().get_operations())
    pairs = wf.train.GradientDescentOptimizer(0.1).compute_gradients(x * y + x, gate_gradients=gate)
    made = get_default_graph().get_operations()[before:]
    barriers = [op for op in made if op.type == "NoOp"]
    grads = [grad for grad, _ in pairs]
    if gate == wf.train.Optimizer.GATE_NONE:
        assert barriers == []
    if gate == wf.train.Optimizer.GATE_OP:
        assert len(barriers) == 2  # the product and the sum have two inputs each
    if gate == wf.train.Optimizer.GATE_GRAPH:
        (barrier,) = barriers
        assert all(grad.op.control_inputs == (barrier,) for grad in grads)


# slots


def test_slots_have_names_shapes_and_places() -> None:
    with get_default_graph().device("/job:ps/task:1"):
        w = wf.Variable(np.ones((2, 3), np.float32), name="w")
    b = wf.Variable([0.0], name="b")
    adam, momentum_ = wf.train.AdamOptimizer(), wf.train.MomentumOptimizer(0.1, 0.9)
    with get_default_graph().name_scope("anywhere"), get_default_graph().device("/job:worker"):
        momentum_.minimize(wf.reduce_sum(w) * b)
    adam.minimize(wf.reduce_sum(w) * b)
    assert adam.get_slot_names() == ["m", "v"]
    assert (adam.get_name(), momentum_.get_slot_names()) == ("Adam", ["momentum"])
    m, v, a = adam.get_slot(w, "m"), adam.get_slot(w, "v"), momentum_.get_slot(w, "momentum")
    assert m is not None
    assert v is not None
    assert a is not None
    assert (m.name, v.name, a.name) == ("w/Adam:0", "w/Adam_1:0", "w/Momentum:0")
    assert (m.shape, m.dtype, m.trainable) == (w.shape, w.dtype, False)
    assert all(slot.device == "/job:ps/task:1" for slot in (m, v, a))
    assert m.op.colocation_groups() == [b"loc:@w"]
    assert adam.get_slot(w, "momentum") is None
    assert [var.name for var in adam.variables()] == [
        "b/Adam:0", "b/Adam_1:0", "beta1_power:0", "beta2_power:0", "w/Adam:0", "w/Adam_1:0",
    ]  # fmt: skip
    powers = [var for var in adam.variables() if "power" in var.name]
    assert all(power.op.colocation_groups() == [b"loc:@b"] for power in powers)  # the first by name


def test_slots_are_made_once() -> None:
    x = wf.Variable([1.0])
    optimizer = wf.train.AdamOptimizer()
    optimizer.minimize(x * x)
    count = len(wf.global_variables())
    optimizer.minimize(x * x)
    assert len(wf.global_variables()) == count


def test_slots_of_a_variable_of_unknown_shape(session: wf.Session) -> None:
    fed = wf.placeholder(wf.float32)
    var = wf.Variable(fed, validate_shape=False)
    optimizer = wf.train.RMSPropOptimizer(0.1)
    update = optimizer.apply_gradients([(var.value(), var)])
    session.run(wf.global_variables_initializer(), {fed: [[1.0, 2.0]]})
    session.run(update)
    rms = optimizer.get_slot(var, "rms")
    assert rms is not None
    np.testing.assert_allclose(session.run(rms), [[1.0, 1.3]], rtol=1e-6)


def test_starting_values_of_slots(session: wf.Session) -> None:
    x = wf.Variable([1.0, 1.0])
    adagrad_, rmsprop_ = wf.train.AdagradOptimizer(0.1, initial_accumulator_value=0.5), wf.train.RMSPropOptimizer(0.1)
    adagrad_.minimize(x * x)
    rmsprop_.minimize(x * x)
    session.run(wf.global_variables_initializer())
    slots = [adagrad_.get_slot(x, "accumulator"), rmsprop_.get_slot(x, "rms"), rmsprop_.get_slot(x, "momentum")]
    assert [slot.tolist() for slot in session.run(slots)] == [[0.5, 0.5], [1, 1], [0, 0]]


def test_powers_of_adam_are_multiplied_once_a_step(session: wf.Session) -> None:
    x, y = wf.Variable(1.0), wf.Variable(1.0)
    optimizer = wf.train.AdamOptimizer(beta1=0.5, beta2=0.25)
    train = optimizer.minimize(x * y)
    session.run(wf.global_variables_initializer())
    session.run(train)
    session.run(train)
    powers = [var for var in optimizer.variables() if "power" in var.name]
    assert session.run(powers) == [0.5**3, 0.25**3]


# constraints and subclasses


def test_constraints_hold_after_the_update(session: wf.Session) -> None:
    x = wf.Variable([1.0, 1.0], constraint=lambda value: wf.clip_by_value(value, 0.0, 1.0))
    train = wf.train.GradientDescentOptimizer(1.0).apply_gradients([(wf.constant([5.0, -5.0]), x)])
    session.run(wf.global_variables_initializer())
    session.run(train)
    assert session.run(x).tolist() == [0, 1]
    with pytest.raises(RuntimeError, match="constraint function on a sparse variable"):
        wf.train.GradientDescentOptimizer(1.0).minimize(wf.gather(x, [0]))


def test_an_optimizer_of_ones_own(session: wf.Session) -> None:
    """With the methods that subclasses of TF 1 override."""

    class Sign(wf.train.Optimizer):
        def _prepare(self) -> None:
            self.rate = wf.convert_to_tensor(0.5)

        def _apply_dense(self, grad: Any, var: Any) -> Any:
            return var.assign_sub(self.rate * wf.sign(grad))

        def _apply_sparse(self, grad: Any, var: Any) -> Any:
            return wf.scatter_sub(var, grad.indices, self.rate * wf.sign(grad.values))

    x, y = wf.Variable([3.0]), wf.Variable([3.0, 3.0])
    train = Sign(False, "Sign").minimize(x * 7.0 + wf.reduce_sum(wf.gather(y, [1, 1])))
    session.run(wf.global_variables_initializer())
    session.run(train)
    assert [value.tolist() for value in session.run([x, y])] == [[2.5], [3, 2.5]]


def test_a_subclass_without_an_update() -> None:
    x = wf.Variable([1.0])
    with pytest.raises(NotImplementedError, match="dense"):
        wf.train.Optimizer(False, "Nothing").minimize(x * x)
    with pytest.raises(NotImplementedError, match="sparse"):
        wf.train.Optimizer(False, "Nothing").minimize(wf.gather(x, [0]))


# errors


def test_errors_of_compute_gradients() -> None:
    optimizer = wf.train.GradientDescentOptimizer(0.1)
    constant = wf.constant(1.0)
    with pytest.raises(ValueError, match="No variables to optimize"):
        optimizer.compute_gradients(constant)
    x, count = wf.Variable(1.0), wf.Variable(1)
    with pytest.raises(ValueError, match="gate_gradients must be one of"):
        optimizer.compute_gradients(x * x, gate_gradients=3)
    with pytest.raises(ValueError, match="Invalid type int32"):
        optimizer.compute_gradients(wf.constant(1), [x])
    with pytest.raises(ValueError, match="Invalid type int32"):
        optimizer.compute_gradients(x * x, [x], grad_loss=wf.constant(1))
    with pytest.raises(ValueError, match="Invalid type int32"):
        optimizer.minimize(count)
    with pytest.raises(NotImplementedError, match="unsupported type"):
        optimizer.compute_gradients(x * x, ["x"])
    with pytest.raises(ValueError, match=r"No gradients provided for any variable, check your graph.*loss"):
        optimizer.minimize(constant, var_list=[x])


def test_errors_of_apply_gradients() -> None:
    optimizer = wf.train.GradientDescentOptimizer(0.1)
    x = wf.Variable([1.0])
    with pytest.raises(ValueError, match="No variables provided"):
        optimizer.apply_gradients([])
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        optimizer.apply_gradients([(None, x)])
    with pytest.raises(TypeError, match="convertible to a Tensor or IndexedSlices"):
        optimizer.apply_gradients([(object(), x)])
    with pytest.raises(NotImplementedError, match="unsupported type"):
        optimizer.apply_gradients([(wf.constant([1.0]), "x")])
    with pytest.raises(ValueError, match="not compatible"):
        optimizer.apply_gradients([(wf.constant([1.0, 2.0]), x)])
    with pytest.raises(TypeError, match="float64"):
        optimizer.apply_gradients([(wf.constant([1.0], wf.float64), x)])


def test_errors_of_construction_and_eager() -> None:
    with pytest.raises(ValueError, match="optimizer name"):
        wf.train.GradientDescentOptimizer(0.1, name="")
    with pytest.raises(ValueError, match="must be positive"):
        wf.train.AdagradOptimizer(0.1, initial_accumulator_value=0.0)
    context.set_eager(True)
    with pytest.raises(RuntimeError, match="eager"):
        wf.train.GradientDescentOptimizer(0.1).minimize(None)


def test_rows_that_repeat_must_be_summed_before(session: wf.Session) -> None:
    """The operations themselves refuse what the optimizer never gives them."""

    class Unsummed(wf.train.MomentumOptimizer):
        def _resource_apply_sparse_duplicate_indices(self, grad: Any, handle: Any, indices: Any) -> Any:
            return self._resource_apply_sparse(grad, handle, indices)

    x = wf.Variable(np.ones((3, 1), np.float32))
    train = Unsummed(0.1, 0.9).minimize(wf.gather(x, [1, 1]))
    session.run(wf.global_variables_initializer())
    with pytest.raises(wf.errors.InvalidArgumentError, match="distinct"):
        session.run(train)


# the global step


def test_global_step() -> None:
    assert wf.train.get_global_step() is None
    step = wf.train.get_or_create_global_step()
    assert (step.name, step.dtype, step.trainable) == ("global_step:0", wf.int64, False)
    assert wf.train.get_or_create_global_step() is wf.train.get_global_step() is step
    with pytest.raises(ValueError, match="already exists"):
        wf.train.create_global_step()
    with wf.Graph().as_default():
        assert wf.train.get_global_step() is None
        named = wf.Variable(0, name="global_step")
        assert wf.train.get_global_step() is named
    with wf.Graph().as_default():
        wf.Variable(0.0, name="global_step")
        with pytest.raises(TypeError, match="integer type"):
            wf.train.get_global_step()
    with wf.Graph().as_default(), pytest.raises(TypeError, match="not scalar"):
        wf.train.assert_global_step(wf.Variable([0]))
    wf.add_to_collection(wf.GraphKeys.GLOBAL_STEP, step)
    with pytest.raises(RuntimeError, match="Multiple items"):
        wf.train.get_global_step()
