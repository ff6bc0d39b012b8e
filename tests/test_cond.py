"""Tests of cond, case and switch_case: values, gradients of any order, effects, and every error."""

import json
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.wire import decode_graph, encode_graph


def pred(value: bool = True) -> Any:
    return wf.placeholder_with_default(np.array(value), ())


def run(fetches: Any, feeds: Any = None) -> Any:
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return session.run(fetches, feeds)


@pytest.mark.parametrize(("chosen", "expected"), [(True, 6.0), (False, 5.0)])
def test_the_predicate_chooses(chosen: bool, expected: float) -> None:
    x = wf.constant(3.0)
    y = wf.cond(pred(chosen), lambda: x * 2.0, lambda: x + 2.0)
    assert run(y) == expected
    assert y.name == "cond:0"


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (lambda x: [x], 1.0),
        (lambda x: (x,), 1.0),
        (lambda x: (x, [x + 1.0]), (1.0, [2.0])),
        (lambda x: {"b": x, "a": x + 1.0}, {"b": 1.0, "a": 2.0}),
        (lambda x: 1.0, 1.0),
    ],
)
def test_results_keep_their_structure_but_for_a_single_one(structure: Any, expected: Any) -> None:
    x = wf.constant(1.0)
    assert run(wf.cond(pred(), lambda: structure(x), lambda: structure(x * 5.0))) == expected


def test_strict_keeps_a_single_result_in_its_list() -> None:
    assert run(wf.cond(pred(), lambda: [wf.constant(1.0)], lambda: [wf.constant(2.0)], strict=True)) == [1.0]


def test_old_names_of_the_functions() -> None:
    assert run(wf.cond(pred(), fn1=lambda: 2.0, fn2=lambda: 1.0)) == 2.0


def test_what_is_known_of_the_shape_is_what_both_branches_have() -> None:
    y = wf.cond(pred(), lambda: wf.zeros([1, 3]), lambda: wf.zeros([2, 3]))
    assert y.shape.as_list() == [None, 3]
    assert run(y).shape == (1, 3)


def test_indexed_slices_and_operations_are_results_too() -> None:
    v = wf.Variable(1.0)
    done = wf.cond(pred(), lambda: v.assign(5.0, read_value=False), lambda: wf.no_op())
    assert done.dtype is wf.bool
    with wf.Session() as session:
        session.run(v.initializer)
        assert session.run(done)
        assert session.run(v) == 5.0

    def slices(scale: float) -> Any:
        return wf.IndexedSlices(wf.constant([[scale]]), wf.constant([1]), wf.constant([3, 1]))

    chosen = wf.cond(pred(), lambda: slices(1.0), lambda: slices(2.0))
    assert isinstance(chosen, wf.IndexedSlices)
    assert run(wf.convert_to_tensor(chosen)).tolist() == [[0.0], [1.0], [0.0]]


# gradients


def test_gradients_of_three_orders_on_both_sides() -> None:
    x, p = wf.placeholder(wf.float64, ()), wf.placeholder(wf.bool, ())
    ys = [wf.cond(p, lambda: wf.exp(x) * x, lambda: wf.sin(x) * 2.0)]
    for _ in range(3):
        ys += wf.gradients(ys[-1], x)
    e = np.exp(1.5)
    np.testing.assert_allclose(run(ys, {x: 1.5, p: True}), [1.5 * e, 2.5 * e, 3.5 * e, 4.5 * e])
    np.testing.assert_allclose(
        run(ys, {x: 1.5, p: False}), [2 * np.sin(1.5), 2 * np.cos(1.5), -2 * np.sin(1.5), -2 * np.cos(1.5)]
    )


def test_by_what_only_the_other_branch_uses_the_gradient_is_zero() -> None:
    x, w = wf.constant(1.0), wf.constant(2.0)
    assert run(wf.gradients(wf.cond(pred(), lambda: x * 1.0, lambda: w * 3.0), [x, w])) == [1.0, 0.0]
    assert run(wf.gradients(wf.cond(pred(False), lambda: x * 1.0, lambda: w * 3.0), [x, w])) == [0.0, 3.0]


def test_by_what_the_output_does_not_depend_on_there_is_none() -> None:
    x, w = wf.constant(1.0), wf.constant(2.0)
    first, _ = wf.cond(pred(), lambda: (x, w), lambda: (x * 2.0, w * 3.0))
    assert run(wf.gradients(first, x)) == [1.0]
    assert wf.gradients(first, w) == [None]
    constant = wf.cond(pred(), lambda: wf.stop_gradient(x), lambda: wf.constant(1.0))
    assert wf.gradients(constant, x) == [None]
    whole = wf.cond(pred(), lambda: wf.cast(x, wf.int32), lambda: 1)
    assert wf.gradients(whole, x) == [None]


def test_by_variables_dense_and_by_rows() -> None:
    table, v = wf.Variable(np.arange(6.0).reshape(3, 2)), wf.Variable(2.0, dtype=wf.float64)
    p = wf.placeholder(wf.bool, ())
    y = wf.cond(p, lambda: wf.reduce_sum(wf.gather(table, [0, 2, 2])) * v, lambda: v * v)
    grads = [wf.convert_to_tensor(grad) for grad in wf.gradients(y, [table, v])]
    rows, by_v = run(grads, {p: True})
    assert rows.tolist() == [[2.0, 2.0], [0.0, 0.0], [4.0, 4.0]]
    assert by_v == 1.0 + 2 * 9.0
    rows, by_v = run(grads, {p: False})
    assert not rows.any()
    assert by_v == 4.0


def test_a_chain_of_nested_branches() -> None:
    x = wf.placeholder(wf.float64, ())

    def nest(depth: int, value: Any) -> Any:
        if not depth:
            return value * value
        return wf.cond(
            wf.greater(x, float(depth)), lambda: nest(depth - 1, value * x), lambda: nest(depth - 1, value + x)
        )

    ys = [nest(3, x)]
    ys += wf.gradients(ys[0], x)
    ys += wf.gradients(ys[1], x)
    # At 1.5: depth 3 and 2 add, depth 1 multiplies: ((x + x) + x) * x, squared.
    np.testing.assert_allclose(run(ys, {x: 1.5}), [9 * 1.5**4, 36 * 1.5**3, 108 * 1.5**2])


def test_gradients_are_taken_inside_of_branches_too() -> None:
    x = wf.constant(2.0)
    z = x * x
    y = wf.cond(pred(), lambda: wf.gradients(x * z, x)[0], lambda: x)
    assert run([y, *wf.gradients(y, x)]) == [12.0, 12.0]


def test_random_numbers_are_the_same_in_the_gradient() -> None:
    x = wf.constant(1.0)
    drawn = wf.cond(pred(), lambda: (x * wf.random_normal([]),), lambda: (x,), strict=True)[0]
    value, grad = run([drawn, wf.gradients(drawn, x)[0]])
    assert value == grad


# effects


def test_the_branch_not_taken_has_no_effect() -> None:
    v, p = wf.Variable(1.0), wf.placeholder(wf.bool, ())
    other = wf.Variable(1.0)
    y = wf.cond(p, lambda: v.assign_add(1.0), lambda: other.assign(wf.log(-1.0)) * 1.0)
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        assert session.run(y, {p: True}) == 2.0
        assert session.run([v, other]) == [2.0, 1.0]


def test_a_variable_without_value_does_no_harm_where_it_is_not_read() -> None:
    v = wf.Variable(3.0)
    y = wf.cond(wf.is_variable_initialized(v), lambda: v.read_value(), lambda: v.initial_value)
    with wf.Session() as session:
        assert session.run(y) == 3.0


def test_only_what_the_fetched_output_needs_runs() -> None:
    v = wf.Variable(0.0)
    first, second = wf.cond(pred(), lambda: (wf.constant(1.0), v.assign_add(1.0)), lambda: (wf.constant(2.0), v * 1.0))
    with wf.Session() as session:
        session.run(v.initializer)
        assert session.run(first) == 1.0
        assert session.run(v) == 0.0
        assert session.run(second) == 1.0
        session.run(first.op)
        assert session.run(v) == 2.0


def test_control_dependencies_from_around_and_inside() -> None:
    v = wf.Variable(0.0)
    before = v.assign(10.0, read_value=False)

    def inside() -> Any:
        with wf.control_dependencies([before]):
            first = v.read_value()
        with wf.control_dependencies([first]), wf.control_dependencies([v.assign_add(1.0)]):
            return first, v.read_value()

    y = wf.cond(pred(), inside, lambda: (wf.constant(0.0), wf.constant(0.0)))
    assert run(y) == (10.0, 11.0)


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
def test_reads_come_before_unordered_writes_of_a_branch() -> None:
    v = wf.Variable(1.0)
    written = wf.cond(pred(), lambda: v.assign(5.0), lambda: wf.constant(0.0))
    read = v.read_value()
    assert run([written, read]) == [5.0, 1.0]


def test_a_variable_made_in_a_branch_stands_around_it() -> None:
    def make() -> Any:
        with wf.variable_scope("inner"):
            return wf.get_variable("w", [2], initializer=wf.ones_initializer()) * 2.0

    y = wf.cond(pred(), make, lambda: wf.zeros([2]))
    assert [v.name for v in wf.global_variables()] == ["inner/w:0"]
    assert run(y).tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="control-flow construct"):
        wf.cond(pred(), lambda: wf.Variable(wf.constant(1.0) * 2.0) * 1.0, lambda: wf.constant(1.0))


def test_print_and_assert_run_in_the_taken_branch_only(capfd: Any) -> None:
    p = wf.placeholder(wf.bool, ())

    def checked() -> Any:
        with wf.control_dependencies([wf.Assert(wf.constant(False), ["told you"])]):
            return wf.constant(1.0)

    y = wf.cond(p, lambda: wf.Print(wf.constant(2.0), [7], "seven: "), checked)
    with wf.Session() as session:
        assert session.run(y, {p: True}) == 2.0
        assert capfd.readouterr().err == "seven: [7]\n"
        with pytest.raises(wf.errors.InvalidArgumentError, match="told you"):
            session.run(y, {p: False})


# errors


def test_a_failure_inside_names_the_operation_and_the_line() -> None:
    y = wf.cond(pred(), lambda: wf.check_numerics(wf.log(wf.constant(-1.0)), "bad"), lambda: wf.constant(1.0))
    with pytest.raises(wf.errors.InvalidArgumentError, match=r"node cond/CheckNumerics(?s:.*)test_cond.py") as caught:
        run(y)
    assert caught.value.op.name == "cond/CheckNumerics"


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: wf.cond(True, lambda: 1.0, lambda: 2.0), TypeError, "must not be a Python bool"),
        (lambda: wf.cond(wf.constant(1), lambda: 1.0, lambda: 2.0), TypeError, "int32"),
        (lambda: wf.cond(wf.constant([True]), lambda: 1.0, lambda: 2.0), ValueError, "scalar"),
        (lambda: wf.cond(pred(), 1.0, lambda: 2.0), TypeError, "'true_fn' must be callable"),  # type: ignore[arg-type]
        (lambda: wf.cond(pred(), lambda: 2.0, 1.0), TypeError, "'false_fn' must be callable"),  # type: ignore[arg-type]
        (lambda: wf.cond(pred(), lambda: 2.0), TypeError, "'false_fn' argument required"),
        (lambda: wf.cond(pred()), TypeError, "'true_fn' argument required"),
        (lambda: wf.cond(pred(), lambda: 2.0, lambda: 1.0, fn1=lambda: 2.0), TypeError, "simultaneously"),
        (lambda: wf.cond(pred(), lambda: None, lambda: 1.0), ValueError, "'true_fn' must have a return value"),
        (lambda: wf.cond(pred(), lambda: 1.0, lambda: None), ValueError, "'false_fn' must have a return value"),
        (lambda: wf.cond(pred(), list, list), ValueError, "at least one result"),
        (lambda: wf.cond(pred(), lambda: 1.0, lambda: 2), ValueError, "same type.*float32.*int32"),
        (lambda: wf.cond(pred(), lambda: wf.no_op(), lambda: 1.0), ValueError, "Received bool"),
        (lambda: wf.cond(pred(), lambda: (1.0, 2.0), lambda: [1.0, 2.0]), TypeError, "nested structure"),
        (lambda: wf.cond(pred(), lambda: (1.0, 2.0), lambda: 1.0), ValueError, "nested structure"),
        (lambda: wf.cond(pred(), lambda: (1.0, 2.0), lambda: (1.0, 2.0, 3.0)), ValueError, "nested structure"),
        (lambda: wf.cond(pred(), lambda: {"a": 1.0}, lambda: {"b": 1.0}), ValueError, "keys"),
    ],
)  # fmt: skip
def test_what_makes_no_cond(build: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        build()


def test_a_tensor_of_a_branch_cannot_be_used_outside_of_it() -> None:
    kept: list[Any] = []

    def keep() -> Any:
        kept.append(wf.constant(1.0) * 2.0)
        return kept[0]

    with pytest.raises(ValueError, match="true branch of 'cond'"):
        wf.cond(pred(), keep, lambda: kept[0] + 1.0)
    with pytest.raises(ValueError, match="cannot be used outside"):
        kept[0] + 1.0
    with pytest.raises(ValueError, match="not an element of this graph"):
        run(kept[0])


# case and switch_case


@pytest.mark.parametrize(("x", "expected"), [(1.0, 10.0), (5.0, 20.0), (9.0, 30.0)])
def test_case_takes_the_first_that_holds(x: float, expected: float) -> None:
    value = wf.constant(x)
    pairs = [(wf.less(value, 3.0), lambda: wf.constant(10.0)), (wf.less(value, 6.0), lambda: wf.constant(20.0))]
    assert run(wf.case(pairs, default=lambda: wf.constant(30.0))) == expected


def test_case_without_default_wants_one_to_hold_and_exclusive_not_two() -> None:
    yes, no = wf.placeholder_with_default(True, ()), wf.placeholder_with_default(False, ())
    one, two = (lambda: wf.constant(1.0)), (lambda: wf.constant(2.0))
    assert run(wf.case([(no, one), (yes, two)])) == 2.0
    assert run(wf.case({no: one, yes: two}, exclusive=True)) == 2.0
    with pytest.raises(wf.errors.InvalidArgumentError, match="None of conditions"):
        run(wf.case([(no, one), (no, two)]))
    with pytest.raises(wf.errors.InvalidArgumentError, match="more than 1 conditions"):
        run(wf.case([(yes, one), (yes, two)], exclusive=True))


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        (3, TypeError),
        ([], ValueError),
        ([3], TypeError),
        ([(True, lambda: 1.0)], TypeError),
    ],
)
def test_what_makes_no_case(pairs: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        wf.case(pairs)


@pytest.mark.parametrize(("index", "expected"), [(0, 1.0), (1, 3.0), (2, 9.0), (3, 27.0), (-1, 27.0), (7, 27.0)])
def test_switch_case(index: int, expected: float) -> None:
    x = wf.constant(3.0)
    chosen = wf.placeholder(wf.int32, ())
    powers = [lambda k=k: x**k for k in (0.0, 1.0, 2.0, 3.0)]
    y = wf.switch_case(chosen, powers)
    value, grad = run([y, wf.gradients(y, x)[0]], {chosen: index})
    assert value == expected
    assert grad == {1.0: 0.0, 3.0: 1.0, 9.0: 6.0, 27.0: 27.0}[expected]
    other = wf.switch_case(chosen, dict(enumerate(powers)), default=lambda: wf.constant(-1.0))
    assert run(other, {chosen: index}) == (expected if 0 <= index < 4 else -1.0)


def test_switch_case_wants_numbers_from_0_on() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        wf.switch_case(wf.constant(0), {1: lambda: 1.0})
    with pytest.raises(TypeError, match="int32"):
        wf.switch_case(wf.constant(0.0), [lambda: 1.0])


# elsewhere


def test_a_graph_with_branches_travels_as_data() -> None:
    x, p = wf.placeholder(wf.float64, (), "x"), wf.placeholder(wf.bool, (), "p")
    y = wf.cond(p, lambda: wf.cond(wf.greater(x, 0.0), lambda: wf.exp(x), lambda: x * x), lambda: -x)
    grads = wf.gradients(wf.gradients(y, x), x)
    rows, arrays = encode_graph(wf.get_default_graph())
    copy = wf.Graph()
    decode_graph(json.loads(json.dumps(rows)), arrays, copy)
    find = copy.get_tensor_by_name
    for at, chosen in [(1.0, True), (-1.0, True), (1.0, False)]:
        expected = run([y, *grads], {x: at, p: chosen})
        with wf.Session(graph=copy) as session:
            found = session.run([find(t.name) for t in (y, *grads)], {find("x:0"): at, find("p:0"): chosen})
        assert found == expected


def test_two_devices_give_the_bits_of_one() -> None:
    x = wf.placeholder(wf.float32, [4])
    with wf.device("/device:CPU:1"):
        y = wf.cond(wf.reduce_sum(x) > 0.0, lambda: wf.exp(x), lambda: x * x)
    with wf.device("/device:CPU:0"):
        grads = wf.gradients(y * y, x) + wf.gradients(wf.gradients(y * y, x), x)
    value = np.linspace(-1, 2, 4, dtype=np.float32)
    with wf.Session(config=wf.ConfigProto(allow_soft_placement=True)) as session:
        one = session.run([y, *grads], {x: value})
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as session:
        two = session.run([y, *grads], {x: value})
    for mine, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_eager_execution_takes_the_branch_at_once() -> None:
    wf.enable_eager_execution()
    assert wf.cond(wf.constant(True), lambda: wf.constant(1.0), lambda: wf.constant(2.0)).numpy() == 1.0
    assert wf.case([(wf.constant(False), lambda: 1.0)], default=lambda: 2.0) == 2.0
    assert wf.switch_case(wf.constant(1), [lambda: 1.0, lambda: 2.0]) == 2.0
