"""wf.recompute(): what only a scope uses is computed again for gradients, with the same bits in less memory."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import weft as wf
from weft.graph import context
from weft.runtime.interpret import interpret
from weft.runtime.stages.plan import Run

SIDE, LAYERS = 64, 6
FED = np.random.default_rng(4).normal(size=(SIDE, SIDE)).astype(np.float32)


def net(scope: Callable[[], Any]) -> tuple[wf.Tensor, wf.Tensor]:
    """A deep net of whose layers each two are in a scope, and what it is fed."""
    x = wf.placeholder(wf.float32, [SIDE, SIDE])
    w = wf.constant(FED / 8)
    y = x
    for _ in range(LAYERS):
        with scope():
            for _ in range(2):
                y = wf.tanh(wf.matmul(wf.sin(wf.tanh(y)), w))
    return x, y


def run(fetches: Any, feeds: Any) -> Any:
    with wf.Session() as sess:
        return sess.run(fetches, feeds)


def arena(fetches: Any) -> int:
    with wf.Session() as sess:
        return sess.plan(fetches).plans[0].arena_bytes


def test_gradients_have_the_same_bits_in_less_memory() -> None:
    found = []
    sizes = []
    for scope in (nullcontext, wf.recompute):
        x, y = net(scope)
        (dx,) = wf.gradients(wf.reduce_sum(y), x)
        found.append(run(dx, {x: FED}).tobytes())
        assert interpret([dx], {x: FED})[0].tobytes() == found[-1]
        sizes.append(arena(dx))
    assert found[0] == found[1]
    assert sizes[1] < 0.6 * sizes[0]


def test_the_forward_operations_run_a_second_time() -> None:
    x, y = net(wf.recompute)
    (dx,) = wf.gradients(wf.reduce_sum(y), x)
    with wf.Session() as sess:
        plan = sess.plan([dx, y])
    kinds = [each.definition.type for each in plan.plans[0].instructions if isinstance(each, Run)]
    assert kinds.count("Sin") == 2 * (2 * LAYERS)


def test_without_gradients_a_scope_changes_nothing() -> None:
    kinds = [[each.type for each in net(scope)[1].graph.get_operations()] for scope in (nullcontext, wf.recompute)]
    assert kinds[1] == kinds[0] * 2  # both are in one graph


def test_gradients_of_gradients() -> None:
    second = []
    for scope in (nullcontext, wf.recompute):
        x, y = net(scope)
        (dx,) = wf.gradients(wf.reduce_sum(wf.square(y)), x)
        second.append(run(wf.gradients(wf.reduce_sum(wf.square(dx)), x)[0], {x: FED}))
    assert second[0].tobytes() == second[1].tobytes()


def test_variables_and_random_numbers_are_read_and_drawn_once() -> None:
    v = wf.Variable(2.0)
    with wf.recompute():
        drawn = wf.random_uniform([4], seed=3)
        y = wf.exp(wf.sin(drawn * v))
    (dv,) = wf.gradients(y, v)
    kinds = [operation.type for operation in wf.get_default_graph().get_operations()]
    assert kinds.count("RandomUniform") == 1
    with wf.Session() as sess:
        sess.run(v.initializer)
        numbers, slope = sess.run([drawn, dv])
    np.testing.assert_allclose(slope, np.sum(np.exp(np.sin(2 * numbers)) * np.cos(2 * numbers) * numbers), rtol=1e-5)


def test_inside_of_a_loop() -> None:
    found = []
    for scope in (nullcontext, wf.recompute):
        x = wf.placeholder(wf.float32, [SIDE])

        def body(i: wf.Tensor, h: wf.Tensor, scope: Any = scope) -> tuple[wf.Tensor, wf.Tensor]:
            with scope():
                h = wf.tanh(wf.sin(wf.exp(h)))
            return i + 1, h

        _, y = wf.while_loop(lambda i, h: i < 3, body, [wf.constant(0), x])
        found.append(run(wf.gradients(y, x)[0], {x: FED[0]}).tobytes())
    assert found[0] == found[1]


def test_a_scope_in_a_scope_and_a_decorator() -> None:
    x = wf.placeholder(wf.float32, [SIDE])

    @wf.recompute()
    def block(h: wf.Tensor) -> wf.Tensor:
        with wf.recompute():
            h = wf.sin(h)
        return wf.exp(h)

    y = block(block(x))
    plain = wf.exp(wf.sin(wf.exp(wf.sin(x))))
    found, wanted = run([wf.gradients(y, x)[0], wf.gradients(plain, x)[0]], {x: FED[0]})
    assert found.tobytes() == wanted.tobytes()


def test_in_eager_execution_it_does_nothing() -> None:
    context.set_eager(True)
    with wf.recompute():
        y: Any = wf.exp(wf.constant(0.0))
    assert y.numpy() == 1.0
