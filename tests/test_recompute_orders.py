"""Recomputing changes no bit of gradients of any order: random programs, with and without it."""

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import given, settings, strategies as st
from test_recompute import net
from weft.runtime.stages.plan import Run

SIDE = 3
VALUES = np.random.default_rng(11).normal(size=(3, SIDE, SIDE)).astype(np.float32)
WAYS = ["scopes", "functions"]


@wf.custom_gradient
def own_gradient(a: Any, b: Any) -> Any:
    c = wf.sin(a)
    return c * b, lambda dy: (dy * wf.cos(a) * b, dy * c)


#: What a statement computes of two tensors: gradients of these are sums of several terms.
STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "mul": lambda a, b: a * b * 0.7,
    "product": lambda a, b: wf.matmul(a, b) * 0.3,
    "tanh": lambda a, b: wf.tanh(a + b),
    "rows": lambda a, b: wf.gather(a, [0, 2, 2]) + b,
    "stopped": lambda a, b: wf.stop_gradient(a) * b,
    "own": own_gradient,
    "pieces": lambda a, b: wf.concat([wf.split(a, 3, axis=1)[2] * b, b], 1)[:, 1:4],
    "broadcast": lambda a, b: a * wf.reduce_sum(b, axis=1, keepdims=True) * 0.3 + b[0],
    "drawn": lambda a, b: a * wf.random_uniform([SIDE, SIDE], seed=7) + b,
}

STEP = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 5), st.integers(0, 5))


def _blocks(inner: Any) -> Any:
    some = st.lists(inner, min_size=1, max_size=3)
    scope = st.tuples(st.just("scope"), some)
    branch = st.tuples(st.just("branch"), st.booleans(), some, some)
    loop = st.tuples(st.just("loop"), st.integers(0, 3), some)
    return STEP | scope | scope | branch | loop


PROGRAM = st.lists(st.recursive(STEP, _blocks, max_leaves=6), min_size=1, max_size=4)


class Program:
    """Statements over a list of tensors that grows, built in a graph of its own, with recomputing in one way or without."""

    def __init__(self, way: str, statements: Sequence[Any]) -> None:
        self.way = way
        self.fed = wf.placeholder(wf.float32, [SIDE, SIDE])
        self.variable = wf.Variable(VALUES[0])
        self.tensors: list[Any] = [self.fed, wf.constant(VALUES[1]), wf.tanh(self.variable)]
        self.run(statements, self.tensors)

    def run(self, statements: Sequence[Any], tensors: list[Any]) -> None:
        for kind, *of in statements:
            if kind == "scope":
                self.scope(of[0], tensors)
            elif kind == "branch":
                sides = [partial(self.last, body, tensors) for body in of[1:]]
                tensors.append(wf.cond(wf.reduce_sum(tensors[-1]) > (0.0 if of[0] else 1e9), sides[0], sides[1]))
            elif kind == "loop":
                tensors.append(self.loop(of[0], of[1], tensors))
            else:
                tensors.append(STEPS[kind](*(tensors[-1 - at % len(tensors)] for at in of)))

    def last(self, statements: Sequence[Any], tensors: Sequence[Any]) -> Any:
        own = list(tensors)
        self.run(statements, own)
        return own[-1]

    def scope(self, statements: Sequence[Any], tensors: list[Any]) -> None:
        if self.way == "functions":

            @wf.recompute_grad
            def made(*given: Any) -> list[Any]:
                own = list(given)
                self.run(statements, own)
                return own[len(given) :]

            tensors += made(*tensors)
            return
        with wf.recompute() if self.way == "scopes" else nullcontext():
            self.run(statements, tensors)

    def loop(self, times: int, statements: Sequence[Any], tensors: Sequence[Any]) -> Any:
        def body(i: Any, h: Any) -> Any:
            return i + 1, self.last(statements, [*tensors, h])

        return wf.while_loop(lambda i, h: i < times, body, [wf.constant(0), tensors[-1]])[1]


def bits(way: str, statements: Sequence[Any], order: int, inside: int, **options: Any) -> list[bytes]:
    """The result and its gradients up to an order, by what a program starts from and by one tensor inside of it."""
    with wf.Graph().as_default():
        wf.set_random_seed(3)
        program = Program(way, statements)
        xs = [program.fed, program.tensors[1], program.variable, program.tensors[inside % len(program.tensors)]]
        found = [now := [program.tensors[-1]]]
        for _ in range(order):
            grads = wf.gradients([wf.square(each) for each in now], xs, **options)
            now = [wf.convert_to_tensor(grad) for grad in grads if grad is not None]
            found.append(now)
            if not now:
                break
        with wf.Session() as session:
            session.run(wf.global_variables_initializer())
            values = session.run([each for level in found for each in level], {program.fed: VALUES[2]})
        return [value.tobytes() for value in values]


@settings(max_examples=60, deadline=None)
@given(
    PROGRAM,
    st.sampled_from(WAYS),
    st.integers(1, 2),
    st.integers(0, 20),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
)
def test_random_programs(
    statements: Any, way: str, order: int, inside: int, gate: bool, colocate: bool, method: int
) -> None:
    options: dict[str, Any] = {
        "gate_gradients": gate, "colocate_gradients_with_ops": colocate, "aggregation_method": method
    }  # fmt: skip
    assert bits(way, statements, order, inside, **options) == bits("plain", statements, order, inside, **options)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.recursive(STEP, _blocks, max_leaves=3), min_size=1, max_size=2), st.sampled_from(WAYS))
def test_third_order(statements: Any, way: str) -> None:
    assert bits(way, statements, 3, 0) == bits("plain", statements, 3, 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "statements",
    [
        [("scope", [("product", 0, 2), ("mul", 0, 1), ("tanh", 0, 3)]), ("scope", [("product", 0, 4), ("mul", 0, 0)])],
        [("scope", [("mul", 0, 1), ("scope", [("product", 0, 1), ("mul", 0, 0)]), ("product", 0, 2)])],
        [("loop", 3, [("scope", [("product", 0, 1), ("mul", 0, 2), ("broadcast", 0, 0)])])],
        [("scope", [("loop", 2, [("product", 0, 1), ("mul", 0, 2)]), ("mul", 0, 1)])],
        [("branch", True, [("mul", 0, 1)], [("scope", [("product", 1, 0)])])],
        [("scope", [("own", 0, 1), ("rows", 0, 2), ("rows", 0, 0)]), ("mul", 0, 1)],
    ],
)
def test_three_orders_of_each_kind(statements: Any, way: str) -> None:
    assert bits(way, statements, 3, 4) == bits("plain", statements, 3, 4)


def kinds(fetches: Any) -> list[str]:
    with wf.Session() as session:
        (plan,) = session.plan(fetches).plans
    return [each.definition.type for each in plan.instructions if isinstance(each, Run)]


def test_a_second_order_uses_the_copies_of_the_first() -> None:
    x, y = net(wf.recompute)
    (dx,) = wf.gradients(wf.square(y), x)
    (ddx,) = wf.gradients(wf.square(dx), x)
    sines = [kinds(fetched).count("Sin") for fetched in (y, dx, ddx)]
    assert sines == [12, 24, 24]


def test_a_scope_in_a_scope_takes_less_memory() -> None:
    sizes, found = [], []
    x = wf.placeholder(wf.float32, [64, 64])
    for inner in (nullcontext, wf.recompute):
        y = x
        for _ in range(4):
            with wf.recompute():
                for _ in range(4):
                    with inner():
                        for _ in range(4):
                            y = wf.tanh(wf.sin(y))
        (dx,) = wf.gradients(wf.square(y), x)
        with wf.Session() as session:
            sizes.append(session.plan(dx).plans[0].arena_bytes)
            found.append(session.run(dx, {x: np.ones((64, 64))}).tobytes())
    assert found[0] == found[1]
    assert sizes[1] < 0.8 * sizes[0]


def test_a_tensor_inside_of_a_scope_can_be_stopped_at_fed_and_differentiated_by() -> None:
    found = []
    for scope in (nullcontext, wf.recompute):
        x = wf.placeholder(wf.float32, [3])
        with scope():
            given = wf.placeholder_with_default(wf.ones([3]), [3])
            h = wf.sin(x) * given
            y = wf.exp(h)
        (dx,) = wf.gradients(wf.square(y), x)
        (by_inner,) = wf.gradients(dx, h)
        (stopped,) = wf.gradients(dx, x, stop_gradients=[h])
        passed = re.findall(r"^  '[^']*' \((\w+)\)", wf.explain_gradient(dx, h), re.MULTILINE)
        assert passed == ["Exp", "Mul", "Mul", "Mul"]
        feeds = {x: [0.1, 0.2, 0.3]}
        with wf.Session() as session:
            runs = [
                session.run([dx, by_inner, stopped], {**feeds, **more})
                for more in ({}, {h: np.arange(3)}, {given: [2] * 3})
            ]
            runs.append(session.run([by_inner], {**feeds, h: np.arange(3)}))
        found.append([value.tobytes() for values in runs for value in values])
    assert found[0] == found[1]


def test_a_gradient_function_may_differentiate_what_is_repeated() -> None:
    """It is called with the copy, so to it the copy is a tensor of its own."""

    @wf.RegisterGradient("RecomputedCube")
    def _cube(op: Any, dy: Any) -> Any:
        a = op.inputs[0]
        again = wf.while_loop(lambda i, h: i < 2, lambda i, h: (i + 1, h * a), [wf.constant(0), a])[1]
        return wf.gradients(again, a, dy)[0] + wf.gradients(wf.sin(a) * a, a, dy)[0]

    found = []
    for scope in (nullcontext, wf.recompute):
        x = wf.constant([1.5, -0.7])
        with scope(), wf.get_default_graph().gradient_override_map({"Square": "RecomputedCube"}):
            y = wf.sin(wf.square(wf.sin(x)))
        (dx,) = wf.gradients(y, x)
        with wf.Session() as session:
            found.append([value.tobytes() for value in session.run([dx, wf.gradients(dx, x)[0]])])
    assert found[0] == found[1]


def test_hessians_and_their_gradients() -> None:
    found = []
    for scope in (nullcontext, wf.recompute):
        x = wf.constant(VALUES[0].ravel()[:5])
        with scope():
            h = wf.sin(x) * x
            y = wf.tanh(h) * wf.reduce_sum(h * x) + wf.square(x)
        (hessian,) = wf.hessians(wf.reduce_sum(wf.square(y)), x)
        with wf.Session() as session:
            found.append([value.tobytes() for value in session.run([hessian, wf.gradients(hessian, x)[0]])])
    assert found[0] == found[1]
