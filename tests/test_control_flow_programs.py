"""Random programs of operations, branches and loops: the interpreter's values, numerical gradients, and a session's."""

from typing import Any

import numpy as np
import weft as wf
from hypothesis import HealthCheck, given, settings, strategies as st
from weft.graph.context import reset_default_graph
from weft.runtime.interpret import interpret

#: A program: a leaf (which value to take), or an operation on programs.
LEAVES = st.tuples(st.just("leaf"), st.integers(0, 5))


def larger(smaller: Any) -> Any:
    return st.one_of(
        st.tuples(st.just("sin"), smaller),
        st.tuples(st.just("mul"), smaller, smaller),
        st.tuples(st.just("add"), smaller, smaller),
        st.tuples(st.just("cond"), st.integers(0, 5), smaller, smaller),
        st.tuples(st.just("while"), st.integers(0, 3), smaller, smaller),
        st.tuples(st.just("scan"), smaller),
    )


PROGRAMS = st.recursive(LEAVES, larger, max_leaves=6)


def build(program: Any, values: list[Any]) -> Any:
    """The program's result, from the values in reach (the innermost last)."""
    kind, *parts = program
    match kind:
        case "leaf":
            return values[-1 - parts[0] % len(values)]
        case "sin":
            return wf.sin(build(parts[0], values))
        case "mul":
            return build(parts[0], values) * build(parts[1], values) * 0.5
        case "add":
            return build(parts[0], values) + build(parts[1], values)
        case "cond":
            decided = wf.reduce_sum(values[-1 - parts[0] % len(values)]) > 0.1
            return wf.cond(decided, lambda: build(parts[1], values), lambda: build(parts[2], values))
        case "while":
            return wf.while_loop(
                lambda i, _: i < parts[0],
                lambda i, a: (i + 1, build(parts[2], [*values, a])),
                (0, build(parts[1], values)),
            )[1]
    rows = build(parts[0], values)
    return wf.scan(lambda a, row: a * row + 0.25, rows)


def arrays() -> list[np.ndarray[Any, Any]]:
    return [np.array([0.3, -0.7, 0.9]), np.array([-0.4, 0.8, 0.2])]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(PROGRAMS)
def test_values_and_two_orders_of_gradients(program: Any) -> None:
    reset_default_graph()
    xs = [wf.placeholder(wf.float64, (3,)) for _ in range(2)]
    feeds = dict(zip(xs, arrays(), strict=True))
    outputs = [wf.reduce_sum(build(program, list(xs)))]
    everything = list(outputs)
    for order in (1, 2):
        grads = wf.gradients(outputs, xs)
        present = [(x, wf.convert_to_tensor(grad)) for x, grad in zip(xs, grads, strict=True) if grad is not None]
        found = interpret([grad for _, grad in present], feeds)
        for (x, _), exact in zip(present, found, strict=True):
            np.testing.assert_allclose(
                exact, central(outputs, feeds, x), rtol=1e-5, atol=1e-6, err_msg=f"order {order}"
            )
        for x, grad in zip(xs, grads, strict=True):
            if grad is None:
                assert not central(outputs, feeds, x).any()
        everything += [grad for _, grad in present]
        outputs = [grad for _, grad in present]
        if not outputs:
            break
    with wf.Session() as session:
        for mine, other in zip(session.run(everything, feeds), interpret(everything, feeds), strict=True):
            np.testing.assert_array_equal(mine, other)


def central(outputs: list[Any], feeds: dict[Any, Any], by: Any) -> np.ndarray[Any, Any]:
    """The derivative of the sum of all outputs by each element."""
    result = np.zeros(3)
    for at in range(3):
        sides = []
        for step in (1e-6, -1e-6):
            moved = feeds[by].copy()
            moved[at] += step
            sides.append(sum(float(np.sum(value)) for value in interpret(outputs, {**feeds, by: moved})))
        result[at] = (sides[0] - sides[1]) / 2e-6
    return result
