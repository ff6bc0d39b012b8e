"""Control flow as TensorFlow 1 programs meet it: structures, types, scopes and errors to the letter."""

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import weft as wf

Pair = namedtuple("Pair", "a b")


def run(fetches: Any, feeds: Any = None) -> Any:
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return session.run(fetches, feeds)


def pred() -> Any:
    return wf.placeholder(wf.bool, ())


# cond and switch_case


@pytest.mark.parametrize("chosen", [True, False])
def test_an_operation_as_a_result_is_the_predicate_once_it_has_run(chosen: bool) -> None:
    p, v = pred(), wf.Variable(0.0)
    done = wf.cond(p, lambda: wf.group(v.assign(5.0)), lambda: wf.no_op())
    with wf.control_dependencies([done]):
        seen = v.read_value() + 0.0
    assert run([done, seen], {p: chosen}) == [chosen, 5.0 if chosen else 0.0]


def test_indices_of_rows_are_widened_where_the_branches_differ() -> None:
    p, rows = pred(), wf.constant([[1.0, 2.0]])

    def slices(kind: Any) -> Any:
        return [wf.IndexedSlices(rows, wf.constant([3], kind)), {"i": wf.constant(1)}]

    found, _ = wf.cond(p, lambda: slices(wf.int32), lambda: slices(wf.int64))
    assert found.indices.dtype == wf.int64
    assert [run(found.indices, {p: side}).tolist() for side in (True, False)] == [[3], [3]]
    same, _ = wf.cond(p, lambda: slices(wf.int32), lambda: slices(wf.int32))
    assert same.indices.dtype == wf.int32
    with pytest.raises(ValueError, match="same type"):
        wf.cond(p, lambda: wf.constant(1), lambda: wf.constant(1, wf.int64))


def test_structures_that_differ_are_said_to_be_those_of_the_branches() -> None:
    with pytest.raises(ValueError, match="Incompatible return values of 'true_fn' and 'false_fn'"):
        wf.cond(pred(), lambda: 1.0, lambda: [1.0, 2.0])
    with pytest.raises(TypeError, match="Incompatible return values of 'true_fn' and 'false_fn'"):
        wf.cond(pred(), lambda: Pair(1.0, 2.0), lambda: (1.0, 2.0))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_each_function_of_a_switch_is_called_once(size: int) -> None:
    calls: list[int] = []
    index = wf.placeholder(wf.int32, ())

    def branch(number: int) -> Any:
        def build() -> Any:
            calls.append(number)
            return wf.constant(float(number))

        return build

    last = wf.switch_case(index, [branch(number) for number in range(size)])
    assert calls == list(range(size))
    default = wf.switch_case(index, [branch(number) for number in range(size)], default=branch(99))
    assert calls == [*range(size), *range(size), 99]
    for at in (-1, *range(size), size, 1000):
        inside = 0 <= at < size
        assert run([last, default], {index: at}) == [at, at] if inside else [size - 1, 99]


def test_a_switch_keeps_the_structure_of_its_functions() -> None:
    index = wf.placeholder(wf.int32, ())
    found = wf.switch_case(index, [lambda: [wf.constant(1.0)], lambda: [2.0]])
    assert isinstance(found, list)
    assert run(found, {index: 1}) == [2.0]
    pair = wf.switch_case(index, {1: lambda: Pair(1.0, 2), 0: lambda: Pair(3.0, 4)})
    assert run(pair, {index: 0}) == Pair(3.0, 4)


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        ([lambda: 1.0, lambda: 1], r"branches\[0\] and branches\[1\].*float32.*int32"),
        ([lambda: 1.0, lambda: 2.0, lambda: [1.0, 2.0]], r"branches\[0\] and branches\[2\]"),
        ({0.0: lambda: 1.0}, "key must be a Python `int`"),
        ({"a": lambda: 1.0}, "key must be a Python `int`"),
        ([(0.5, lambda: 1.0), 3], "key must be a Python `int`"),
    ],
)
def test_what_makes_no_switch(functions: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        wf.switch_case(wf.placeholder(wf.int32, ()), functions)


# scopes of the graph around, and names in it, inside of a body


def test_scopes_of_the_outer_graph_hold_in_a_body() -> None:
    graph, v = wf.get_default_graph(), wf.Variable(0.0)
    made: list[Any] = []

    def body(i: Any) -> Any:
        with graph.name_scope("inner"), graph.control_dependencies([v.assign_add(1.0)]):
            made.append(wf.add(i, 1, name="next"))
        with v.graph.gradient_override_map({"Sin": "other"}):
            made.append(wf.sin(1.0))
        return made[0]

    done = wf.while_loop(lambda i: i < 3, body, [0])
    assert made[0].name == "while/inner/next:0"
    assert made[1].op.gradient_override == "other"
    with wf.control_dependencies([done]):
        seen = v.read_value() + 0.0
    assert run(seen) == 3.0


def test_elements_around_are_found_by_name_in_a_body() -> None:
    x = wf.constant(2.0, name="x")
    v = wf.Variable(0.0)
    write = v.assign_add(1.0, name="write")

    def body(i: Any) -> Any:
        graph = wf.get_default_graph()
        assert graph.as_graph_element(x) is x
        with wf.control_dependencies([write.op.name]):
            return i + wf.cast(graph.get_tensor_by_name("x:0"), wf.int32)

    done = wf.while_loop(lambda i: i < 5, body, [0])
    assert run([done, write]) == [6, 1.0]
    with pytest.raises(KeyError, match="nowhere"):
        wf.while_loop(lambda i: i < 5, lambda i: wf.get_default_graph().get_tensor_by_name("nowhere:0"), [0])


def test_without_control_dependencies_one_is_outside_of_all_bodies() -> None:
    made: list[Any] = []

    def body(i: Any) -> Any:
        with wf.name_scope("far"), wf.control_dependencies([wf.no_op()]), wf.control_dependencies(None):
            made.append(wf.constant(7, name="seven"))
            inside = wf.add(i, 0)
            assert inside.op.control_inputs == ()
            assert inside.graph is not made[-1].graph
        return inside + made[-1]

    done = wf.while_loop(
        lambda i: i < 20, lambda i: wf.cond(i < 100, lambda: body(i), lambda: wf.identity(i)), [0], name="loop"
    )
    assert made[0].graph is wf.get_default_graph()
    assert made[0].name == "loop/cond/far/seven:0"
    with wf.control_dependencies([done]), wf.init_scope():
        assert wf.constant(1.0).op.control_inputs == ()
    assert run([done, made[0] + 1]) == [21, 8]
    assert wf.constant(1.0).op.control_inputs == ()


def test_a_misplaced_tensor_is_named_with_where_it_was_made_and_where_it_is_used() -> None:
    kept: list[Any] = []

    def keep(value: Any) -> Any:
        kept.append(wf.multiply(value, 2.0, name="kept"))
        return kept[-1]

    first = r"cond/kept:0.* made in the true branch of 'cond' and cannot be used"
    with pytest.raises(ValueError, match=first + " in the false branch of 'cond'"):
        wf.cond(pred(), lambda: keep(wf.constant(1.0)), lambda: kept[0] + 1.0)
    with pytest.raises(ValueError, match=first + " outside of it"):
        wf.identity(kept[0])
    with pytest.raises(ValueError, match=first + " in the body of 'while'"):
        wf.while_loop(lambda a: a < 3.0, lambda a: a + kept[0], [1.0])
    with pytest.raises(ValueError, match=first + " outside of it"), wf.control_dependencies([kept[0]]):
        pass
    with pytest.raises(ValueError, match=first + " outside of it"):
        run(kept[0])


def test_losses_and_updates_of_a_body_stand_in_the_collections_and_do_not_leave_it() -> None:
    x = wf.constant(np.ones(3, np.float32))

    def branch() -> Any:
        wf.losses.mean_squared_error(x, x + 1.0)
        wf.add_to_collection(wf.GraphKeys.UPDATE_OPS, wf.no_op())
        return x

    wf.cond(pred(), branch, lambda: x)
    assert [len(wf.get_collection(key)) for key in ("losses", "update_ops")] == [1, 1]
    with pytest.raises(ValueError, match="made in the true branch of 'cond'"):
        wf.losses.get_total_loss()


# while_loop


@pytest.mark.parametrize(
    ("start", "step", "kind"),
    [
        ([0, 1.0], lambda i, a: (i + 1, a * 2.0), tuple),
        ((0, 1.0), lambda i, a: [i + 1, a * 2.0], list),
        (Pair(0, 1.0), lambda i, a: Pair(i + 1, a * 2.0), Pair),
        ([0, 1.0], lambda i, a: Pair(i + 1, a * 2.0), Pair),
    ],
)
@pytest.mark.parametrize("limit", [None, 9])
def test_a_loop_returns_the_structure_of_its_body_or_of_its_variables(
    start: Any, step: Any, kind: Any, limit: Any
) -> None:
    options = {"maximum_iterations": limit}
    found = wf.while_loop(lambda i, _: i < 3, step, start, **options)
    same = wf.while_loop(lambda i, _: i < 3, step, start, return_same_structure=True, **options)
    assert [type(found), type(same)] == [kind, type(start)]
    assert [list(run(found)), list(run(same))] == [[3, 8.0]] * 2


def test_a_single_variable_keeps_its_list_where_that_is_asked_for() -> None:
    one = wf.while_loop(lambda i: i < 3, lambda i: i + 1, (0,), return_same_structure=True)
    assert type(one) is tuple
    assert run(one) == (3,)


def test_shape_invariants_of_rows_arrays_and_of_some_variables_only() -> None:
    rows = wf.IndexedSlices(wf.constant([[1.0, 2.0]]), wf.constant([0]), wf.constant([3, 2]))
    array = wf.TensorArray(wf.float32, 2)

    def body(i: Any, more: Any) -> Any:
        a = more["rows"]
        grown = wf.IndexedSlices(wf.concat([a.values] * 2, 0), wf.concat([a.indices] * 2, 0), a.dense_shape)
        return i + 1, {"rows": grown, "array": more["array"].write(i, 1.0), "fixed": more["fixed"] * 2.0}

    invariants = [None, {"rows": wf.TensorShape([None, 2]), "array": wf.TensorShape(None), "fixed": None}]
    variables = [0, {"rows": rows, "array": array, "fixed": wf.zeros([4])}]
    _, found = wf.while_loop(lambda i, _: i < 2, body, variables, shape_invariants=invariants)
    shapes = [found["rows"].values.shape, found["rows"].indices.shape, found["rows"].dense_shape.shape]
    assert [shape.as_list() for shape in shapes] == [[None, 2], [None], [2]]
    assert found["fixed"].shape.as_list() == [4]
    assert run(found["rows"]).indices.tolist() == [0] * 4


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: wf.while_loop(lambda i: i < 3, lambda i: i, None), ValueError, "'loop_vars' must be provided"),
        (lambda: wf.while_loop(lambda i: i < 3, lambda i: i, 3), TypeError, "'loop_vars'"),
        (
            lambda: wf.while_loop(lambda i: i < 3, lambda i: wf.cast(i, wf.float32), [wf.constant(1, name="first")]),
            TypeError, "Loop var first:0 enters the loop with type int32 but has type float32 after 1 iteration",
        ),
        (
            lambda: wf.while_loop(
                lambda i, a: i < 3, lambda i, a: (i, wf.concat([a, a], 0)), [0, wf.zeros([1])],
                shape_invariants=[None, None],
            ),
            ValueError, "enters the loop with shape",
        ),
        (
            lambda: wf.while_loop(lambda i: i < 3, lambda i: i, [1], shape_invariants=wf.TensorShape([])), ValueError,
            "nested structure",
        ),
        (
            lambda: wf.while_loop(lambda d: True, lambda d: d, [{"a": 1}], shape_invariants=[{"b": None}]), ValueError,
            "nested structure",
        ),
        (lambda: wf.foldl(lambda a, b: wf.cast(a, wf.int32), wf.zeros([2])), TypeError, "float32 but has type int32"),
        (lambda: wf.scan(lambda a, b: wf.cast(a, wf.int32), wf.zeros([2])), TypeError, "float32 but has type int32"),
        (lambda: wf.map_fn(lambda a: a, (wf.zeros([3]), wf.zeros([2, 2]))), ValueError, r"\[2, 3\] are not compatible"),
    ],
)  # fmt: skip
def test_what_makes_no_loop(build: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        build()


def test_strings_pass_arrays_of_tensors_as_they_are() -> None:
    words = wf.placeholder_with_default(["a", "bcd\0"], [2])
    array = wf.TensorArray(wf.string, 2).unstack(words)
    found = run([wf.map_fn(lambda word: word, words), array.stack(), array.read(1)])
    assert [value.dtype for value in found[:2]] == [np.object_] * 2
    assert [value.tolist() for value in found[:2]] == [[b"a", b"bcd\0"]] * 2
    assert found[2] == b"bcd\0"


# effects


@pytest.mark.parametrize("kind", ["identity", "tuple", "with_dependencies", "nested"])
def test_what_is_captured_under_control_dependencies_is_still_used_after_them(kind: str) -> None:
    v, x = wf.Variable(0.0), wf.placeholder_with_default(3.0, ())

    def branch() -> Any:
        write = v.assign_add(1.0)
        if kind == "tuple":
            return wf.tuple([write, x])[1]
        if kind == "with_dependencies":
            return wf.with_dependencies([write], x)
        with wf.control_dependencies([write]):
            return wf.cond(x > 0.0, lambda: wf.identity(x), lambda: x) if kind == "nested" else wf.identity(x)

    p = pred()
    once = wf.cond(p, branch, lambda: wf.identity(x))
    loop = wf.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, a + branch()), (0, 0.0))[1]
    with wf.Session() as session:
        session.run(v.initializer)
        assert [session.run(once, {p: True}), session.run(v)] == [3.0, 1.0]
        assert [session.run(once, {p: False}), session.run(v)] == [3.0, 1.0]
        assert [session.run(loop), session.run(v)] == [9.0, 4.0]


def test_a_gradient_function_without_control_dependencies_stays_where_the_values_are() -> None:
    @wf.custom_gradient
    def doubled_slope(x: Any) -> Any:
        def grad(dy: Any) -> Any:
            with wf.control_dependencies(None):
                return dy * wf.cond(x > 0.0, lambda: wf.cos(x), lambda: x) * wf.constant(2.0)

        return wf.sin(x), grad

    x = wf.placeholder_with_default(1.0, ())
    y = wf.while_loop(lambda i, _: i < 2, lambda i, a: (i + 1, doubled_slope(a)), (0, x))[1]
    np.testing.assert_allclose(run(wf.gradients(y, x)[0]), 4 * np.cos(1.0) * np.cos(np.sin(1.0)), rtol=1e-6)
