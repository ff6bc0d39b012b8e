"""Variables: names, reads and writes in their order, shapes and types, initialization, colocation, collections."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph import context
from weft.graph.ir import get_default_graph
from weft.graph.ops.variable_rows import combine_rows
from weft.graph.variable import Variable


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


def started(session: wf.Session) -> wf.Session:
    session.run(wf.global_variables_initializer())
    return session


# what it is


def test_names_of_a_variable_and_of_what_belongs_to_it() -> None:
    v = wf.Variable([1.0, 2.0], name="v")
    assert (v.name, v.op.name, v.op.type) == ("v:0", "v", "VarHandleOp")
    assert v.initializer.name == "v/Assign"
    assert v.initial_value.name == "v/initial_value:0"
    assert [op.name for op in get_default_graph().get_operations()] == [
        "v/initial_value", "v", "v/Assign", "v/Read/ReadVariableOp",
    ]  # fmt: skip
    assert wf.Variable(0.0, name="v").name == "v_1:0"
    assert wf.Variable(0.0).name == "Variable:0"
    with get_default_graph().name_scope("scope"):
        assert wf.Variable(lambda: wf.zeros([2]), name="w").name == "scope/w:0"
    assert (
        get_default_graph().get_tensor_by_name("scope/w/Initializer/zeros:0") is wf.global_variables()[-1].initial_value
    )


def test_type_and_shape_come_from_the_initial_value() -> None:
    assert wf.Variable([[1, 2]]).dtype is wf.int32
    v = wf.Variable(np.ones((2, 3)), dtype=wf.float32)
    assert (v.dtype, v.shape.as_list(), v.get_shape().as_list()) == (wf.float32, [2, 3], [2, 3])
    assert wf.Variable(lambda: 3.0).shape.as_list() == []
    with pytest.raises(ValueError, match="conversion requested dtype"):
        wf.Variable(wf.constant(1.0), dtype=wf.int32)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="initial_value must be specified"):
        wf.Variable()
    with pytest.raises(ValueError, match="collections argument"):
        wf.Variable(1.0, collections="mine")
    with pytest.raises(ValueError, match="callable"):
        wf.Variable(1.0, constraint=3)
    with pytest.raises(ValueError, match="must have a shape specified"):
        wf.Variable(wf.placeholder(wf.float32))
    with pytest.raises(ValueError, match="mutually exclusive"):
        wf.Variable(1.0, variable_def={})
    with pytest.raises(NotImplementedError, match="eager"):
        wf.Variable(1.0).numpy()
    with pytest.raises(NotImplementedError, match="session"):
        np.asarray(wf.Variable(1.0))


def test_collections() -> None:
    a, b = wf.Variable(0.0, name="a"), wf.Variable(0.0, trainable=False, name="b")
    local = wf.Variable(0.0, collections=[wf.GraphKeys.LOCAL_VARIABLES], trainable=False)
    assert wf.global_variables() == [a, b]
    assert wf.trainable_variables() == [a]
    assert wf.local_variables() == [local]
    assert wf.global_variables(scope="b") == [b]
    assert (a.trainable, b.trainable) == (True, False)


def test_a_description_makes_the_variable_again(session: wf.Session) -> None:
    v = wf.Variable([1.0], name="v", trainable=False)
    again = Variable.from_proto(v.to_proto())
    assert (again.name, again.dtype, again.shape, again.trainable) == (v.name, v.dtype, v.shape, False)
    started(session).run(again.assign_add([2.0]))
    assert session.run(v) == [3.0]


# reads and writes


def test_uninitialized_variables_say_which(session: wf.Session) -> None:
    a, b = wf.Variable([1.0], name="a"), wf.Variable([1.0], name="b")
    session.run(a.initializer)
    with pytest.raises(wf.errors.FailedPreconditionError, match="uninitialized value b"):
        session.run(b + 1.0)
    with pytest.raises(wf.errors.FailedPreconditionError, match="uninitialized value b"):
        session.run(b.assign_add([1.0]))
    assert session.run([wf.is_variable_initialized(a), wf.is_variable_initialized(b)]) == [True, False]
    assert list(session.run(wf.report_uninitialized_variables())) == [b"b"]
    assert list(session.run(wf.report_uninitialized_variables([a]))) == []
    assert session.run(wf.report_uninitialized_variables([])).shape == (0,)


def test_assignments_return_the_new_value(session: wf.Session) -> None:
    v = wf.Variable([1.0, 2.0])
    started(session)
    assert session.run(v.assign([3.0, 4.0])).tolist() == [3, 4]
    assert session.run(wf.assign_add(v, [1.0, 1.0])).tolist() == [4, 5]
    assert session.run(wf.assign_sub(v, [0.0, 2.0])).tolist() == [4, 3]
    assert session.run(wf.assign(v, [0.0, 0.0], name="reset")).tolist() == [0, 0]
    assert session.run("reset:0").tolist() == [0, 0]
    assert session.run(v.assign([7.0, 7.0], read_value=False)) is None
    assert v.eval(session).tolist() == [7, 7]


def test_reads_happen_where_the_program_says(session: wf.Session) -> None:
    v = wf.Variable(1.0)
    early = v.value()
    with wf.control_dependencies([early]):
        write = v.assign(5.0)
    with wf.control_dependencies([write]):
        late = v + 0.0
    started(session)
    assert session.run([early, late, write]) == [1.0, 5.0, 5.0]


def test_constants_made_under_a_dependency_carry_it(session: wf.Session) -> None:
    """Their users are ordered through them, also when they are folded together."""
    v = wf.Variable(1.0)
    with wf.control_dependencies([v.assign(5.0)]):
        folded = wf.constant(2.0) * 3.0
    with wf.control_dependencies([folded]):
        read = v.value()
    started(session)
    assert session.run(read) == 5.0


def test_a_fetched_value_does_not_change_later(session: wf.Session) -> None:
    v = wf.Variable([1.0, 2.0])
    started(session)
    before = session.run(v)
    session.run(v.assign_add([10.0, 10.0]))
    assert before.tolist() == [1, 2]


def test_a_variable_may_be_updated_by_a_view_of_itself(session: wf.Session) -> None:
    value = np.arange(9, dtype=np.float32).reshape(3, 3)
    v = wf.Variable(value)
    started(session)
    session.run(v.assign_add(wf.transpose(v)))
    np.testing.assert_array_equal(session.run(v), value + value.T)
    session.run(v.assign(wf.transpose(v) * 1.0 + wf.transpose(v)))
    np.testing.assert_array_equal(session.run(v), 2 * (value + value.T))


def test_shapes_and_types_are_checked_when_building() -> None:
    v = wf.Variable([1.0, 2.0])
    with pytest.raises(ValueError, match="not compatible"):
        v.assign([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="not compatible"):
        v.assign_add(1.0)
    with pytest.raises(ValueError, match="requested dtype float32"):
        v.assign(wf.constant([1, 2]))
    with pytest.raises(TypeError, match="float32"):
        v.assign_sub(["a", "b"])
    with pytest.raises(TypeError, match="not IndexedSlices"):
        v.scatter_add([1.0])
    with pytest.raises(TypeError, match="indices"):
        wf.scatter_add(v, [0.0], [1.0])
    with pytest.raises(ValueError, match="not compatible"):
        wf.scatter_add(v, [0, 1], [1.0, 2.0, 3.0])


def test_shapes_are_checked_when_running(session: wf.Session) -> None:
    v, fed = wf.Variable([1.0, 2.0], name="v"), wf.placeholder(wf.float32)
    writes = [v.assign(fed), v.assign_add(fed)]
    started(session)
    for write in writes:
        with pytest.raises(wf.errors.InvalidArgumentError, match=r"variable v of shape \[2\]"):
            session.run(write, {fed: np.ones(3, np.float32)})
    assert session.run(writes[0], {fed: [5.0, 6.0]}).tolist() == [5, 6]


def test_without_shape_validation_the_shape_may_change(session: wf.Session) -> None:
    fed = wf.placeholder(wf.float32)
    v = wf.Variable(fed, validate_shape=False)
    assert v.shape.ndims is None
    session.run(v.initializer, {fed: [1.0]})
    assert session.run(v.assign([[1.0, 2.0]])).shape == (1, 2)
    with pytest.raises(wf.errors.InvalidArgumentError, match="shapes must be equal"):
        session.run(v.assign_add([1.0]))


def test_operators_and_conversions(session: wf.Session) -> None:
    v = wf.Variable([3.0, 4.0])
    started(session)
    results = session.run([v + 1, 2 * v, -v, v[1], v / 2, 1 - v])
    assert [result.tolist() for result in results] == [[4, 5], [6, 8], [-3, -4], 4, [1.5, 2], [-2, -3]]
    assert session.run(wf.reduce_sum(v * v)) == 25.0
    with pytest.raises(TypeError, match="bool"):
        bool(v)
    assert (v == wf.Variable([3.0, 4.0])) is False


def test_load_and_initialized_value(session: wf.Session) -> None:
    a = wf.Variable([1.0, 2.0])
    b = wf.Variable(a.initialized_value() * 2.0)
    started(session)
    assert session.run(b).tolist() == [2, 4]
    a.load([5.0, 6.0], session)
    session.run(b.initializer)
    assert session.run([a, b])[1].tolist() == [10, 12]


def test_load_needs_a_session() -> None:
    with pytest.raises(ValueError, match="default session"):
        wf.Variable(1.0).load(2.0)


# rows


def test_scatters(session: wf.Session) -> None:
    v = wf.Variable(np.zeros((3, 2), np.float32))
    started(session)
    two = wf.IndexedSlices(wf.constant([[1.0, 2.0], [3.0, 4.0]]), wf.constant([2, 2]))
    assert session.run(v.scatter_add(two)).tolist() == [[0, 0], [0, 0], [4, 6]]
    assert session.run(v.scatter_sub(two)).tolist() == [[0, 0], [0, 0], [0, 0]]
    assert session.run(v.scatter_update(two))[2].tolist() == [3, 4]
    assert session.run(wf.scatter_update(v, 0, [7.0, 8.0]))[0].tolist() == [7, 8]
    assert session.run(wf.scatter_add(v, [0, 0], 1.0))[0].tolist() == [9, 10]
    with pytest.raises(wf.errors.InvalidArgumentError, match=r"3 is not in \[0, 3\)"):
        session.run(wf.scatter_add(v, [3], [[0.0, 0.0]]))


@pytest.mark.parametrize("repeats", [1, 3, 40])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_repeated_rows_take_effect_one_by_one_in_order(repeats: int, dtype: str) -> None:
    """Whether they go in rounds or, where one repeats often, one by one: the same bits."""
    random = np.random.default_rng(repeats)
    target = random.normal(size=(50, 3)).astype(dtype)
    indices = np.concatenate([np.arange(50), *[[7, 11]] * (repeats - 1)]).astype(np.int64)
    random.shuffle(indices)
    updates = random.normal(size=(len(indices), 3)).astype(dtype)
    expected = target.copy()
    for index, update in zip(indices, updates, strict=True):
        expected[index] += update
    combine_rows(np.add, target, indices, updates)
    np.testing.assert_array_equal(target, expected)


def test_rows_updated_by_a_view_of_the_variable() -> None:
    target = np.arange(8.0).reshape(4, 2)
    combine_rows(np.add, target, np.array([0, 0, 1, 2]), target)
    assert target.tolist() == [[2, 5], [6, 8], [10, 12], [6, 7]]


def test_the_gradient_of_a_gather_holds_rows_and_that_of_a_read_is_whole(session: wf.Session) -> None:
    v = wf.Variable(np.arange(6.0, dtype=np.float32).reshape(3, 2))
    ids = wf.placeholder(wf.int64, [None, None])
    rows = wf.gather(v, ids)
    assert (rows.op.type, rows.op.name) == ("ResourceGather", "Gather")
    (sparse,) = wf.gradients(rows * rows, v)
    (dense,) = wf.gradients(wf.reduce_sum(v * v * v), v)
    (second,) = wf.gradients(dense, v)
    started(session)
    values, indices, shape = session.run([sparse.values, sparse.indices, sparse.dense_shape], {ids: [[2, 0], [2, 2]]})
    assert (values.tolist(), indices.tolist()) == ([[8, 10], [0, 2], [8, 10], [8, 10]], [2, 0, 2, 2])
    assert shape.tolist() == [3, 2]
    np.testing.assert_array_equal(session.run(second), 6 * np.arange(6.0).reshape(3, 2))
    with pytest.raises(wf.errors.InvalidArgumentError, match=r"-1 is not in \[0, 3\)"):
        session.run(rows, {ids: [[-1]]})


def test_the_gradient_of_rows_of_a_variable_of_unknown_shape(session: wf.Session) -> None:
    v = wf.Variable(np.ones((3, 2), np.float32), validate_shape=False)
    (sparse,) = wf.gradients(v.sparse_read([[0, 2]]) * 2.0, v)
    session.run(v.initializer)
    values, shape = session.run([sparse.values, sparse.dense_shape])
    assert (values.tolist(), shape.tolist()) == ([[2, 2], [2, 2]], [3, 2])


# devices


def test_what_belongs_to_a_variable_is_on_its_device() -> None:
    graph = get_default_graph()
    with graph.device("/job:ps/task:1"):
        v = wf.Variable(lambda: wf.zeros([2]), name="v")
    with graph.device("/job:worker"):
        read, assign, rows = v + 1.0, v.assign([1.0, 1.0]), v.sparse_read([0])
        with graph.colocate_with(assign.op):
            inside = v.value()
    assert v.device == v.initializer.device == "/job:ps/task:1"
    assert v.initial_value.op.colocation_groups() == v.initializer.colocation_groups() == [b"loc:@v"]
    assert read.device == "/job:worker"
    assert read.op.inputs[0].device == rows.device == inside.device == "/job:ps/task:1"
    assert assign.op.colocation_groups() == [b"loc:@v"]
    assert assign.op.control_inputs[0].device == "/job:ps/task:1"


def test_a_caching_device_holds_one_copy() -> None:
    v = wf.Variable([1.0], caching_device="/job:worker")
    assert v.value() is v.value()
    assert v.value().device == "/job:worker"
    assert v.read_value() is not v.value()


def test_the_initial_value_is_free_of_control_dependencies() -> None:
    gate = wf.no_op()
    with wf.control_dependencies([gate]):
        v = wf.Variable(lambda: wf.ones([2]) * 2.0)
        used = v.value()
    assert used.op.control_inputs == (gate,)
    names = [v.initializer, v.op, v.initial_value.op]
    assert all(op.control_inputs == () for op in names)


# eager


def test_eager_variables() -> None:
    context.set_eager(True)
    v = wf.Variable([1.0, 2.0], name="v")
    result: Any = v * 2.0
    assert result.numpy().tolist() == [2, 4]
    assert v.assign_add([1.0, 1.0]).numpy().tolist() == [2, 3]
    v.assign([5.0, 6.0])
    assert np.asarray(v).tolist() == [5, 6]
    assert v.sparse_read([1]).numpy().tolist() == [6]  # type: ignore[attr-defined]
    assert bool(v.is_initialized())
    assert wf.Variable(0.0).numpy() == 0.0
    assert "numpy=array([5., 6.]" in repr(v)
