"""Graphs, operations and tensors: names, lookups, defaults, what tensors answer, building from several threads."""

import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import given, strategies as st
from weft.graph import ir


def const(name: str = "c", value: Any = 1.0) -> wf.Tensor:
    return wf.constant(value, name=name)


def graph() -> wf.Graph:
    return wf.get_default_graph()


# names


def test_equal_names_are_numbered_without_regard_to_case() -> None:
    names = [const(name).name for name in ("a", "A", "a", "a_1", "A_1", "b")]
    assert names == ["a:0", "A_1:0", "a_2:0", "a_1_1:0", "A_1_2:0", "b:0"]


def test_unique_name_may_look_without_taking() -> None:
    taken = [graph().unique_name("x"), graph().unique_name("x"), graph().unique_name("x", mark_as_used=False)]
    assert [*taken, graph().unique_name("x"), graph().unique_name("X")] == ["x", "x_1", "x_2", "x_2", "X_3"]


@given(
    st.lists(st.sampled_from(["a", "A", "a_1", "a_2", "a_2_1", "a_01", "a_0", "a_", "a_1_1", "b_3", "b"]), max_size=20)
)
def test_numbered_names_are_the_first_that_nobody_has(names: list[str]) -> None:
    """As with an entry for each name that was ever given: its number is the first to try."""
    tries: dict[str, int] = {}
    with ir.Graph().as_default() as here:
        for name in names:
            wanted, number = name, tries.get(name.lower(), 0)
            if name.lower() in tries:
                while (wanted := f"{name}_{number}").lower() in tries:
                    number += 1
            tries[name.lower()] = number + 1
            tries.setdefault(wanted.lower(), 1)
            assert here.unique_name(name) == wanted


def test_a_name_with_a_slash_at_the_end_is_taken_as_it_is() -> None:
    with wf.name_scope("scope"):
        assert const("top/").op.name == "top"
        assert const("top/").op.name == "top_1"
    assert const("top").op.name == "top_2"
    assert len({operation.name for operation in graph().get_operations()}) == 3


def test_operations_without_a_name_have_their_types() -> None:
    x = wf.placeholder(wf.float32)
    names = [(y.op.name, y.op.type) for y in (x + 1.0, x + x, -x, x * x)]
    assert names == [("add", "AddV2"), ("add_1", "AddV2"), ("Neg", "Neg"), ("mul", "Mul")]
    assert [i.name for i in graph().get_operation_by_name("add").inputs] == ["Placeholder:0", "add/y:0"]


@pytest.mark.parametrize("name", [" a", "a b", "-x", "_x", "a:0", "\\a", "é", "a\n"])
def test_malformed_names(name: str) -> None:
    with pytest.raises(ValueError, match="not a valid node name"):
        const(name)
    assert graph().version == 0


@pytest.mark.parametrize("name", ["0a", ".a", "a>b", "a\\b", "a-b", "A.b/c_d"])
def test_odd_names_that_are_fine(name: str) -> None:
    assert const(name).name == f"{name}:0"


def test_what_a_large_graph_holds_an_operation() -> None:
    """Memory is time, too: what does not fit into the processor's caches has to be fetched, and pages to be cleared."""
    with ir.Graph().as_default() as here:
        x = w = wf.placeholder(wf.float32, [8, 8])
        tracemalloc.start()
        try:
            for _ in range(1000):
                x = wf.matmul(wf.tanh(x * w + w), w)
            built, _ = tracemalloc.get_traced_memory()
            wf.gradients(x, w)
            both, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (built / 4000 < 500, (both - built) / 4000 < 950) == (True, True)
    assert not here._by_name  # nobody has asked for one by its name
    assert not any(hasattr(held, "__dict__") for held in (x, x.op))


def test_outputs_are_numbered() -> None:
    parts = wf.split(wf.zeros([4]), 2, name="parts")
    assert [part.name for part in parts] == ["parts:0", "parts:1"]
    assert [part.value_index for part in parts] == [0, 1]


# looking up


def test_elements_by_name_and_by_themselves() -> None:
    a = const("a")
    assert graph().get_operation_by_name("a") is a.op
    assert graph().get_tensor_by_name("a:0") is a
    for stands_for_operation in ("a", b"a", a.op):
        assert graph().as_graph_element(stands_for_operation) is a.op
    for stands_for_tensor in ("a:0", a):
        assert graph().as_graph_element(stands_for_tensor) is a


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a:0", ValueError, "appears to refer to a Tensor"),
        ("a:x", ValueError, "appears to refer to a Tensor"),
        ("nope", KeyError, "refers to an Operation not in the graph"),
        ("^a", KeyError, "refers to an Operation not in the graph"),
        ("", KeyError, "refers to an Operation not in the graph"),
        (3, TypeError, "Operation names are strings"),
        (None, TypeError, "Operation names are strings"),
        (b"a", TypeError, "Operation names are strings"),
    ],
)
def test_operations_that_are_not_there(name: Any, error: type[Exception], message: str) -> None:
    const("a")
    with pytest.raises(error, match=message):
        graph().get_operation_by_name(name)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a", ValueError, "refers to an Operation, not a Tensor"),
        ("nope", ValueError, r"looks like .*\(invalid\)"),
        ("a:1", KeyError, "refers to a Tensor which does not exist.*only has 1 outputs"),
        ("nope:0", KeyError, "refers to a Tensor which does not exist.*does not exist in the graph"),
        ("a:x", ValueError, "looks like a Tensor name"),
        ("a:", ValueError, "looks like a Tensor name"),
        ("a:-1", ValueError, "looks like a Tensor name"),
        ("a:0:0", ValueError, "looks like a Tensor name"),
        ("a:²", ValueError, "looks like a Tensor name"),
        (3, TypeError, "Tensor names are strings"),
    ],
)
def test_tensors_that_are_not_there(name: Any, error: type[Exception], message: str) -> None:
    const("a")
    with pytest.raises(error, match=message):
        graph().get_tensor_by_name(name)


def test_elements_of_a_kind_that_is_not_asked_for() -> None:
    a = const("a")
    with pytest.raises(TypeError, match="Can not convert a Tensor into a Operation"):
        graph().as_graph_element(a, allow_tensor=False)
    with pytest.raises(TypeError, match="Can not convert a Operation into a Tensor"):
        graph().as_graph_element(a.op, allow_operation=False)
    with pytest.raises(ValueError, match="can't both be False"):
        graph().as_graph_element("a", allow_tensor=False, allow_operation=False)
    with pytest.raises(TypeError, match="Can not convert a object into a Tensor or Operation"):
        graph().as_graph_element(object())


def test_a_variable_stands_for_its_value() -> None:
    v = wf.Variable(1.0, name="v")
    element = graph().as_graph_element(v)
    assert isinstance(element, wf.Tensor)
    assert element.dtype == wf.float32
    assert element.op.inputs[0] is v.handle


def test_elements_of_another_graph() -> None:
    a = const("a")
    for element in (a, a.op):
        with pytest.raises(ValueError, match="is not an element of this graph"):
            wf.Graph().as_graph_element(element)


# the graph itself


def test_operations_come_in_the_order_they_were_made() -> None:
    a, b = const("a"), const("b")
    c = a + b
    assert graph().get_operations() == [a.op, b.op, c.op]
    assert [operation.id for operation in graph().get_operations()] == [0, 1, 2]
    assert graph().version == 3
    graph().get_operations().clear()
    assert graph().version == 3


def test_a_finalized_graph_cannot_be_modified() -> None:
    a = const()
    assert not graph().finalized
    graph().finalize()
    assert graph().finalized
    for build in (lambda: a + 1.0, lambda: wf.no_op(), lambda: wf.Variable(1.0), lambda: wf.gradients(a, [a])):
        with pytest.raises(RuntimeError, match="Graph is finalized and cannot be modified"):
            build()
    assert graph().get_operations() == [a.op]
    assert wf.Session().run(a) == 1.0


def test_tensors_of_two_graphs_do_not_meet() -> None:
    a = const("a")
    with wf.Graph().as_default():
        b = const("b")
    for build in (
        lambda: a + b,
        lambda: b + a,
        lambda: wf.add_n([a, b]),
        lambda: wf.matmul(a, b),
        lambda: wf.stack([a, b]),
    ):
        with pytest.raises(ValueError, match="must be from the same graph"):
            build()


def test_the_inputs_graph_goes_before_the_default_graph() -> None:
    a = const("a")
    with wf.Graph().as_default() as other:
        b = wf.negative(a)
        assert b.graph is a.graph
        assert other.version == 0


def test_errors_of_shape_inference_say_which_operation() -> None:
    a, b = wf.zeros([2]), wf.placeholder(wf.float32, [3, None])
    with pytest.raises(ValueError, match=r"for 'mine' \(op: 'MatMul'\) with input shapes: \[2\], \[3,\?\]"):
        wf.matmul(a, b, name="mine")


def test_an_operation_that_could_not_be_made_leaves_nothing_behind() -> None:
    a, b = wf.zeros([2]), wf.zeros([3])
    before = graph().get_operations()
    with pytest.raises(ValueError, match="with input shapes"):
        _ = a + b
    assert graph().get_operations() == before
    assert a.consumers() == b.consumers() == []


# default graphs


def test_default_graphs_form_a_stack() -> None:
    bottom, first, second = graph(), wf.Graph(), wf.Graph()
    with first.as_default() as entered:
        assert entered is first
        with second.as_default(), first.as_default():
            assert graph() is first
        assert graph() is first
    assert graph() is bottom


def test_default_graphs_leave_in_order() -> None:
    outer, inner = wf.Graph().as_default(), wf.Graph().as_default()
    outer.__enter__()
    inner.__enter__()
    try:
        with pytest.raises(AssertionError, match="Nesting violated"):
            outer.__exit__(None, None, None)
    finally:
        inner.__exit__(None, None, None)
        outer.__exit__(None, None, None)


def test_reset_default_graph() -> None:
    before = graph()
    wf.reset_default_graph()
    assert graph() is not before
    with wf.Graph().as_default(), pytest.raises(AssertionError, match="nested graphs"):
        wf.reset_default_graph()


def in_thread(function: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_each_thread_has_its_own_default_graph_and_scopes() -> None:
    mine = wf.Graph()
    with mine.as_default(), wf.name_scope("scope"), wf.device("/cpu:1"), wf.control_dependencies([const()]):
        theirs = in_thread(graph)
        assert theirs is not mine

        def build_in_mine() -> wf.Operation:
            with mine.as_default():
                return const("free").op

        made = in_thread(build_in_mine)
    assert (made.graph, made.name, made.device, made.control_inputs) == (mine, "free", "", ())


def test_threads_build_in_one_graph_at_once() -> None:
    shared, count, threads = graph(), 200, 6
    start = threading.Barrier(threads)

    def build() -> None:
        start.wait()
        with shared.as_default():
            for _ in range(count):
                with wf.name_scope("scope"):
                    const("x") + 1.0

    workers = [threading.Thread(target=build) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    operations = shared.get_operations()
    assert len(operations) == 3 * count * threads
    assert len({operation.name for operation in operations}) == len(operations)
    assert [operation.id for operation in operations] == list(range(len(operations)))
    assert all(tensor.op.id < operation.id for operation in operations for tensor in operation.inputs)


# tensors


def test_consumers_are_listed_once_each() -> None:
    x = wf.placeholder(wf.float32)
    square, negative = x * x, -x
    assert x.consumers() == [square.op, negative.op]
    assert square.consumers() == []


def test_what_set_shape_adds_is_known_from_then_on() -> None:
    x = wf.placeholder(wf.float32, [None, 3])
    x.set_shape([2, None])
    assert x.shape.as_list() == [2, 3]
    assert wf.negative(x).get_shape().as_list() == [2, 3]
    for other in ([None, 4], [2], [2, 3, 1]):
        with pytest.raises(ValueError, match="not compatible"):
            x.set_shape(other)
    unknown = wf.placeholder(wf.float32)
    unknown.set_shape(None)
    assert unknown.shape.ndims is None


def test_how_they_print() -> None:
    with wf.device("/cpu:0"):
        x = wf.placeholder(wf.float32, [None, 3], name="x")
    assert repr(x) == "<wf.Tensor 'x:0' shape=(?, 3) dtype=float32>"
    assert str(x) == 'Tensor("x:0", shape=(?, 3), dtype=float32, device=/device:CPU:0)'
    assert repr(x.op) == "<wf.Operation 'x' type=Placeholder>"


def test_attributes() -> None:
    x = wf.placeholder(wf.float32, [2], name="x")
    assert x.op.get_attr("dtype") is wf.float32
    assert x.op.node_def.name == "x"
    for name in ("nope", "_class"):
        with pytest.raises(ValueError, match=f"Operation 'x' has no attr named '{name}'"):
            x.op.get_attr(name)


def test_equality_is_identity() -> None:
    a, b = const(), const()
    assert (a == a, a == b, a != b) == (True, False, True)
    assert a not in (1.0, b)
    assert a in [b, a]
    assert b not in {a}
    assert hash(a) == hash(a)


@pytest.mark.parametrize(
    "ask",
    [bool, len, list, float, int, lambda x: [0][x], lambda x: x if x else 0, lambda x: x in range(0, 1, x)],
    ids=["bool", "len", "list", "float", "int", "index", "if", "range"],
)
def test_what_only_a_value_could_answer(ask: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        ask(wf.placeholder(wf.float32, [2]))


def test_a_symbolic_tensor_is_no_array() -> None:
    x = const("x")
    for ask in (np.array, np.sin, lambda x: np.add(x, 1.0)):
        with pytest.raises(NotImplementedError, match=r"Cannot convert a symbolic Tensor \(x:0\) to a numpy array"):
            ask(x)


def test_values_need_a_session() -> None:
    x, nothing = const(), wf.no_op()
    with pytest.raises(ValueError, match="No default session is registered"):
        x.eval()
    with pytest.raises(ValueError, match="No default session is registered"):
        nothing.run()
    with wf.Session():
        assert x.eval() == 1.0
        assert nothing.run() is None  # type: ignore[func-returns-value]
    session = wf.Session()
    assert (x + 1.0).eval(session=session, feed_dict={x: 2.0}) == 3.0


A = np.array([[5.0, -3.0], [2.0, 4.0]], np.float32)
B = np.array([[2.0, 3.0], [-1.0, 0.5]], np.float32)
BINARY: list[Callable[[Any, Any], Any]] = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: x / y,
    lambda x, y: x // y,
    lambda x, y: x % y,
    lambda x, y: abs(x) ** y,
    lambda x, y: x @ y,
    lambda x, y: x < y,
    lambda x, y: x <= y,
    lambda x, y: x > y,
    lambda x, y: x >= y,
]


@pytest.mark.parametrize("compute", BINARY)
def test_operators_on_tensors_arrays_and_lists(compute: Callable[[Any, Any], Any]) -> None:
    expected = compute(A, B)
    session, a, b = wf.Session(), wf.constant(A), wf.constant(B)
    forms = [compute(a, b), compute(a, B), compute(A, b), compute(a, B.tolist())]
    if compute is not BINARY[6]:  # abs(list)
        forms.append(compute(A.tolist(), b))
    for made in forms:
        assert isinstance(made, wf.Tensor)
        value = session.run(made)
        assert value.dtype == expected.dtype
        np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("compute", [lambda x, y: x & y, lambda x, y: x | y, lambda x, y: x ^ y])
def test_operators_on_truth_values(compute: Callable[[Any, Any], Any]) -> None:
    x, y = np.array([True, True, False, False]), np.array([True, False, True, False])
    for made in (compute(wf.constant(x), wf.constant(y)), compute(wf.constant(x), y), compute(x, wf.constant(y))):
        np.testing.assert_array_equal(wf.Session().run(made), compute(x, y))


def test_operators_with_one_operand() -> None:
    session = wf.Session()
    np.testing.assert_array_equal(session.run(-wf.constant(A)), -A)
    np.testing.assert_array_equal(session.run(abs(wf.constant(A))), abs(A))
    np.testing.assert_array_equal(session.run(~wf.constant([True, False])), [False, True])


def test_python_numbers_take_the_tensors_type_and_nothing_else_does() -> None:
    x = wf.constant(1, wf.int64)
    assert (x + 1).dtype == wf.int64
    assert (1 + x).dtype == wf.int64
    assert (wf.constant(1.0, wf.float64) * 2).dtype == wf.float64
    with pytest.raises(TypeError, match=r"Expected int64, got 1\.5"):
        _ = x + 1.5
    with pytest.raises(TypeError, match=r"int32.*does not match type int64"):
        _ = x + wf.constant(1, wf.int32)
