"""custom_gradient, recompute_grad, grad_pass_through and prevent_gradient."""

import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import weft as wf
from weft.graph import context
from weft.graph.indexed_slices import IndexedSlices
from weft.graph.ir import Tensor
from weft.graph.structure import flatten, pack
from weft.runtime.interpret import interpret


def run(fetches: Any, feeds: dict[Tensor, Any] | None = None) -> Any:
    """Values in a session, after the variables have been initialized."""
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return session.run(fetches, feeds)


@wf.custom_gradient
def log1pexp(x: Tensor) -> Any:
    """TensorFlow's example: the gradient is stable where the ordinary one is nan."""
    e = wf.exp(x)

    def grad(upstream: Tensor) -> Any:
        return upstream * (1 - 1 / (1 + e))

    return wf.log(1 + e), grad


def ordinary(x: Tensor) -> Any:
    return wf.log(1 + wf.exp(x))


# what it computes


def test_the_gradient_is_that_of_the_grad_fn() -> None:
    x = wf.constant(100.0)
    y, plain = log1pexp(x), ordinary(x)
    assert run([y, wf.gradients(y, x)[0]]) == [run(plain), 1.0]
    assert np.isnan(run(wf.gradients(plain, x)[0]))


def test_gradients_that_come_from_behind_are_passed_to_it() -> None:
    x = wf.constant([1.0, 2.0])
    (grad,) = wf.gradients(3 * log1pexp(2 * x), x)
    np.testing.assert_allclose(run(grad), 6 / (1 + np.exp([-2.0, -4.0])), rtol=1e-6)


def test_inputs_go_through_identities_and_results_through_one_identity_n() -> None:
    x = wf.constant(1.0)
    seen = []

    @wf.custom_gradient
    def f(a: Tensor) -> Any:
        seen.append(a.op)
        return a * 2, lambda dy: dy

    y = f(x)
    assert (seen[0].type, seen[0].inputs) == ("Identity", (x,))
    assert (y.op.type, y.value_index) == ("IdentityN", 0)
    assert [tensor.op.type for tensor in y.op.inputs] == ["Mul", "Identity"]


def test_the_function_is_only_called_once_and_the_grad_fn_once_for_each_call_of_gradients() -> None:
    calls = []

    @wf.custom_gradient
    def f(x: Tensor) -> Any:
        calls.append("f")

        def grad(dy: Tensor) -> Tensor:
            calls.append("grad")
            return dy

        return x * 2, grad

    x = wf.constant(1.0)
    y = f(x)
    wf.gradients([y, y * y], x)
    wf.gradients(y, x)
    assert calls == ["f", "grad", "grad"]


def test_several_arguments_and_results() -> None:
    @wf.custom_gradient
    def f(a: Tensor, b: Tensor) -> Any:
        return (a + b, a - b), lambda da, db: (10 * da, 100 * db)

    x, z = wf.constant(1.0), wf.constant(2.0)
    total, difference = f(x, z)
    assert run(wf.gradients(total * 2 + difference * 3, [x, z])) == [20.0, 300.0]
    assert run(wf.gradients(total, [x, z])) == [10.0, 0.0]  # zeros stand for what got no gradient


def test_nested_structures() -> None:
    class Pair(NamedTuple):
        a: Any
        b: Any

    seen = []

    @wf.custom_gradient
    def f(given: dict[str, Any]) -> Any:
        seen.append(given)
        return Pair(given["a"] * 2, [given["c"] * 3]), lambda da, db: {"a": da * 5, "c": [db * 7]}

    x, z = wf.constant(1.0), wf.constant(2.0)
    y = f({"c": z, "a": x})
    assert (type(y), list(seen[0])) == (Pair, ["c", "a"])
    assert run([y.a, y.b[0], *wf.gradients([y.a, y.b[0]], [x, z])]) == [2.0, 6.0, 5.0, 7.0]


def test_flatten_sorts_the_keys_of_dicts_and_pack_undoes_it() -> None:
    structure = {"b": [1, (2, None)], "a": 3}
    assert flatten(structure) == [3, 1, 2, None]
    assert pack(structure, iter("wxyz")) == {"b": ["x", ("y", "z")], "a": "w"}


def test_what_holds_tensors_is_a_leaf_or_a_structure_of_them() -> None:
    slices = IndexedSlices(wf.constant([1.0]), wf.constant([0]))
    assert flatten([slices, 1]) == [slices.values, slices.indices, 1]
    assert flatten([slices, 1], composites=False) == [slices, 1]
    rebuilt = pack([slices, 1], iter([slices.indices, slices.values, 2]))
    assert (rebuilt[0].values, rebuilt[1]) == (slices.indices, 2)
    assert pack([slices, (1,)], iter("ab"), composites=False) == ["a", ("b",)]


def test_integers_among_arguments_and_results_have_no_gradient() -> None:
    got = []

    @wf.custom_gradient
    def f(x: Tensor, n: Tensor) -> Any:
        def grad(*dys: Any) -> Any:
            got.append(dys)
            return dys[0] * 5, None

        return (x * wf.cast(n, "float32"), n + 1), grad

    x = wf.constant(2.0)
    y, n = f(x, 3)
    assert run([y, n, wf.gradients(y, x)[0]]) == [6.0, 4, 5.0]
    assert got[0][1] is None


def test_sparse_gradients_arrive_as_they_are_and_pass() -> None:
    @wf.custom_gradient
    def f(x: Tensor) -> Any:
        def grad(dy: Any) -> Any:
            assert isinstance(dy, IndexedSlices)
            return IndexedSlices(dy.values * 2, dy.indices, dy.dense_shape)

        return x * 3, grad

    x = wf.constant([1.0, 2.0])
    (grad,) = wf.gradients(wf.gather(f(x), [1]), x)
    assert isinstance(grad, IndexedSlices)
    assert run(grad).values.tolist() == [2.0]


def test_without_arguments() -> None:
    y = wf.custom_gradient(lambda: (wf.constant(2.0), lambda dy: []))()
    assert run([y, wf.gradients(y * 3, y)[0]]) == [2.0, 3.0]


def test_methods() -> None:
    class Model:
        scale = 9.0

        @wf.custom_gradient
        def f(self, x: Tensor) -> Any:
            return x * 2, lambda dy: dy * self.scale

    x = wf.constant(1.0)
    assert run(wf.gradients(Model().f(x), x)) == [9.0]
    assert Model.f.__name__ == "f"


def test_the_decorator_takes_empty_parentheses() -> None:
    f = wf.custom_gradient()(lambda x: (x * 2, lambda dy: dy * 9))
    x = wf.constant(1.0)
    assert run(wf.gradients(f(x), x)) == [9.0]


def test_a_stopped_result_and_the_result_as_x() -> None:
    x = wf.constant(1.0)
    y = log1pexp(x)
    assert wf.gradients(y * 2, [x], stop_gradients=[y]) == [None]
    assert run(wf.gradients(y * 2, [y])) == [2.0]


def test_eager_execution_just_calls_the_function() -> None:
    context.set_eager(True)

    @wf.custom_gradient
    def f(x: Tensor, k: float = 1.0) -> Any:
        return x * k, lambda dy: dy

    assert f(wf.constant(2.0), k=3.0).numpy() == 6.0
    assert wf.recompute_grad(lambda x: x * 2)(wf.constant(2.0)).numpy() == 4.0


# higher order and nesting


def test_the_second_order_differentiates_what_the_grad_fn_built() -> None:
    x = wf.constant(np.float64(0.3))
    y = log1pexp(x)
    (first,) = wf.gradients(y, x)
    (second,) = wf.gradients(first, x)
    s = 1 / (1 + np.exp(-0.3))
    np.testing.assert_allclose(run([first, second]), [s, s * (1 - s)], rtol=1e-12)


def test_the_second_order_by_the_incoming_gradient() -> None:
    x, dy = wf.constant(2.0), wf.constant(1.0)
    cube = wf.custom_gradient(lambda a: (a * a * a, lambda d: d * a * 100))
    (first,) = wf.gradients(cube(x), x, grad_ys=dy)
    assert run(wf.gradients(first, [x, dy])) == [100.0, 200.0]


def test_a_grad_fn_with_a_custom_gradient_of_its_own() -> None:
    @wf.custom_gradient
    def square(x: Tensor) -> Any:
        @wf.custom_gradient
        def derivative(a: Tensor, dy: Tensor) -> Any:
            return 2 * a * dy, lambda d: (1000 * d, None)

        return x * x, lambda dy: derivative(x, dy)

    x = wf.constant(3.0)
    (first,) = wf.gradients(square(x), x)
    (second,) = wf.gradients(first, x)
    assert run([first, second]) == [6.0, 1000.0]


def test_a_function_with_a_custom_gradient_inside_another() -> None:
    inner = wf.custom_gradient(lambda x: (x * 2, lambda dy: dy * 10))
    outer = wf.custom_gradient(lambda x: (inner(x) * 3, lambda dy: wf.gradients(inner(x), x)[0] * dy))
    x = wf.constant(1.0)
    assert run([outer(x), wf.gradients(outer(x), x)[0], wf.gradients(inner(x) * 3, x)[0]]) == [6.0, 10.0, 30.0]


# variables


def scaled(received: list[Any]) -> Any:
    """x * w, whose gradients are 10 times as large."""

    @wf.custom_gradient
    def f(x: Tensor) -> Any:
        w = wf.get_variable("w", [], initializer=wf.constant_initializer(3.0))

        def grad(dy: Tensor, variables: Any = None) -> Any:
            received.append(variables)
            return dy * 10 * w, [dy * 10 * x]

        return x * w, grad

    return f


def test_variables_made_inside_are_passed_to_the_grad_fn() -> None:
    received: list[Any] = []
    x = wf.constant(2.0)
    y = scaled(received)(x)
    (w,) = wf.trainable_variables()
    assert run([y, *wf.gradients(y, [x, w])]) == [6.0, 30.0, 20.0]
    assert received == [[w]]


def test_a_variable_used_in_and_outside_gets_both_gradients() -> None:
    x = wf.constant(2.0)
    y = scaled([])(x)
    (w,) = wf.trainable_variables()
    assert run(wf.gradients(y + w, w)) == [21.0]


def test_variables_are_sorted_by_name_and_given_once() -> None:
    b, a = wf.Variable(1.0, name="b"), wf.Variable(2.0, name="a")
    received = []

    @wf.custom_gradient
    def f(x: Tensor) -> Any:
        def grad(dy: Tensor, **kwargs: Any) -> Any:
            received.append(kwargs)
            return dy, [dy * 2, dy * 3]

        return x * b * a * b, grad

    x = wf.constant(1.0)
    assert run(wf.gradients(f(x), [a, b])) == [2.0, 3.0]
    assert received == [{"variables": [a, b]}]


def test_a_variable_as_argument_is_an_argument() -> None:
    w = wf.Variable(3.0)
    f = wf.custom_gradient(lambda x: (x * x, lambda dy: dy * 10))
    assert run(wf.gradients(f(w), w)) == [10.0]


@pytest.mark.parametrize(
    "function",
    [
        lambda w, h: lambda x: x * w,
        lambda w, h: lambda x: x * h,
        lambda w, h: lambda x: x * wf.cast(wf.cast(w, "int32"), "float32"),
    ],
    ids=["read inside", "behind a tensor from outside", "cut by an integer"],
)
def test_a_grad_fn_must_take_the_variables_behind_the_result(function: Any) -> None:
    w = wf.Variable(3.0, name="w")
    inside = function(w, w * 2)
    with pytest.raises(TypeError, match=r"must accept the keyword argument 'variables'.*'w:0'"):
        wf.custom_gradient(lambda x: (inside(x), lambda dy: dy))(wf.constant(1.0))


def test_variables_that_are_not_trainable_do_not_count() -> None:
    w = wf.Variable(3.0, trainable=False)
    x = wf.constant(1.0)
    assert run(wf.gradients(wf.custom_gradient(lambda a: (a * w, lambda dy: dy * 7))(x), x)) == [7.0]


@pytest.mark.parametrize("number", [0, 2])
def test_as_many_gradients_as_variables(number: int) -> None:
    w = wf.Variable(3.0)

    @wf.custom_gradient
    def f(x: Tensor) -> Any:
        return x * w, lambda dy, variables: (dy, [dy] * number)

    with pytest.raises(ValueError, match="Must return gradient for each variable"):
        wf.gradients(f(wf.constant(1.0)), w)


def test_a_grad_fn_with_variables_returns_a_pair() -> None:
    w = wf.Variable(3.0)
    y = wf.custom_gradient(lambda x: (x * w, lambda dy, variables: dy))(wf.constant(1.0))
    with pytest.raises(ValueError, match="gradients of the arguments, list of gradients of the variables"):
        wf.gradients(y, w)


# errors


@pytest.mark.parametrize("wrong", [lambda dy: dy, lambda dy: (dy, dy, dy), lambda dy: None, lambda dy: []])
def test_as_many_gradients_as_arguments(wrong: Any) -> None:
    x = wf.constant(1.0)
    y = wf.custom_gradient(lambda a, b: (a * b, wrong))(x, x)
    with pytest.raises(ValueError, match=r"Num gradients . generated .* do not match num inputs 2") as error:
        wf.gradients(y, x)
    assert "test_custom_gradient.py" in error.value.__notes__[0]


def test_a_gradient_of_another_shape() -> None:
    x = wf.constant([1.0, 2.0])
    y = wf.custom_gradient(lambda a: (a * 2, lambda dy: wf.zeros([3])))(x)
    with pytest.raises(ValueError, match="Incompatible shapes between op input and calculated input gradient"):
        wf.gradients(y, x)


def test_keyword_arguments_are_for_eager_execution() -> None:
    with pytest.raises(ValueError, match=r"keyword.* eager execution"):
        log1pexp(x=wf.constant(1.0))


@pytest.mark.parametrize("returned", [1.0, (1.0,), (1.0, 2.0), (1.0, None)])
def test_the_function_returns_a_pair(returned: Any) -> None:
    with pytest.raises(TypeError, match=r"returns \(result, grad_fn\)"):
        wf.custom_gradient(lambda x: returned)(wf.constant(1.0))


# recompute_grad


def deep(x: Tensor, w: Any) -> Tensor:
    for _ in range(3):
        x = wf.tanh(wf.matmul(x, w))
    return x


def recomputed_and_not(feeds: bool = True) -> tuple[Any, Any, list[Any]]:
    x = wf.constant(np.linspace(-1, 1, 6).reshape(2, 3))
    w = wf.Variable(np.linspace(0, 1, 9).reshape(3, 3))
    return wf.recompute_grad(lambda a: deep(a, w))(x), deep(x, w), [x, w]


def test_recomputed_gradients_have_the_same_bits() -> None:
    again, kept, xs = recomputed_and_not()
    first, second = run([wf.gradients(again * again, xs), wf.gradients(kept * kept, xs)])
    for one, other in zip(first, second, strict=True):
        assert one.tobytes() == other.tobytes()


def test_recomputed_gradients_can_be_differentiated() -> None:
    again, kept, xs = recomputed_and_not()
    first, second = (wf.gradients(wf.gradients(y * y, xs[0])[0], xs) for y in (again, kept))
    for one, other in zip(*run([first, second]), strict=True):
        assert one.tobytes() == other.tobytes()


def test_recomputing_waits_for_the_gradient_that_arrives() -> None:
    x = wf.constant([1.0, 2.0])
    y = wf.recompute_grad(lambda a: wf.exp(wf.sin(a)))(x)
    before = x.graph.version
    (grad,) = wf.gradients(y * y, x)
    copies = [operation for operation in x.graph.get_operations()[before:] if operation.type in ("Exp", "Sin")]
    assert [operation.type for operation in copies] == ["Sin", "Exp"]
    (entry,) = copies[0].inputs
    (arriving,) = entry.op.control_inputs
    assert arriving.type == "AddN"
    assert not any(tensor.op.type in ("Exp", "Sin") and tensor.op.id < before for tensor in ancestors(grad, before))
    np.testing.assert_allclose(run(grad), 2 * np.exp(2 * np.sin([1, 2])) * np.cos([1, 2]), rtol=1e-6)


def ancestors(tensor: Tensor, start: int) -> list[Tensor]:
    """What operations made from number `start` on take to make `tensor`, leaving out what only came back from behind y."""
    found, waiting = [], [tensor]
    while waiting:
        for each in waiting.pop().op.inputs:
            if each.op.type not in ("AddN", "IdentityN") and each not in found:
                found.append(each)
                if each.op.id >= start:
                    waiting.append(each)
    return found


def test_the_plan_computes_it_twice() -> None:
    x = wf.placeholder("float32", [2])
    y = wf.recompute_grad(lambda a: wf.exp(wf.sin(a)))(x)
    with wf.Session() as session:
        plan = str(session.plan(wf.gradients(y * y, x)[0], {x: np.ones(2)}))
    assert plan.count("= Sin(") == 2


def test_recomputing_segments_takes_less_memory_and_gives_the_same_bits() -> None:
    def segment(a: Any) -> Any:
        for _ in range(8):
            a = wf.tanh(wf.sin(a))
        return a

    found = []
    for function in (segment, wf.recompute_grad(segment)):
        x = y = wf.placeholder("float32", [1000])
        for _ in range(6):
            y = function(y)
        (grad,) = wf.gradients(wf.reduce_sum(y), x)
        feeds = {x: np.linspace(-2, 2, 1000)}
        with wf.Session() as session:
            size = re.search(r"([\d,]+) bytes of buffers", str(session.plan(grad, feeds)))
            assert size is not None
            found.append((int(size[1].replace(",", "")), session.run(grad, feeds).tobytes()))
    (kept, first), (again, second) = found
    assert first == second
    assert again < kept / 3


def test_random_numbers_are_not_drawn_again() -> None:
    x = wf.constant([1.0] * 50)
    draws = []

    @wf.recompute_grad
    def dropped(a: Tensor) -> Any:
        draws.append(wf.random_uniform([50]))
        return a * a * wf.cast(draws[0] > 0.5, "float32")

    y = dropped(x)
    values, grads = run([y, wf.gradients(y, x)[0]])
    assert 0 < values.sum() < 50
    np.testing.assert_array_equal(grads, 2 * values)
    assert len(draws) == 1


def test_tensors_from_outside_the_function_get_their_gradient() -> None:
    x, c = wf.constant(2.0), wf.constant(3.0)
    y = wf.recompute_grad(lambda a, factor: (wf.square(a) * c * factor, a))(x, factor=wf.constant(5.0))
    assert run(wf.gradients(y, [x, c])) == [61.0, 20.0]


def test_recomputing_passes_keyword_arguments_and_structures() -> None:
    f = wf.recompute_grad(lambda pair, factor: {"y": pair[0] * pair[1] * factor})
    x = wf.constant(2.0)
    y = f((x, wf.constant(3.0)), factor=4.0)["y"]
    assert run([y, wf.gradients(y, x)[0]]) == [24.0, 12.0]


def test_recomputing_within_recomputing() -> None:
    inner = wf.recompute_grad(lambda a: wf.sin(wf.exp(a)))
    outer = wf.recompute_grad(lambda a: inner(inner(a)))
    x = wf.constant(np.float64(0.3))
    plain = wf.sin(wf.exp(wf.sin(wf.exp(x))))
    both = run([wf.gradients(outer(x), x)[0], wf.gradients(plain, x)[0]])
    assert both[0] == both[1]


# grad_pass_through, prevent_gradient


def test_grad_pass_through_is_a_straight_through_estimator() -> None:
    x = wf.constant([1.4, 2.6])
    y = wf.grad_pass_through(wf.round)(x)
    values, grads = run([y, wf.gradients(y * [2.0, 3.0], x)[0]])
    assert (values.tolist(), grads.tolist()) == ([1.0, 3.0], [2.0, 3.0])


def test_variables_in_grad_pass_through_get_no_gradient() -> None:
    w = wf.Variable(2.0)
    x = wf.constant(1.4)
    y = wf.grad_pass_through(lambda a: wf.round(a) * w)(x)
    by_x, by_w = wf.gradients(y, [x, w])
    assert (run([y, by_x]), by_w) == ([2.0, 1.0], None)


def test_prevented_gradients() -> None:
    x = wf.constant(1.0)
    y = wf.prevent_gradient(x * 2, "ask me another", name="wall")
    assert interpret([y], {}) == [2.0]
    with pytest.raises(LookupError) as error:
        wf.gradients(y, x)
    assert str(error.value) == "Gradient explicitly disabled. Reason: ask me another"
    assert "'wall'" in error.value.__notes__[0]
    assert run(wf.gradients(wf.stop_gradient(y) * x, x)) == [2.0]


def test_identity_n() -> None:
    x = wf.constant([1.0, 2.0])
    first, second = wf.identity_n([x, x * 2], name="both")
    assert [first.name, second.name] == ["both:0", "both:1"]
    assert run(wf.gradients(second, x)[0]).tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="at least one"):
        wf.identity_n([])
