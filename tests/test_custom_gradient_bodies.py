"""custom_gradient, recompute_grad and grad_pass_through inside of branches and loops, and around them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.ir import Tensor
from weft.graph.ops.branching import If
from weft.graph.ops.looping import While
from weft.runtime.stages.plan import Run

Body = Callable[[Any], Any]


def run(fetches: Any) -> Any:
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return session.run(fetches)


def twice(body: Body, x: Any) -> Tensor:
    """The body, in a loop of two iterations."""
    result: Tensor = wf.while_loop(lambda i, a: i < 2, lambda i, a: (i + 1, body(a)), (0, x))[1]
    return result


def chosen(body: Body, x: Any) -> Tensor:
    """The body, in the branch that is taken."""
    result: Tensor = wf.cond(wf.reduce_sum(x) > -100.0, lambda: body(x), lambda: x)
    return result


PLACES: dict[str, Callable[[Body, Any], Tensor]] = {
    "loop": twice,
    "branch": chosen,
    "branch in a loop": lambda body, x: twice(lambda a: chosen(body, a), x),
    "loop in a branch": lambda body, x: chosen(lambda a: twice(body, a), x),
    "rows": lambda body, x: wf.reduce_sum(wf.map_fn(body, wf.stack([x, x]))) * 0.5,
}


def scaled(v: Any) -> Body:
    """x * v, whose gradients are said to be 10 times and 100 times as large; `v` may be a function that makes it."""

    @wf.custom_gradient
    def f(x: Tensor) -> Any:
        w = v() if callable(v) else v

        def grad(dy: Tensor, variables: Any = ()) -> Any:
            (own,) = variables
            return dy * 10.0 * own, [dy * 100.0 * x]

        return x * w, grad

    return f  # type: ignore[no-any-return]


# custom gradients

#: The value and the gradients by x = 3 and v = 2, with 20 for each derivative by the argument and 100 a by v.
VALUES = {
    "loop": (12.0, 400.0, 20.0 * 300.0 + 600.0),
    "branch": (6.0, 20.0, 300.0),
    "branch in a loop": (12.0, 400.0, 6600.0),
    "loop in a branch": (12.0, 400.0, 6600.0),
    "rows": (6.0, 20.0, 300.0),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("made", ["around", "inside"])
def test_variables_read_and_made_inside_get_what_the_grad_fn_says(place: str, made: str) -> None:
    x = wf.constant(3.0)
    start = wf.constant_initializer(2.0)
    if made == "around":
        v: Any = wf.get_variable("v", [], initializer=start)
    else:

        def v() -> Any:
            return wf.get_variable("v", [], initializer=start)

    y = PLACES[place](scaled(v), x)
    (variable,) = wf.trainable_variables()
    assert run([y, *wf.gradients(y, [x, variable])]) == list(VALUES[place])


@pytest.mark.parametrize("place", PLACES)
def test_a_grad_fn_must_take_the_variables_that_are_read_inside(place: str) -> None:
    v = wf.Variable(2.0)
    f = wf.custom_gradient(lambda a: (a * v, lambda dy: dy))
    with pytest.raises(TypeError, match="must accept the keyword argument 'variables'"):
        PLACES[place](f, wf.constant(3.0))


def test_a_variable_behind_a_captured_tensor_counts() -> None:
    v = wf.Variable(2.0)
    doubled = v * 2.0
    x = wf.constant(3.0)
    seen: list[Any] = []

    @wf.custom_gradient
    def f(a: Tensor) -> Any:
        def grad(dy: Tensor, variables: Any = ()) -> Any:
            seen.append(list(variables))
            return dy, [dy * 7.0]

        return a * doubled, grad

    assert run(wf.gradients(chosen(f, x), v)) == [7.0]
    assert seen == [[v]]


@pytest.mark.parametrize("inner", [twice, chosen], ids=["loop", "branch"])
def test_a_loop_or_a_branch_inside_of_a_function_with_a_custom_gradient(inner: Any) -> None:
    v, x = wf.Variable(2.0), wf.constant(3.0)

    @wf.custom_gradient
    def f(a: Tensor) -> Any:
        return inner(lambda b: b * v, a), lambda dy, variables: (dy * 10.0, [dy * 100.0 for _ in variables])

    y = f(x)
    assert run([y, *wf.gradients(y, [x, v])]) == [12.0 if inner is twice else 6.0, 10.0, 100.0]


@pytest.mark.parametrize("place", ["loop", "branch", "branch in a loop", "loop in a branch"])
def test_a_grad_fn_may_ask_for_gradients_of_tensors_beside_it(place: str) -> None:
    """Those of the forward function; a function with a custom gradient inside of another is asked on the way."""
    inner = wf.custom_gradient(lambda a: (a * a, lambda dy: dy * 7.0))

    @wf.custom_gradient
    def outer(a: Tensor) -> Any:
        y = inner(a) * 2.0
        return y, lambda dy: wf.gradients(y, a)[0] * dy + 1.0

    x = wf.constant(3.0)
    loops = "loop" in place
    assert run(wf.gradients(PLACES[place](outer, x), x)) == [14.0 * 15.0 + 1.0 if loops else 15.0]


def test_a_grad_fn_may_ask_for_gradients_by_what_comes_from_around() -> None:
    x, c = wf.constant(3.0), wf.constant(5.0)

    @wf.custom_gradient
    def f(a: Tensor) -> Any:
        y = a * a * c
        return y, lambda dy: dy * wf.gradients(y, c)[0]

    assert run(wf.gradients(chosen(f, x), x)) == [9.0]


@pytest.mark.parametrize("place", PLACES)
def test_three_orders_of_what_a_grad_fn_built(place: str) -> None:
    plain = lambda a: a * a * a  # noqa: E731
    cube = wf.custom_gradient(lambda a: (a * a * a, lambda dy: dy * 3.0 * a * a))
    x = wf.constant(np.array(1.25))
    found = []
    for function in (plain, cube):
        y = PLACES[place](function, x)
        orders = [y]
        for _ in range(3):
            orders += wf.gradients(orders[-1], x)
        found.append(run(orders))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


@pytest.mark.parametrize("place", ["loop", "branch", "branch in a loop"])
def test_grad_pass_through_inside(place: str) -> None:
    x = wf.constant(3.2)
    y = PLACES[place](lambda a: wf.grad_pass_through(wf.round)(a) * 2.0, x)
    assert run(wf.gradients(y, x)) == [4.0 if "loop" in place else 2.0]


@pytest.mark.parametrize("place", PLACES)
def test_a_prevented_gradient_inside(place: str) -> None:
    x = wf.constant(3.0)
    y = PLACES[place](lambda a: wf.prevent_gradient(a * 1.0, "of no use"), x)
    assert run(y) == 3.0
    with pytest.raises(LookupError, match=r"^Gradient explicitly disabled\. Reason: of no use"):
        wf.gradients(y, x)


# recomputing


def wavy(v: Any) -> Body:
    return lambda a: wf.sin(wf.exp(wf.sin(a * v)) * a)


def orders(y: Tensor, xs: list[Any]) -> list[Any]:
    """y, its gradients, and those of the first of these."""
    first = wf.gradients(y, xs)
    return [y, *first, *wf.gradients(first[0], xs)]


@pytest.mark.parametrize("place", PLACES)
def test_recomputing_inside_has_the_same_gradients(place: str) -> None:
    v, x = wf.Variable(np.array(1.5)), wf.constant(np.array(0.5))
    results = [orders(PLACES[place](body, x), [x, v]) for body in (wavy(v), wf.recompute_grad(wavy(v)))]
    kept, again = run(results)
    assert kept == again


@pytest.mark.parametrize("place", PLACES)
def test_recomputing_around_has_the_same_gradients(place: str) -> None:
    v, x = wf.Variable(np.array(1.5)), wf.constant(np.array(0.5))

    def whole(a: Any) -> Tensor:
        return wf.sin(PLACES[place](wavy(v), a))

    kept, again = run([orders(function(x), [x, v]) for function in (whole, wf.recompute_grad(whole))])
    assert kept == again


def test_a_function_that_gives_a_tensor_from_around_the_loop() -> None:
    x, c = wf.constant(2.0), wf.constant(5.0)
    y = twice(lambda a: a * wf.recompute_grad(lambda b: (b * 1.0, c))(a)[1], x)
    assert run(wf.gradients(y, [x, c])) == [25.0, 20.0]


def kept_by(fetches: Any) -> list[Any]:
    """What each branch and loop in a plan keeps on its tape, without the scopes; None without a tape."""
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        (plan,) = session.plan(fetches).plans
    definitions = [i.definition for i in plan.instructions if isinstance(i, Run)]
    saved = [each.saves for each in definitions if isinstance(each, (If, While))]
    return [
        None if names is None else sorted(name.rpartition("/")[2] for name in names)
        for name in saved
        for names in [name]
    ]


def test_a_loop_keeps_the_arguments_of_what_is_recomputed_and_nothing_within() -> None:
    x = wf.constant(0.5)
    (plain, _), (again, _) = (
        kept_by(wf.gradients(twice(body, x), x))
        for body in (lambda a: wf.exp(wf.sin(wf.exp(a))), wf.recompute_grad(lambda a: wf.exp(wf.sin(wf.exp(a)))))
    )
    assert plain == ["Exp:0", "Exp_1:0"]
    assert len(again) == 1
    assert again[0].startswith("Const")


@pytest.mark.parametrize("inner", [twice, chosen], ids=["loop", "branch"])
def test_a_loop_or_branch_that_is_recomputed_keeps_nothing_the_first_time(inner: Any) -> None:
    x = wf.placeholder_with_default(np.float32(0.5), [])
    plain = kept_by(wf.gradients(inner(lambda b: wf.exp(wf.sin(b)), x) ** 2, x))
    again = kept_by(wf.gradients(wf.recompute_grad(lambda a: inner(lambda b: wf.exp(wf.sin(b)), a))(x) ** 2, x))
    assert len(plain) == 2
    assert plain[0]
    assert again == [None, *plain]


def test_a_loop_that_draws_random_numbers_is_not_run_again() -> None:
    x = wf.constant(np.ones(20))
    y = wf.recompute_grad(lambda a: twice(lambda b: b * b * wf.random_uniform([20], dtype="float64"), a))(x)
    values, grads = run([y, wf.gradients(y, x)[0]])
    np.testing.assert_allclose(grads, 4 * values)


@pytest.mark.parametrize("place", PLACES)
def test_recomputing_within_recomputing_inside(place: str) -> None:
    def body(wrapped: Any) -> Body:
        inner = wrapped(lambda a: wf.sin(wf.exp(a)))
        outer: Body = wrapped(lambda a: inner(inner(a)))
        return outer

    x = wf.constant(np.array(0.3))
    kept, again = run([orders(PLACES[place](body(wrapped), x), [x]) for wrapped in (lambda f: f, wf.recompute_grad)])
    assert kept == again


def test_a_function_with_a_custom_gradient_that_is_recomputed_inside_of_a_loop() -> None:
    double = wf.custom_gradient(lambda a: (a * 2.0, lambda dy: dy * 7.0))
    x = wf.constant(0.5)
    y = twice(wf.recompute_grad(lambda a: double(wf.square(a))), x)
    assert run([y, *wf.gradients(y, x)]) == [0.5, 49.0 * 4.0 * 0.5 * 0.5]
